# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "sidekiq"

require_relative "../tallyport"

module Tallyport
  # Counts and times Sidekiq's jobs, and syncs where there is a store: `require "tallyport/sidekiq"`, and
  # nothing else.
  #
  # - `sidekiq_jobs_enqueued_total{queue, class}`, where a job is pushed
  # - `sidekiq_jobs_total{queue, class, status}` and `sidekiq_job_duration_seconds{queue, class}`,
  #   where it runs; a job that is tried again counts again
  # - `sidekiq_jobs_in_flight{queue}`, of each process
  module Sidekiq
    # Around each job that this process runs.
    class Server
      # @return what the job returns
      def call(_worker, job, queue)
        labels = { queue: queue, class: Sidekiq.class_of(job) }
        in_flight = Tallyport.gauge(:sidekiq_jobs_in_flight, queue: queue)
        begun = Process.clock_gettime(Process::CLOCK_MONOTONIC)
        status = "failed"
        in_flight.increment
        begin
          result = yield
          status = "ok"
          result
        ensure
          in_flight.decrement
          seconds = Process.clock_gettime(Process::CLOCK_MONOTONIC) - begun
          Tallyport.counter(:sidekiq_jobs_total, labels.merge(status: status)).increment
          Tallyport.histogram(:sidekiq_job_duration_seconds, labels).observe(seconds)
        end
      end
    end

    # Around each job that this process pushes.
    class Client
      # @return [Hash, false, nil] the job, as it was pushed
      def call(_worker, job, queue, _pool)
        pushed = yield
        Tallyport.counter(:sidekiq_jobs_enqueued_total, queue: queue, class: Sidekiq.class_of(job)).increment if pushed
        pushed
      end
    end

    class << self
      # The class of a job; that of ActiveJob where it wraps one.
      # @api private
      def class_of(job) = (job["wrapped"] || job["class"]).to_s

      # @api private
      def install
        ::Sidekiq.configure_client { |config| client(config) }
        ::Sidekiq.configure_server do |config|
          client(config)
          config.server_middleware { |chain| chain.add(Server) }
          config.on(:startup) { Tallyport.start_sync }
          config.on(:shutdown) { Tallyport.engine.flush if Tallyport.open? }
        end
      end

      private

      def client(config)
        config.client_middleware { |chain| chain.add(Client) }
      end
    end
  end
end

Tallyport::Sidekiq.install
