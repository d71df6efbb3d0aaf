# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "errors"

module Tallyport
  # Syncs of an engine at the interval of its configuration.
  #
  # The library has a thread for that, which calls no Ruby. A store of the program's own (Rails.cache)
  # is called on Ruby threads only: with one the thread is Ruby's.
  # @api private
  class Syncing
    # @param engine [Engine]
    # @param status [Hash] how its sharing stands
    def initialize(engine, status)
      @engine = engine
      @process = Process.pid
      return engine.start_sync unless status["store"] == "host"

      @lock = Mutex.new
      @ending = ConditionVariable.new
      interval = status["interval_ms"] / 1000.0
      @thread = Thread.new { keep(interval) }
    end

    # @return [Boolean] whether it is this process's; a forked child has none of its threads
    def here? = @process == Process.pid

    # Ends the thread, after the sync that it is in.
    # @return [nil]
    def stop
      return tell { @engine.stop_sync } unless @thread

      @lock.synchronize do
        @ended = true
        @ending.signal
      end
      @thread.join
      nil
    end

    # Ends it, and syncs for the last time.
    # @return [nil]
    def finish
      stop
      tell { @engine.leave }
    end

    private

    def keep(interval)
      loop do
        tell { @engine.sync }
        @lock.synchronize do
          # Programs that began at once do not sync at once.
          @ending.wait(@lock, interval * (0.9 + (0.2 * rand))) unless @ended
          return if @ended
        end
      end
    end

    # A failure is counted by the library and shown by its status; the next sync sends what this one did not.
    def tell
      yield
    rescue Error => e
      @engine.logger&.warn("tallyport: sync: #{e.message}")
      nil
    end
  end
end
