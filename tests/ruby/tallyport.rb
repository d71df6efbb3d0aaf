# SPDX-License-Identifier: MIT OR Apache-2.0
# libtallyport from Ruby by plain ffi: as much as tests/puma.rs needs.
require "ffi"

module Tallyport
  extend FFI::Library
  ffi_lib ENV.fetch("TALLYPORT_LIBRARY")

  class Buf < FFI::Struct
    layout :ptr, :pointer, :len, :size_t, :cap, :size_t
  end

  attach_function :tallyport_engine_open_z, %i[string pointer pointer], :int
  attach_function :tallyport_counter_get_z, %i[pointer string pointer pointer pointer], :int
  attach_function :tallyport_counter_add, %i[pointer uint64], :void
  attach_function :tallyport_gauge_get_z, %i[pointer string pointer pointer pointer], :int
  attach_function :tallyport_gauge_set, %i[pointer double], :void
  attach_function :tallyport_export_z, [:pointer, :string, Buf.by_ref, :pointer], :int
  attach_function :tallyport_buf_free, [Buf.by_ref], :void

  def self.made
    place = FFI::MemoryPointer.new(:pointer)
    status = yield place
    raise "libtallyport answered #{status}" unless status.zero?
    place.read_pointer
  end

  # The engine that a master opens is its workers' as well.
  def self.start(config)
    @engine = made { |place| tallyport_engine_open_z(config, place, nil) }
    @requests = made { |place| tallyport_counter_get_z(@engine, "requests_total", nil, place, nil) }
    @level = made { |place| tallyport_gauge_get_z(@engine, "level", nil, place, nil) }
  end

  def self.count = tallyport_counter_add(@requests, 1)

  # A series of each worker, made when it is there.
  def self.count_here
    labels = ["worker", Process.pid.to_s].map { |text| FFI::MemoryPointer.from_string(text) }
    list = FFI::MemoryPointer.new(:pointer, 3).write_array_of_pointer(labels + [nil])
    series = made { |place| tallyport_counter_get_z(@engine, "here_total", list, place, nil) }
    tallyport_counter_add(series, 1)
    tallyport_gauge_set(@level, 1)
  end

  def self.export
    buf = Buf.new
    status = tallyport_export_z(@engine, "prometheus", buf, nil)
    raise "libtallyport answered #{status}" unless status.zero?
    text = buf[:ptr].read_bytes(buf[:len])
    tallyport_buf_free(buf)
    text
  end
end
