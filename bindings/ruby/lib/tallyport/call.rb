# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "json"

require_relative "native"

module Tallyport
  # How cold calls pass text and labels, and how their failures become exceptions.
  # @api private
  module Call
    # Size of tallyport_label: name and value, each pointer and length.
    LABEL = 32

    class << self
      # Calls the block with a place for the error.
      # @raise [Error] the subclass of the status
      def check
        place = FFI::MemoryPointer.new(:uint64)
        status = yield place
        raise failure(status, place.read_uint64) unless status.zero?
      end

      # What a call writes a handle to.
      # @return [Integer] the handle
      def handle
        place = FFI::MemoryPointer.new(:uint64)
        check { |error| yield place, error }
        place.read_uint64
      end

      # What a call fills a buffer with.
      # @return [String] in UTF-8
      def bytes
        buf = Native::Buf.new
        check { |error| yield buf, error }
        content(buf)
      ensure
        Native.buf_free(buf) if buf
      end

      # What a call reports of itself, also when it failed.
      # @return [Array(Hash, (Error, nil))] the report, and the failure
      # @raise [Error] one that comes without a report
      def report
        buf = Native::Buf.new
        begin
          check { |error| yield buf, error }
        rescue Error => e
          raise if buf[:ptr].null?
        end
        [JSON.parse(content(buf)), e]
      ensure
        Native.buf_free(buf) if buf
      end

      # A buffer with JSON in it, parsed.
      def json(&call) = JSON.parse(bytes(&call))

      # Text as a call takes it; the block's call borrows it.
      def str(text)
        str = Native::Str.new
        put(str, text)
        str
      end

      # Puts text into a tallyport_str that lies in an options struct.
      # @return [FFI::MemoryPointer, nil] what has to be kept until the call
      def put(str, text)
        text = utf8(text)
        return if text.empty?

        memory = FFI::MemoryPointer.new(:char, text.bytesize)
        memory.put_bytes(0, text)
        str[:ptr] = memory
        str[:len] = text.bytesize
        memory
      end

      # Labels as an array of tallyport_label.
      # @yieldparam labels [FFI::Pointer, nil]
      # @yieldparam count [Integer]
      def labels(labels)
        return yield(nil, 0) if labels.empty?

        texts = labels.flat_map { |name, value| [utf8(name), utf8(value)] }
        memory = FFI::MemoryPointer.new(:char, [texts.sum(&:bytesize), 1].max)
        array = FFI::MemoryPointer.new(LABEL, labels.size)
        at = 0
        texts.each_with_index do |text, index|
          memory.put_bytes(at, text)
          array.put_pointer(index * 16, memory + at)
          array.put_uint64((index * 16) + 8, text.bytesize)
          at += text.bytesize
        end
        yield array, labels.size
      end

      # Numbers as an array of double.
      # @yieldparam numbers [FFI::Pointer, nil]
      # @yieldparam count [Integer]
      def doubles(numbers)
        return yield(nil, 0) if numbers.nil? || numbers.empty?

        memory = FFI::MemoryPointer.new(:double, numbers.size)
        memory.write_array_of_double(numbers)
        yield memory, numbers.size
      end

      private

      def content(buf)
        buf[:ptr].null? ? +"" : buf[:ptr].read_bytes(buf[:len]).force_encoding(Encoding::UTF_8)
      end

      # Bytes of unknown encoding (Rack's) count as UTF-8; the library says where they are not.
      def utf8(text)
        text = text.to_s
        case text.encoding
        when Encoding::UTF_8, Encoding::US_ASCII, Encoding::BINARY then text
        else text.encode(Encoding::UTF_8)
        end
      end

      def failure(status, error)
        return Error.of(status).new("libtallyport answered #{status}", code: status) if error.zero?

        field = read(Native.error_field(error))
        Error.of(status).new(read(Native.error_message(error)), code: status,
                             field: field.empty? ? nil : field,
                             os_error: Native.error_os_error(error))
      ensure
        Native.error_free(error)
      end

      def read(str)
        str[:len].zero? ? "" : str[:ptr].read_bytes(str[:len]).force_encoding(Encoding::UTF_8)
      end
    end
  end
end
