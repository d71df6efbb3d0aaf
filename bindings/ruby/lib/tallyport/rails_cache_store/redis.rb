# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

module Tallyport
  module RailsCacheStore
    # The items of a Redis cache, through its client: a server that is away raises here. An item is a
    # hash of value and number, changed by scripts, each of one key.
    # @api private
    class Redis
      # KEYS[1]; ARGV: value, number, milliseconds, the number that it has to have or "", whether it
      # must not be there.
      WRITE = <<~LUA
        local now = redis.call("HGET", KEYS[1], "n")
        if ARGV[5] == "1" and now then return 0 end
        if ARGV[4] ~= "" and now ~= ARGV[4] then return 0 end
        redis.call("HSET", KEYS[1], "v", ARGV[1], "n", ARGV[2])
        redis.call("PEXPIRE", KEYS[1], ARGV[3])
        return 1
      LUA

      def initialize(cache)
        @client = cache.redis
        @prefix = cache.options[:namespace]
      end

      def swaps? = true

      # @return [Array(String, Integer), nil] value and token
      def get(key)
        value, number = with { |redis| redis.hmget(name(key), "v", "n") }
        [value, Integer(number)] if number
      end

      def set(key, value, seconds) = write(key, value, seconds)

      # Whether there was none.
      def add(key, value, seconds) = write(key, value, seconds, absent: true)

      # Whether it was as it was read.
      def cas(key, value, seconds, token) = write(key, value, seconds, number: token)

      # Whether there was one.
      def remove(key) = with { |redis| redis.del(name(key)) } == 1

      private

      def write(key, value, seconds, number: "", absent: false)
        arguments = [value, Random.rand(1..(2**62)), (seconds * 1000).ceil, number, absent ? 1 : 0]
        with { |redis| redis.eval(WRITE, keys: [name(key)], argv: arguments) } == 1
      end

      # One client, or a pool of them.
      def with(&block) = @client.respond_to?(:with) ? @client.with(&block) : yield(@client)

      def name(key)
        prefix = @prefix.respond_to?(:call) ? @prefix.call : @prefix
        prefix ? "#{prefix}:#{key}" : key
      end
    end
  end
end
