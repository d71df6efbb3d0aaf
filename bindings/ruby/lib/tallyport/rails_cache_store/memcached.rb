# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

module Tallyport
  module RailsCacheStore
    # The items of a memcached cache, through its client Dalli: a server that is away raises here.
    # @api private
    class Memcached
      # Longer times are taken for dates.
      MONTH = 30 * 86_400
      RAW = { raw: true }.freeze

      def initialize(cache)
        # Newer ones have it in the client itself.
        require "dalli/cas/client" unless Dalli::Client.method_defined?(:get_cas)
        # The cache has no reader for it.
        @client = cache.instance_variable_get(:@data)
        raise ArgumentError, "#{cache.class} has no Dalli client" unless @client.respond_to?(:with)

        @prefix = cache.options[:namespace]
      end

      def swaps? = true

      # @return [Array(String, Integer), nil] value and token
      def get(key)
        value, token = @client.with { |dalli| dalli.get_cas(name(key)) }
        [value, token] if value && value != "Not found"
      end

      def set(key, value, seconds)
        answer = @client.with { |dalli| dalli.set(name(key), value, ttl(seconds), RAW) }
        raise IOError, "memcached did not write" unless answer

        true
      end

      # Whether there was none.
      def add(key, value, seconds)
        @client.with { |dalli| dalli.add(name(key), value, ttl(seconds), RAW) } ? true : false
      end

      # Whether it was as it was read.
      def cas(key, value, seconds, token)
        @client.with { |dalli| dalli.set_cas(name(key), value, token, ttl(seconds), RAW) } ? true : false
      end

      # Whether there was one.
      def remove(key) = @client.with { |dalli| dalli.delete(name(key)) } ? true : false

      private

      def ttl(seconds)
        seconds = seconds.ceil
        seconds > MONTH ? Time.now.to_i + seconds : seconds
      end

      def name(key)
        prefix = @prefix.respond_to?(:call) ? @prefix.call : @prefix
        prefix ? "#{prefix}:#{key}" : key
      end
    end
  end
end
