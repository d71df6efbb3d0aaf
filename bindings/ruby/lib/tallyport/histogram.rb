# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "series"

module Tallyport
  # One series of a histogram: observations counted in buckets, with their sum.
  #
  #     took = Tallyport.histogram(:request_seconds)
  #     took.time { work }
  #     took.observe(0.25)
  #
  # Its bounds are the engine's, unless {Engine#describe} gave the family others.
  class Histogram < Series
    @prefix = "histogram"

    # {Histogram#observe} where the C extension was not built.
    # @api private
    module ByFfi
      def observe(value, options = nil)
        return with_labels(labels_of(options)).observe(value) if options

        Native.histogram_observe(@handle, value)
      end
    end
    include ByFfi

    # @!method observe(value, labels: {})
    #   @param value [Numeric] NaN is not counted, but counted as dropped
    #   @param labels [Hash] labels besides its own: another series of the family
    #   @return [nil]

    # Observes the seconds that the block takes, also when it raises.
    # @return what the block returns
    def time
      begun = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      begin
        yield
      ensure
        observe(Process.clock_gettime(Process::CLOCK_MONOTONIC) - begun)
      end
    end

    # @return [Integer] number of observations
    def count = Native.histogram_count(handle)

    # @return [Float] sum of the observations
    def sum = Native.histogram_sum(handle)

    # Count and sum of the series with these labels, as prometheus-client names them.
    # @return [Hash{String => Numeric}]
    def get(labels: {})
      series = with_labels(labels)
      { "count" => series.count, "sum" => series.sum }
    end
  end
end
