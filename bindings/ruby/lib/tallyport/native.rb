# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "ffi"

require_relative "errors"
require_relative "library"
require_relative "version"

module Tallyport
  # The C functions, attached. tallyport.h says what each does.
  #
  # The recording ones may be called directly, with a series' {Series#handle}; that spares the Ruby
  # method around them:
  #
  #     handle = HITS.handle # keep HITS: it frees the handle when it goes
  #     Tallyport::Native.counter_add(handle, 1)
  #
  # Handles are numbers, never addresses. The recording functions trust their arguments' domain: ffi
  # turns a negative amount into a huge one.
  module Native
    extend FFI::Library

    # Borrowed text: tallyport_str.
    class Str < FFI::Struct
      layout :ptr, :pointer, :len, :size_t
    end

    # Bytes of the library's: tallyport_buf.
    class Buf < FFI::Struct
      layout :ptr, :pointer, :len, :size_t, :cap, :size_t
    end

    # tallyport_engine_options.
    class EngineOptions < FFI::Struct
      layout :size, :uint32, :flags, :uint32,
             :config_path, Str, :config_toml, Str, :base_dir, Str, :service_name, Str,
             :log_fn, :pointer, :log_data, :pointer, :log_level, :int32, :cells, :uint32,
             :max_series, :uint64, :max_series_per_family, :uint64, :max_cell_bytes, :uint64,
             :default_bounds, :pointer, :default_bound_count, :size_t,
             :max_label_bytes, :uint64, :series_idle_timeout_s, :uint64,
             :arena, Str, :share, :uint32, :reserved, :uint32,
             :log_ring, :uint64
    end

    # tallyport_log_ring_options.
    class LogRingOptions < FFI::Struct
      layout :size, :uint32, :flags, :uint32, :lines, :uint64, :bytes, :uint64
    end

    # tallyport_family_options.
    class FamilyOptions < FFI::Struct
      layout :size, :uint32, :flags, :uint32, :name, Str, :kind, :uint32, :number, :uint32,
             :help, Str, :unit, Str, :bounds, :pointer, :bound_count, :size_t,
             :cells, :uint32, :gauge_mode, :uint32
    end

    # tallyport_listener_options.
    class ListenerOptions < FFI::Struct
      layout :size, :uint32, :flags, :uint32, :name, Str, :events, Str,
             :function, :pointer, :data, :pointer, :free_data, :pointer,
             :queue_events, :uint64, :queue_bytes, :uint64
    end

    # tallyport_store.
    class Store < FFI::Struct
      layout :size, :uint32, :flags, :uint32, :name, Str, :data, :pointer, :free_data, :pointer,
             :get, :pointer, :set, :pointer, :add, :pointer, :cas, :pointer, :remove, :pointer,
             :max_item_bytes, :uint64
    end

    # Functions of a store that take a key: what they return and what they are given.
    STORE_KEY = [:int32, [:pointer, :uint64, Str.by_value].freeze].freeze
    # Those that take a key, a value and a time.
    STORE_WRITE = [:int32, [:pointer, :uint64, Str.by_value, Str.by_value, :uint64].freeze].freeze
    # The one that takes a token besides.
    STORE_SWAP = [:int32, [:pointer, :uint64, Str.by_value, Str.by_value, :uint64, :uint64].freeze].freeze

    # TALLYPORT_KIND_*
    KINDS = { counter: 1, up_down_counter: 2, gauge: 3, histogram: 4 }.freeze
    # TALLYPORT_NUMBER_*
    NUMBERS = { f64: 1, u64: 2, i64: 3 }.freeze
    # TALLYPORT_CELLS_*
    CELLS = { percpu: 1, shared: 2 }.freeze
    # TALLYPORT_SHARE_*
    SHARES = { auto: 1, reset: 2, file: 3 }.freeze
    # TALLYPORT_GAUGE_MODE_*
    GAUGE_MODES = { sum: 1, max: 2, min: 3, mean: 4, last: 5 }.freeze

    @ffi_libs = [Library.open]

    class << self
      # Attaches `tallyport_NAME` as `NAME`. `blocking` calls let other Ruby threads run.
      def native(name, arguments, result = :int, blocking: false)
        attach_function name, :"tallyport_#{name}", arguments, result, blocking: blocking
      end

      # Attaches what newer libraries have.
      # @return [Boolean] whether this one has it
      def optional(name, arguments, result = :int, blocking: false)
        native(name, arguments, result, blocking: blocking)
        true
      rescue FFI::NotFoundError
        false
      end
    end

    str = Str.by_value
    buf = Buf.by_ref

    begin
      native :version, [], :string
      native :misuse_count, [], :uint64
      native :error_code, [:uint64]
      native :error_message, [:uint64], str
      native :error_field, [:uint64], str
      native :error_os_error, [:uint64], :int32
      native :error_free, [:uint64], :void
      native :buf_free, [buf], :void

      native :log_ring_new, [LogRingOptions.by_ref, :pointer, :pointer]
      native :log_ring_next, [:uint64, buf, :pointer]
      native :log_ring_dropped, [:uint64], :uint64
      native :log_ring_free, [:uint64], :void

      native :engine_open_with, [EngineOptions.by_ref, :pointer, :pointer], blocking: true
      native :engine_close, [:uint64], :void, blocking: true
      native :engine_status, [:uint64, buf, :pointer], blocking: true
      native :family_describe, [:uint64, FamilyOptions.by_ref, :pointer]
      native :series_remove, [:uint64, str, :pointer, :size_t, :pointer]
      native :family_clear, [:uint64, str, :pointer]

      counters = { counter: :uint64, counter_f64: :double,
                   up_down_counter: :int64, up_down_counter_f64: :double }
      counters.each do |kind, number|
        native :"#{kind}_get", [:uint64, str, :pointer, :size_t, :pointer, :pointer]
        native :"#{kind}_add", [:uint64, number], kind.end_with?("f64") ? :int : :void
        native :"#{kind}_value", [:uint64], number
        native :"#{kind}_free", [:uint64], :void
      end
      native :up_down_counter_sub, %i[uint64 int64], :void
      native :up_down_counter_f64_sub, %i[uint64 double]

      native :gauge_get, [:uint64, str, :pointer, :size_t, :pointer, :pointer]
      native :gauge_set, %i[uint64 double], :void
      native :gauge_add, %i[uint64 double], :void
      native :gauge_sub, %i[uint64 double], :void
      native :gauge_value, [:uint64], :double
      native :gauge_free, [:uint64], :void

      native :histogram_get,
             [:uint64, str, :pointer, :size_t, :pointer, :size_t, :pointer, :pointer]
      native :histogram_observe, %i[uint64 double], :void
      native :histogram_count, [:uint64], :uint64
      native :histogram_sum, [:uint64], :double
      native :histogram_free, [:uint64], :void

      native :snapshot_take, %i[uint64 pointer pointer], blocking: true
      native :snapshot_take_shared, %i[uint64 pointer pointer], blocking: true
      native :snapshot_save, [:uint64, str, :pointer], blocking: true
      native :snapshot_series_count, [:uint64], :uint64
      native :snapshot_free, [:uint64], :void
      native :export, [:uint64, str, buf, :pointer], blocking: true
      native :export_fd, [:uint64, str, :int32, :pointer], blocking: true
      native :export_snapshot, [:uint64, :uint64, str, buf, :pointer], blocking: true

      native :plugins_list, [:uint64, buf, :pointer]
      native :plugins_flush, %i[uint64 pointer], blocking: true
      native :plugin_reload, [:uint64, str, :pointer], blocking: true

      native :event_publish_json, [:uint64, str, str, str, :pointer], blocking: true
      native :event_define, [:uint64, str, str, str, :pointer]
      native :events_list, [:uint64, str, buf, :pointer]
      native :events_search, [:uint64, str, buf, :pointer]
      native :topic_get, [:uint64, str, :pointer, :pointer]
      native :topic_is_heard, [:uint64], :int32
      native :topic_free, [:uint64], :void
      native :event_subscribe, [:uint64, ListenerOptions.by_ref, :pointer, :pointer]
      native :subscription_next, [:uint64, :uint64, buf, :pointer], blocking: true
      native :subscription_status, [:uint64, buf, :pointer]
      native :subscription_free, [:uint64], :void, blocking: true

      native :store_attach, [:uint64, Store.by_ref, :pointer]
      native :store_call_value, [:uint64, str, :uint64, :pointer]
      native :store_call_fail, [:uint64, str, :pointer]

      native :sync, %i[uint64 pointer], blocking: true
      native :sync_start, %i[uint64 pointer]
      native :sync_stop, %i[uint64 uint64 pointer], blocking: true
      native :sync_leave, %i[uint64 pointer], blocking: true

      native :target_export, [:uint64, str, :uint32, buf, :pointer], blocking: true
      native :schedule_start, %i[uint64 pointer]
      native :schedule_stop, %i[uint64 uint64 pointer], blocking: true
    rescue FFI::NotFoundError => e
      raise LoadError, "tallyport: this libtallyport is older than tallyport #{VERSION} for Ruby: #{e.message}"
    end
  end
end
