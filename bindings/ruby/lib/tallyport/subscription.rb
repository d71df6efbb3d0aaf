# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "call"

module Tallyport
  # A queue of events; made by {Events#subscribe}. It ends when it is closed.
  class Subscription
    # A blocking call is as long as this at most, so that Thread#kill and signals are seen.
    SLICE = 0.25

    # @api private
    def initialize(engine, events, name, queue, &block)
      options = Native::ListenerOptions.new
      options[:size] = options.size
      options[:queue_events] = queue
      kept = { name: name, events: events }.map { |field, text| Call.put(options[field], text) }
      @handle = Call.handle { |place, error| Native.event_subscribe(engine.handle, options, place, error) }
      kept.clear
      @open = true
      @block = block
      @failures = 0
      revive
    end

    # @return [Integer] exceptions that the block raised; the last one is {#last_error}
    attr_reader :failures
    # @return [StandardError, nil]
    attr_reader :last_error

    # Takes the oldest event out.
    # @param timeout [Numeric] seconds to wait for one
    # @return [Hash, nil] nil when none came in time, or the subscription ended
    def next(timeout: 0)
      deadline = now + timeout
      loop do
        event = take([deadline - now, SLICE].min)
        return event if event || !@open || now >= deadline
      end
    end

    # Yields events until the subscription ends.
    # @return [nil]
    def each
      while @open
        event = take(@closing ? 0 : SLICE)
        break if event.nil? && @closing

        yield event if event
      end
    end

    # @return [Hash] delivered, failures, queued, dropped, …
    def status = Call.json { |buf, error| Native.subscription_status(@handle, buf, error) }

    # Ends the subscription, once its block has returned from all that is in the queue.
    # @return [nil]
    def close
      return unless @open

      if @block && @thread != Thread.current
        # A forked child has to have the thread first: the block is called by one thread at a time.
        revive
        @closing = true
        @thread.join
      end
      @open = false
      Native.subscription_free(@handle)
      nil
    end

    # Starts the thread of the block where there is none: at first, and in a forked child.
    # @api private
    def revive
      return unless @block && @open && !@thread&.alive?

      @thread = Thread.new { each { |event| deliver(event) } }
      @thread.name = "tallyport events"
    end

    private

    def deliver(event)
      @block.call(event)
    rescue StandardError => e
      @failures += 1
      @last_error = e
    end

    def take(seconds)
      milliseconds = ([seconds, 0].max * 1000).ceil
      Call.json { |buf, error| Native.subscription_next(@handle, milliseconds, buf, error) }
    rescue Timeout
      nil
    rescue Closed, BadHandle
      @open = false
      nil
    end

    def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
