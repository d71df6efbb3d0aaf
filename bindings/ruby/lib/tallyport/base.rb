# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "version"
require_relative "engine"
require_relative "extension"
require_relative "syncing"

# Metrics at native speed, shared between the processes of a server.
#
#     hits = Tallyport.counter(:http_requests_total, method: "GET")
#     hits.increment
#     Tallyport.histogram(:request_seconds).time { work }
#     puts Tallyport.export(:prometheus)
#
# The engine is opened at its first use. Processes that are forked afterwards record into the same
# values (`share = :auto`), so a prefork server that loads the application before it forks needs no
# configuration; docs/RUBY.md says what the others need.
module Tallyport
  autoload :Client, File.expand_path("client", __dir__)
  autoload :Rack, File.expand_path("rack", __dir__)
  autoload :RailsCacheStore, File.expand_path("rails_cache_store", __dir__)
  autoload :SqlSubscriber, File.expand_path("sql_subscriber", __dir__)

  @configuration = Configuration.new
  @opening = Mutex.new

  class << self
    # @return [Configuration]
    attr_reader :configuration

    # Sets what the engine is opened from, before its first use; the logger at any time.
    #
    #     Tallyport.configure { |c| c.config = "config/tallyport.toml"; c.logger = Rails.logger }
    #
    # Saying the same again is fine: a worker may run the code that its master ran.
    # @yieldparam configuration [Configuration]
    # @return [nil]
    # @raise [Error] when the engine is open and was opened from something else
    def configure
      wanted = @configuration.dup
      yield wanted
      if @engine && wanted.of_engine != @configuration.of_engine
        raise Error, "Tallyport is open with another configuration: configure it before its first use " \
                     "(or call Tallyport.reset! between)"
      end
      @configuration = wanted
      @engine.logger = wanted.logger if @engine
      nil
    end

    # The engine of the process and of its forks, opened at first use.
    # @return [Engine]
    def engine = @engine || open_engine

    # @return [Boolean] whether it is open
    def open? = !@engine.nil?

    # @see Engine#counter
    def counter(name, labels = nil) = (@engine || open_engine).counter(name, labels)

    # @see Engine#float_counter
    def float_counter(name, labels = nil) = engine.float_counter(name, labels)

    # @see Engine#up_down_counter
    def up_down_counter(name, labels = nil) = engine.up_down_counter(name, labels)

    # @see Engine#float_up_down_counter
    def float_up_down_counter(name, labels = nil) = engine.float_up_down_counter(name, labels)

    # @see Engine#gauge
    def gauge(name, labels = nil) = (@engine || open_engine).gauge(name, labels)

    # @see Engine#histogram
    def histogram(name, labels = nil) = (@engine || open_engine).histogram(name, labels)

    # @see Engine#describe
    def describe(name, kind, **options) = engine.describe(name, kind, **options)

    # @return [Events]
    def events = engine.events

    # @see Engine#export
    def export(selector = :prometheus, shared: false) = engine.export(selector, shared: shared)

    # @see Engine#snapshot
    def snapshot(shared: false) = engine.snapshot(shared: shared)

    # @see Engine#export_target
    def export_target(name, attempt: 0) = engine.export_target(name, attempt: attempt)

    # @see Engine#export_all
    def export_all = engine.export_all

    # @see Engine#sync
    def sync = engine.sync

    # Syncs in the background from now on, at the interval of the configuration (`sync.interval_ms`),
    # and for the last time when the process ends: its counts stay, its gauges go. Where there is no store
    # it does nothing, and nothing the second time. In each process: a forked worker starts its own, which
    # the plugins of Puma and Sidekiq do.
    # @return [Boolean] whether there is a store
    def start_sync
      engine = self.engine
      @opening.synchronize do
        status = engine.status["sync"]
        return false if status["store"] == "none"

        @syncing = Syncing.new(engine, status) unless @syncing&.here?
      end
      true
    end

    # @see Engine#status
    def status = engine.status

    # Forgets all that was recorded, for specs. Series in constants go on, from zero.
    # @return [nil]
    def reset!
      @opening.synchronize do
        syncing.each(&:stop)
        @engine&.reset(@configuration)
      end
      nil
    end

    # Closes the engine: exporters deliver what they buffered, and {.start_sync} syncs for the last time.
    # The next use opens one anew. Called at the end of the process.
    # @return [nil]
    def close
      engine, ending = @opening.synchronize { [@engine.tap { @engine = nil }, syncing] }
      ending.each(&:finish)
      engine&.close
      nil
    end

    private

    # What this process syncs by; it is forgotten here.
    def syncing
      kept = @syncing
      @syncing = nil
      kept&.here? ? [kept] : []
    end

    # A trap handler cannot take the lock: it opens an engine of its own and, should the code that it
    # interrupted be opening one, the first to be done stays.
    def open_engine
      @opening.synchronize { @engine || settle(Engine.new(@configuration)) }
    rescue ThreadError
      settle(Engine.new(@configuration))
    end

    def settle(fresh)
      kept = (@engine ||= fresh)
      if kept.equal?(fresh)
        # The logger may record, in the engine that is open now.
        kept.deliver_log
      else
        fresh.close
      end
      kept
    end
  end

  at_exit { close }
end
