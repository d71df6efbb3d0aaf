# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "configuration"
require_relative "events"
require_relative "family"
require_relative "log"
require_relative "run"
require_relative "snapshot"

module Tallyport
  # An engine: metrics, exporters, their configuration. Most programs use the one of {Tallyport}.
  #
  # Children that the process forks have it too and record into the same values.
  class Engine
    # Names that are remembered, of each kind. What is forgotten is looked up anew.
    NAMES = 10_000
    # Numbers of the levels that {Configuration#log_level} names.
    LOG_LEVELS = { off: -1, error: 1, warn: 2, info: 3, debug: 4, trace: 5 }.freeze

    # @return [Events]
    attr_reader :events
    # @return [#error, nil] where messages of the library go, at the end of a call that made one
    attr_accessor :logger
    # @api private
    attr_reader :handle

    # Opens an engine.
    # @param configuration [Configuration]
    # @raise [InvalidConfig] with every problem and its place
    def initialize(configuration = Configuration.new)
      @label_cache = configuration.label_cache
      @logger = configuration.logger
      @log = Log.new
      @handle = Engine.open(configuration, @log)
      @described = {}
      @live = ObjectSpace::WeakMap.new
      @families = [Counter, FloatCounter, UpDownCounter, FloatUpDownCounter, Gauge, Histogram]
                  .to_h { |type| [type, LabelCache.new(NAMES)] }
      @counters = @families[Counter].table
      @gauges = @families[Gauge].table
      @histograms = @families[Histogram].table
      @events = Events.new(self)
    end

    # @!group Metrics

    # The counter with this name and these labels, made on first use.
    # @param name [Symbol, String]
    # @param labels [Hash] braces may be left out
    # @return [Counter] a {FloatCounter} where {#describe} said `number: :f64`
    # @raise [InvalidArgument, InvalidUtf8, Conflict, Limit]
    def counter(name, labels = nil)
      family = @counters[name] || counters(name)
      labels ? family.series(labels) : family.plain
    end

    # The counter of fractions with this name and these labels.
    # @return [FloatCounter]
    def float_counter(name, labels = nil) = find(FloatCounter, name, labels)

    # The up-down counter with this name and these labels.
    # @return [UpDownCounter]
    def up_down_counter(name, labels = nil) = find(UpDownCounter, name, labels)

    # The up-down counter of fractions with this name and these labels.
    # @return [FloatUpDownCounter]
    def float_up_down_counter(name, labels = nil) = find(FloatUpDownCounter, name, labels)

    # The gauge with this name and these labels.
    # @return [Gauge]
    def gauge(name, labels = nil)
      family = @gauges[name] || family(Gauge, name)
      labels ? family.series(labels) : family.plain
    end

    # The histogram with this name and these labels.
    # @return [Histogram]
    def histogram(name, labels = nil)
      family = @histograms[name] || family(Histogram, name)
      labels ? family.series(labels) : family.plain
    end

    # Fixes what a family is, and sets its help and unit once.
    # @param name [Symbol, String]
    # @param kind [Symbol] `:counter`, `:up_down_counter`, `:gauge`, `:histogram`
    # @param number [Symbol, nil] `:u64`, `:i64`, `:f64`; nil is the kind's own
    # @param bounds [Array<Numeric>, nil] upper bounds of a histogram's buckets
    # @param cells [Symbol, nil] `:percpu` or `:shared`
    # @param gauge_mode [Symbol, nil] how a gauge that several processes set becomes one value: `:sum`,
    #   `:max`, `:min`, `:mean`, `:last`; nil: it is one series of each process
    # @return [nil]
    # @raise [Conflict] with what the family is already
    def describe(name, kind, help: nil, unit: nil, number: nil, bounds: nil, cells: nil, gauge_mode: nil)
      options = Native::FamilyOptions.new
      options[:size] = options.size
      options[:kind] = Engine.pick(Native::KINDS, "kind", kind)
      options[:number] = Engine.pick(Native::NUMBERS, "number", number)
      options[:cells] = Engine.pick(Native::CELLS, "cells", cells)
      options[:gauge_mode] = Engine.pick(Native::GAUGE_MODES, "gauge_mode", gauge_mode)
      kept = { name: name, help: help, unit: unit }.map { |field, text| Call.put(options[field], text) }
      Call.doubles(bounds) do |memory, count|
        options[:bounds] = memory
        options[:bound_count] = count
        Call.check { |error| Native.family_describe(@handle, options, error) }
      end
      kept.clear
      @described[name.to_s] = [kind, { help: help, unit: unit, number: number, bounds: bounds, cells: cells,
                                         gauge_mode: gauge_mode }]
      nil
    end

    # Takes one series out of the exports.
    # @raise [NotFound]
    def remove(name, labels = {})
      Call.labels(labels) do |array, count|
        Call.check { |error| Native.series_remove(@handle, Call.str(name), array, count, error) }
      end
      forget(name)
    end

    # Takes all series of a family out of the exports.
    # @raise [NotFound]
    def clear(name)
      Call.check { |error| Native.family_clear(@handle, Call.str(name), error) }
      forget(name)
    end

    # @!endgroup
    # @!group Exports

    # Writes all metrics in a format. Other threads go on.
    # @param selector [Symbol, String] a format (`:openmetrics`) or an exporter's name
    # @param shared [Boolean] what all instances have, through the store of the configuration
    # @return [String]
    # @raise [NotFound, Unsupported, PluginFailed, Timeout, Unavailable]
    def export(selector = :prometheus, shared: false)
      return snapshot(shared: true).export(selector) if shared

      Call.bytes { |buf, error| Native.export(@handle, Call.str(selector), buf, error) }
    ensure
      deliver_log
    end

    # Writes all metrics to a file or socket, as they are made.
    # @param io [IO]
    # @return [nil]
    def export_to(io, selector = :prometheus)
      io.flush
      told { |error| Native.export_fd(@handle, Call.str(selector), io.fileno, error) }
    end

    # Reads every value once.
    # @param shared [Boolean] what all instances have, through the store of the configuration
    # @return [Snapshot]
    def snapshot(shared: false)
      shared ? undisturbed { Snapshot.new(self, shared: true) } : Snapshot.new(self)
    end

    # @return [Array<Hash>] the exporters, with formats and statistics
    def plugins = Call.json { |buf, error| Native.plugins_list(@handle, buf, error) }

    # Has every exporter deliver what it buffered.
    # @return [nil]
    def flush = told { |error| Native.plugins_flush(@handle, error) }

    # Loads the file of an exporter anew.
    # @return [nil]
    def reload_plugin(name) = told { |error| Native.plugin_reload(@handle, Call.str(name), error) }

    # @!endgroup
    # @!group Targets

    # Exports a target of the configuration, once, here and now. What became of the attempt is returned,
    # also when it failed: with whether and when to try again.
    # @param name [Symbol, String]
    # @param attempt [Integer] which one this is, where the caller counts them; 0: the engine does
    # @return [Run]
    # @raise [NotFound] when the configuration has no such target
    def export_target(name, attempt: 0)
      report, failure = undisturbed do
        Call.report { |buf, error| Native.target_export(@handle, Call.str(name), attempt, buf, error) }
      end
      Run.new(report, failure)
    ensure
      deliver_log
    end

    # Exports every enabled target of the configuration, one after the other, each once.
    # @return [Array<Run>]
    def export_all
      targets.select { |target| target["enabled"] }.map { |target| export_target(target["name"]) }
    end

    # @return [Array<Hash>] the targets of the configuration, and how they stand
    def targets = status["export"]["targets"]

    # Starts a thread of the library's that exports every enabled target when it is due; it calls no
    # Ruby. A forked child has none, and may start its own.
    # @return [nil]
    # @raise [NotFound] when no target is enabled
    def start_schedule = told { |error| Native.schedule_start(@handle, error) }

    # Ends that thread, after it exported every target for the last time.
    # @param timeout [Numeric] seconds that this waits for it
    # @return [nil]
    # @raise [Timeout] when it had not ended by then; it does so by itself
    def stop_schedule(timeout: 10)
      told { |error| Native.schedule_stop(@handle, (timeout * 1000).ceil, error) }
    end

    # @!endgroup
    # @!group Sharing

    # Has instances share through a store of the program's own, for as long as the engine is open.
    # @api private
    # @param store [Store]
    # @return [nil]
    def attach_store(store)
      store.attach(@handle)
      (@stores ||= []) << store # the library calls it
      nil
    end

    # Writes what changed to the store of the configuration.
    # @return [nil]
    def sync = undisturbed { told { |error| Native.sync(@handle, error) } }

    # Starts a thread of the library's that syncs; it calls no Ruby.
    # @return [nil]
    def start_sync = told { |error| Native.sync_start(@handle, error) }

    # Ends that thread, after the sync that it is in.
    # @param timeout [Numeric] seconds that this waits for it
    # @return [nil]
    # @raise [Timeout] when it had not ended by then; it does so by itself
    def stop_sync(timeout: 10) = told { |error| Native.sync_stop(@handle, (timeout * 1000).ceil, error) }

    # Syncs for the last time and retires this instance: its counts stay, its gauges go.
    # @return [nil]
    def leave = undisturbed { told { |error| Native.sync_leave(@handle, error) } }

    # @!endgroup

    # @return [Hash] families, series, what was dropped, exporters, sharing, forks
    def status = Call.json { |buf, error| Native.engine_status(@handle, buf, error) }

    # Closes the engine: exporters deliver what they buffered. Series stay valid and record where
    # nobody looks. More than once is fine.
    # @return [nil]
    def close
      @events.close
      Native.engine_close(@handle)
      deliver_log
    end

    # Hands what the library said to the logger.
    # @return [nil]
    def deliver_log = @log.deliver(@logger)

    # A handle of a series.
    # @api private
    def resolve(type, name, labels)
      get = :"#{type.prefix}_get"
      Call.labels(labels) do |array, count|
        Call.handle do |place, error|
          bounds = type == Histogram ? [nil, 0] : []
          Native.public_send(get, @handle, Call.str(name), *bounds, array, count, place, error)
        end
      end
    end

    # Knows a series as long as somebody has it.
    # @api private
    def remember(series) = @live[series] = series

    # Begins anew, with nothing recorded: for specs. What {#describe} said holds; series that the
    # program still has come back, from zero, when they are used; event subscriptions end.
    # @return [nil]
    def reset(configuration)
      @families.each_value(&:clear)
      old, @handle = @handle, Engine.open(configuration, @log)
      @events.close
      @events = Events.new(self)
      Native.engine_close(old)
      @described.each { |name, (kind, options)| describe(name, kind, **options) }
      @live.values.each(&:detach)
      nil
    end

    class << self
      # @api private
      # @return [Integer] the handle
      def open(configuration, log)
        options = Native::EngineOptions.new
        options[:size] = options.size
        kept = texts(configuration).map { |field, text| Call.put(options[field], text) }
        numbers(options, configuration)
        options[:log_ring] = log.handle
        Call.doubles(configuration.default_bounds) do |memory, count|
          options[:default_bounds] = memory
          options[:default_bound_count] = count
          Call.handle { |place, error| Native.engine_open_with(options, place, error) }
        end
      ensure
        kept&.clear
      end

      # A number by its name; nil is 0, the default.
      # @api private
      def pick(names, field, name)
        return 0 if name.nil?

        names.fetch(name) do
          raise InvalidArgument.new("#{field}: #{name.inspect} is none of #{names.keys.join(", ")}", field: field)
        end
      end

      private

      def texts(configuration)
        { config_path: configuration.config, config_toml: configuration.config_toml,
          base_dir: configuration.base_dir, service_name: configuration.service_name,
          arena: configuration.arena && File.expand_path(configuration.arena) }
      end

      def numbers(options, configuration)
        options[:log_level] = pick(LOG_LEVELS, "log_level", configuration.log_level)
        options[:cells] = pick(Native::CELLS, "cells", configuration.cells)
        options[:share] = pick(Native::SHARES, "share", configuration.share)
        %i[max_series max_series_per_family max_cell_bytes max_label_bytes].each do |field|
          options[field] = configuration.public_send(field) || 0
        end
        options[:series_idle_timeout_s] = configuration.series_idle_timeout || 0
      end
    end

    private

    # A call after which the logger is told what the library said.
    def told(&call)
      Call.check(&call)
    ensure
      deliver_log
    end

    # Inside a call that comes back to Ruby nothing may throw past the library.
    def undisturbed(&call)
      @stores ? Thread.handle_interrupt(Object => :never, &call) : yield
    end

    def find(type, name, labels)
      family = @families[type][name] || family(type, name)
      labels ? family.series(labels) : family.plain
    end

    # The family of a counter by name; it may have been described as one of fractions.
    def counters(name)
      kind, options = @described[name.to_s]
      type = kind == :counter && options[:number] == :f64 ? FloatCounter : Counter
      family(Counter, name, type)
    end

    def family(kind, name, type = kind)
      @families[kind].store(name.is_a?(String) ? -name : name, Family.new(self, type, name, @label_cache))
    end

    # Series that were taken out are not to be found again in a cache.
    def forget(name)
      @families.each_value do |names|
        [name.to_s, name.to_sym].each { |key| names[key]&.forget }
      end
      nil
    end
  end
end
