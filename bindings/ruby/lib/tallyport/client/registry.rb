# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

module Tallyport
  module Client
    # The metrics that were declared through this interface.
    class Registry
      # The name is registered.
      AlreadyRegisteredError = Class.new(StandardError)

      def initialize
        @metrics = {}
        @mutex = Mutex.new
      end

      # @param metric [Metric]
      # @return [Metric]
      # @raise [AlreadyRegisteredError]
      def register(metric) = declare(metric.name) { metric }

      # Takes a metric out of the exports.
      # @return [nil]
      def unregister(name)
        @mutex.synchronize { @metrics.delete(name.to_sym) } && Tallyport.engine.clear(name)
        nil
      end

      # @return [Counter]
      def counter(name, docstring:, labels: [], preset_labels: {})
        declare(name) { Counter.new(name, docstring: docstring, labels: labels, preset_labels: preset_labels) }
      end

      # @return [Gauge]
      def gauge(name, docstring:, labels: [], preset_labels: {})
        declare(name) { Gauge.new(name, docstring: docstring, labels: labels, preset_labels: preset_labels) }
      end

      # @return [Histogram]
      def histogram(name, docstring:, labels: [], preset_labels: {}, buckets: Histogram::DEFAULT_BUCKETS)
        declare(name) { Histogram.new(name, docstring: docstring, labels: labels, preset_labels: preset_labels, buckets: buckets) }
      end

      # @return [Boolean]
      def exist?(name) = @mutex.synchronize { @metrics.key?(name.to_sym) }

      # @return [Metric, nil]
      def get(name) = @mutex.synchronize { @metrics[name.to_sym] }

      # @return [Array<Metric>]
      def metrics = @mutex.synchronize { @metrics.values }

      private

      def declare(name)
        name = name.to_sym
        @mutex.synchronize do
          raise AlreadyRegisteredError, "#{name} has already been registered" if @metrics.key?(name)

          @metrics[name] = yield
        end
      end
    end
  end
end
