# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "series"

module Tallyport
  # One series of a counter: a sum of whole amounts that never falls.
  #
  #     HITS = Tallyport.counter(:http_requests_total, method: "GET")
  #     HITS.increment
  #     HITS.increment(3)
  class Counter < Series
    @prefix = "counter"

    # {Counter#increment} where the C extension was not built.
    # @api private
    module ByFfi
      def increment(amount = 1)
        return increase(amount) unless amount == 1

        Native.counter_add(@handle, 1)
      end
    end
    include ByFfi

    # @!method increment(amount = 1, by: amount, labels: {})
    #   Adds an amount.
    #   @param amount [Integer] not negative
    #   @param by [Integer] the same, as prometheus-client calls it
    #   @param labels [Hash] labels besides its own: another series of the family
    #   @return [nil]
    #   @raise [InvalidArgument] for another amount; nothing is recorded then

    # @return [Integer] the sum so far, of all processes that share it
    def value = Native.counter_value(handle)

    # The value of the series with these labels, as prometheus-client asks for it.
    # @return [Integer]
    def get(labels: {}) = with_labels(labels).value

    private

    def increase(amount)
      if amount.is_a?(Integer) && amount >= 0
        raise InvalidArgument.new("#{name}: #{amount} is past 64 bits", field: "amount") if amount >> 64 != 0

        return Native.counter_add(handle, amount)
      end
      wrong(amount, "a whole amount of 0 or more; float_counter counts fractions") unless amount.is_a?(Hash)

      series, by = spelled(amount, 1)
      by.is_a?(Hash) ? wrong(by, "a whole amount of 0 or more") : series.increment(by)
    end
  end
end
