# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "active_job"

require_relative "export"

module Tallyport
  # An export in the background: `Tallyport::ExportJob.perform_later("prometheus", "/run/app.prom")`.
  #
  # It runs where the application's jobs run, and exports what that process has: with a store in the
  # configuration what all have, and with `share = "file"` what all of its host have.
  class ExportJob < ActiveJob::Base
    # What may work later. Another failure is raised at once.
    RETRYABLE = [IoError, PluginFailed, Timeout, Unavailable, SystemCallError].freeze
    # How often it is tried.
    ATTEMPTS = 3

    retry_on(*RETRYABLE, wait: :exponentially_longer, attempts: ATTEMPTS)

    # @param format [String] a format or an exporter's name
    # @param output [String, nil] a file; nil: `config.tallyport.export_path`
    def perform(format, output = nil)
      Export.run(format, output: output || ExportJob.path)
    end

    # The file that the application's configuration names.
    # @api private
    def self.path
      defined?(::Rails.application) && ::Rails.application&.config&.tallyport&.export_path&.to_s
    end
  end
end
