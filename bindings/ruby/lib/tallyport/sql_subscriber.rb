# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "../tallyport"

module Tallyport
  # Counts and times the queries of ActiveRecord, from its notification `sql.active_record`.
  #
  # - `sql_queries_total{operation, status}`
  # - `sql_duration_seconds{operation}`
  #
  # The operation is the name that ActiveRecord gives a query (`User Load`, `User Create`), as many as
  # there are models and their verbs. Queries that the cache answered or that ask for the schema are not
  # counted.
  module SqlSubscriber
    # What ActiveRecord tells of each query.
    EVENT = "sql.active_record"

    class << self
      # Begins to count; a second time it does nothing.
      # @param engine [Engine, nil] nil: {Tallyport.engine}
      # @return [nil]
      def subscribe(engine: nil)
        @subscriber ||= ActiveSupport::Notifications.monotonic_subscribe(EVENT) do |_, begun, ended, _, payload|
          record(engine || Tallyport.engine, ended - begun, payload)
        end
        nil
      end

      # Ends counting.
      # @return [nil]
      def unsubscribe
        ActiveSupport::Notifications.unsubscribe(@subscriber) if @subscriber
        @subscriber = nil
      end

      private

      def record(engine, seconds, payload)
        name = payload[:name]
        return if payload[:cached] || name == "SCHEMA"

        operation = name.nil? || name.empty? ? "SQL" : name
        status = payload[:exception] ? "failed" : "ok"
        engine.counter(:sql_queries_total, operation: operation, status: status).increment
        engine.histogram(:sql_duration_seconds, operation: operation).observe(seconds)
      end
    end
  end
end
