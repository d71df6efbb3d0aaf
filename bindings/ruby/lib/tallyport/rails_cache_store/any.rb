# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

module Tallyport
  module RailsCacheStore
    # The items of any cache, by what all caches have. There is no swap.
    # @api private
    class Any
      def initialize(cache)
        @cache = cache
      end

      def swaps? = false

      # @return [Array(String, Integer), nil] value and token
      def get(key)
        value = @cache.read(key)
        [value, 0] if value
      end

      def set(key, value, seconds)
        written(@cache.write(key, value, expires_in: seconds))
        true
      end

      # Whether there was none.
      def add(key, value, seconds)
        @cache.write(key, value, expires_in: seconds, unless_exist: true) ? true : false
      end

      # Whether there was one.
      def remove(key)
        @cache.delete(key) ? true : false
      end

      private

      def written(answer)
        raise IOError, "#{@cache.class} did not write" unless answer
      end
    end
  end
end
