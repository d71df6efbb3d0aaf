# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

module Tallyport
  # Where libtallyport is: one that was named, the one in the gem, the system's.
  # @api private
  module Library
    # Version of tallyport.h's interface that this gem was written for: TALLYPORT_ABI_VERSION.
    ABI = 1 << 16

    # Folder of the library and its helper in a gem that carries them (`rake native`).
    BUNDLED = File.expand_path("native", __dir__)

    # Names that the loader looks for, best first.
    SYSTEM = ["libtallyport.so.1", "libtallyport.so"].freeze

    class << self
      # What to try, in this order. `TALLYPORT_LIBRARY` names one file, and only that is tried.
      # @return [Array<String>]
      def candidates
        named = ENV.fetch("TALLYPORT_LIBRARY", "")
        return [named] unless named.empty?

        Dir[File.join(BUNDLED, "libtallyport.{so,dylib}")] + SYSTEM
      end

      # Loads the library and checks that it fits.
      # @return [FFI::DynamicLibrary]
      # @raise [LoadError] with what was tried and why it did not do
      def open
        failures = []
        candidates.each do |path|
          library = load(path, failures) or next
          reason = misfit(library)
          return library unless reason

          failures << "#{path}: #{reason}"
        end
        raise LoadError, message(failures)
      end

      private

      def load(path, failures)
        FFI::DynamicLibrary.open(path, FFI::DynamicLibrary::RTLD_LAZY | FFI::DynamicLibrary::RTLD_LOCAL)
      rescue LoadError => e
        failures << "#{path}: #{e.message}"
        nil
      end

      # Why a library does not fit; nil when it does.
      def misfit(library)
        check = function(library, "tallyport_abi_check", :int, [:uint32])
        version = function(library, "tallyport_version", :string, [])
        return "no libtallyport" unless check && version
        return if check.call(ABI).zero?

        needed = "#{ABI >> 16}.#{ABI & 0xffff}"
        "libtallyport #{version.call} has another ABI than #{needed}, which tallyport #{VERSION} for Ruby needs"
      end

      def function(library, name, result, arguments)
        symbol = library.find_function(name) or return
        FFI::Function.new(result, arguments, symbol)
      end

      def message(failures)
        tried = failures.map { |failure| "\n  #{failure}" }.join
        "tallyport: no libtallyport that fits. Install one, or set TALLYPORT_LIBRARY to its file. Tried:#{tried}"
      end
    end
  end
end
