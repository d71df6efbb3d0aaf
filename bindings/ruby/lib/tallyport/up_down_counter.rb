# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "series"

module Tallyport
  # One series of an up-down counter: a sum that may fall, for things in flight. Exported as a gauge;
  # unlike one it is a sum over all processes that share it.
  class UpDownCounter < Series
    @prefix = "up_down_counter"

    # @param amount [Integer, Hash] any; or `by:` and `labels:`, as {Counter#increment}
    # @return [nil]
    # @raise [InvalidArgument] for another amount; nothing is recorded then
    def increment(amount = 1)
      return add_spelled(:increment, amount) if amount.is_a?(Hash)

      Native.up_down_counter_add(handle, whole(amount))
    end

    # As {#increment}, the other way.
    # @return [nil]
    def decrement(amount = 1)
      return add_spelled(:decrement, amount) if amount.is_a?(Hash)

      Native.up_down_counter_sub(handle, whole(amount))
    end

    # Counts one more while the block runs.
    # @return what the block returns
    def track
      increment
      begin
        yield
      ensure
        decrement
      end
    end

    # @return [Integer] the sum so far, of all processes that share it
    def value = Native.up_down_counter_value(handle)

    # The value of the series with these labels.
    # @return [Integer]
    def get(labels: {}) = with_labels(labels).value

    private

    def whole(amount)
      wrong(amount, "a whole amount") unless amount.is_a?(Integer)
      wrong(amount, "an amount of 64 bits") unless amount.bit_length < 64
      amount
    end

    def add_spelled(direction, options)
      series, amount = spelled(options, 1)
      wrong(amount, "a whole amount") if amount.is_a?(Hash)
      series.public_send(direction, amount)
    end
  end

  # An up-down counter of fractions.
  class FloatUpDownCounter < Series
    @prefix = "up_down_counter_f64"

    # @param amount [Numeric] finite
    # @return [nil]
    # @raise [InvalidArgument] for another amount; nothing is recorded then
    def increment(amount = 1)
      finite(amount, Native.up_down_counter_f64_add(handle, amount))
    end

    # As {#increment}, the other way.
    # @return [nil]
    def decrement(amount = 1)
      finite(amount, Native.up_down_counter_f64_sub(handle, amount))
    end

    # @return [Float] the sum so far, of all processes that share it
    def value = Native.up_down_counter_f64_value(handle)

    private

    def finite(amount, status)
      wrong(amount, "a finite amount") if status == InvalidArgument.code
    end
  end
end
