# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "family"

module Tallyport
  # The C extension: recording without ffi's turn of each call. Taken where it was built
  # (`gem install`, where there is a compiler); without it everything works the same.
  # @api private
  module Extension
    # Functions that it calls. It gets their addresses from here, so both use one library.
    FUNCTIONS = %w[tallyport_counter_add tallyport_gauge_set tallyport_histogram_observe].freeze

    class << self
      # @return [Boolean] whether it is in use
      def loaded? = @loaded || false

      # Takes it, unless `TALLYPORT_EXTENSION=off`.
      def take
        return if ENV["TALLYPORT_EXTENSION"] == "off"

        require "tallyport/tallyport_ext"
        library = Native.ffi_libraries.first
        bind(FUNCTIONS.map { |name| library.find_function(name).address })
        @loaded = true
      rescue LoadError
        @loaded = false
      end
    end
  end
end

Tallyport::Extension.take
