# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "series"

module Tallyport
  # One series of a gauge: the last value that was set. Each process has its own; where several set
  # one, each is exported with the label `pid`.
  class Gauge < Series
    @prefix = "gauge"

    # {Gauge#set} where the C extension was not built.
    # @api private
    module ByFfi
      def set(value, options = nil)
        return with_labels(labels_of(options)).set(value) if options

        Native.gauge_set(@handle, value)
      end
    end
    include ByFfi

    # @!method set(value, labels: {})
    #   @param value [Numeric] any, NaN too
    #   @param labels [Hash] labels besides its own: another series of the family
    #   @return [nil]

    # @param amount [Numeric, Hash] any; or `by:` and `labels:`, as prometheus-client calls it
    # @return [nil]
    def increment(amount = 1)
      return add_spelled(:increment, amount) if amount.is_a?(Hash)

      Native.gauge_add(handle, amount)
    end

    # As {#increment}, the other way.
    # @return [nil]
    def decrement(amount = 1)
      return add_spelled(:decrement, amount) if amount.is_a?(Hash)

      Native.gauge_sub(handle, amount)
    end

    # Sets the seconds since the Unix epoch.
    # @return [nil]
    def set_to_current_time(labels: {})
      with_labels(labels).set(Process.clock_gettime(Process::CLOCK_REALTIME))
    end

    # @return [Float] this process's value
    def value = Native.gauge_value(handle)

    # The value of the series with these labels.
    # @return [Float]
    def get(labels: {}) = with_labels(labels).value

    private

    def add_spelled(direction, options)
      series, amount = spelled(options, 1)
      wrong(amount, "a number") if amount.is_a?(Hash)
      series.public_send(direction, amount)
    end
  end
end
