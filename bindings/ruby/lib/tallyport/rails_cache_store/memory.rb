# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "monitor"

module Tallyport
  module RailsCacheStore
    # The items of a cache in memory, and of one in files: each with a number that changes when it is
    # written, read and swapped under a lock.
    # @api private
    class Memory
      LOCK = Monitor.new

      def initialize(cache)
        @cache = cache
      end

      def swaps? = true

      # @return [Array(String, Integer), nil] value and token
      def get(key) = locked { @cache.read(key)&.reverse }

      def set(key, value, seconds)
        locked { write(key, value, seconds) }
      end

      # Whether there was none.
      def add(key, value, seconds)
        locked { @cache.read(key).nil? && write(key, value, seconds) }
      end

      # Whether it was as it was read.
      def cas(key, value, seconds, token)
        locked { @cache.read(key)&.first == token && write(key, value, seconds) }
      end

      # Whether there was one.
      def remove(key)
        locked { @cache.delete(key) ? true : false }
      end

      private

      def locked(&block) = LOCK.synchronize(&block)

      def write(key, value, seconds)
        # Nobody else draws the same number: it is of 62 bits.
        number = Random.rand(1..(2**62))
        raise IOError, "#{@cache.class} did not write" unless @cache.write(key, [number, value], expires_in: seconds)

        true
      end
    end
  end
end
