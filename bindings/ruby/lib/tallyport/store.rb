# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "call"

module Tallyport
  # Ruby's side of a store of the host's own: functions that the library calls inside a sync, on the
  # Ruby thread that syncs.
  #
  # Nothing may leave such a function but its answer. So the thread that syncs lets no Thread#raise and
  # Thread#kill in until the sync ends ({Engine#sync}), and the items are asked on a thread of their own,
  # where Timeout and what else clients use works as ever. Exceptions become failures of the sync.
  # @api private
  class Store
    # Answers of the functions.
    DONE = 0
    NOT = 1
    FAILED = -1

    # @param items what answers to `get`, `set`, `add`, `remove`, `swaps?` and, where it does, `cas`
    # @param name [String] for people
    # @param max_item_bytes [Integer] 0: the default
    def initialize(items, name, max_item_bytes: 0)
      @items = items
      @struct = Native::Store.new
      @struct[:size] = @struct.size
      @name = Call.put(@struct[:name], name)
      @struct[:max_item_bytes] = max_item_bytes
      # The struct keeps the functions; the engine keeps this object.
      @struct[:get] = function(Native::STORE_KEY) { |call, key| get(call, key) }
      @struct[:set] = function(Native::STORE_WRITE) { |_, key, value, ttl| done(@items.set(key, text(value), ttl / 1000.0)) }
      @struct[:add] = function(Native::STORE_WRITE) { |_, key, value, ttl| done(@items.add(key, text(value), ttl / 1000.0)) }
      @struct[:cas] = function(Native::STORE_SWAP) { |_, key, value, ttl, token| done(@items.cas(key, text(value), ttl / 1000.0, token)) } if items.swaps?
      @struct[:remove] = function(Native::STORE_KEY) { |_, key| done(@items.remove(key)) }
    end

    # @param engine [Integer] its handle
    # @return [nil]
    def attach(engine)
      Call.check { |error| Native.store_attach(engine, @struct, error) }
    end

    private

    def function((result, arguments))
      made = FFI::Function.new(result, arguments) do |_data, call, key, *rest|
        guarded(call) { yield call, text(key), *rest }
      end
      (@functions ||= []) << made
      made
    end

    def guarded(call, &function)
      worker = Thread.new do
        Thread.current.report_on_exception = false
        # It has inherited that nothing is let in.
        Thread.handle_interrupt(Object => :immediate, &function)
      end
      worker.value
    rescue Exception => e # rubocop:disable Lint/RescueException
      Native.store_call_fail(call, Call.str("#{e.class}: #{e.message}"), nil)
      FAILED
    end

    def get(call, key)
      value, token = @items.get(key)
      return NOT if value.nil?

      Call.check { |error| Native.store_call_value(call, Call.str(value.b), token, error) }
      DONE
    end

    def done(answer) = answer ? DONE : NOT

    def text(str) = str[:len].zero? ? +"" : str[:ptr].read_bytes(str[:len])
  end
end
