# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "series"

module Tallyport
  # One series of a counter of fractions: seconds, money. Exact for whole amounts up to 2^53.
  class FloatCounter < Series
    @prefix = "counter_f64"

    # Adds an amount.
    # @param amount [Numeric, Hash] not negative and finite; or `by:` and `labels:`, as
    #   {Counter#increment}
    # @return [nil]
    # @raise [InvalidArgument] for another amount; nothing is recorded then
    def increment(amount = 1)
      if amount.is_a?(Hash)
        series, amount = spelled(amount, 1)
        return series.increment(amount) unless series.equal?(self)
      end
      status = Native.counter_f64_add(handle, amount)
      wrong(amount, "a finite amount of 0 or more") if status == InvalidArgument.code
    end

    # @return [Float] the sum so far, of all processes that share it
    def value = Native.counter_f64_value(handle)

    # The value of the series with these labels.
    # @return [Float]
    def get(labels: {}) = with_labels(labels).value
  end
end
