# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "active_job"

require_relative "../tallyport"

module Tallyport
  # Exports a target of the configuration (docs/EXPORTING.md) in the background:
  # `Tallyport::TargetJob.perform_later("gateway")`.
  #
  # An attempt that failed says whether and when to try again (`retries`, `retry_ms`, `max_retry_ms` of
  # the target, Retry-After of a server), and the job is enqueued for that time; until then, and a margin
  # longer, the store keeps what the instances recorded. A failure that no other attempt would mend, or
  # that was tried often enough, is raised: it is the queue's.
  class TargetJob < ActiveJob::Base
    # @param target [String] its name
    # @return [Run, nil] nil: it is tried again later
    def perform(target)
      run = Tallyport.export_target(target, attempt: executions)
      return run unless run.failed?
      raise run.error unless run.retry_after

      retry_job(wait: run.retry_after, error: run.error)
      nil
    end
  end
end
