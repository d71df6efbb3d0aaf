# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "call"

module Tallyport
  # Messages of the library for a Ruby logger. They wait in a ring of the library's and are taken out
  # at the end of the calls that a program makes; no native thread calls Ruby.
  # @api private
  class Log
    # Methods of a logger by the library's levels.
    LEVELS = { "error" => :error, "warn" => :warn, "info" => :info, "debug" => :debug, "trace" => :debug }.freeze

    # @return [Integer] handle of the ring
    attr_reader :handle

    def initialize
      options = Native::LogRingOptions.new
      options[:size] = options.size
      @handle = Call.handle { |place, error| Native.log_ring_new(options, place, error) }
      ObjectSpace.define_finalizer(self, Log.release(@handle))
    end

    # @api private
    def self.release(handle) = ->(_id) { Native.log_ring_free(handle) }

    # Hands what waits to the logger. What the logger causes is handed over by a later call.
    # @param logger [#error, #warn, #info, #debug, nil] nil: it is dropped
    # @return [nil]
    def deliver(logger)
      return if @delivering

      @delivering = true
      begin
        while (line = take)
          logger&.public_send(LEVELS.fetch(line["level"], :info), "#{line["target"]}: #{line["message"]}")
        end
      ensure
        @delivering = false
      end
      nil
    end

    # @return [Integer] messages that there was no room for
    def dropped = Native.log_ring_dropped(@handle)

    private

    def take
      text = Call.bytes { |buf, error| Native.log_ring_next(@handle, buf, error) }
      text.empty? ? nil : JSON.parse(text)
    end
  end
end
