# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

module Tallyport
  # What every failure of the library is raised as; a subclass for each status.
  class Error < StandardError
    # @return [Integer] number of the status, as in tallyport.h
    attr_reader :code
    # @return [String, nil] the argument or configuration key that is wrong (`labels[2].name`)
    attr_reader :field
    # @return [Integer] the operating system's error number; 0 where it was not asked
    attr_reader :os_error

    def initialize(message = nil, field: nil, os_error: 0, code: self.class.code)
      super(message)
      @field = field
      @os_error = os_error
      @code = code
    end

    # @return [Symbol] name of the status, for example `:not_found`
    def status = Error.names.fetch(code, :unknown)

    class << self
      # Number of the status that this class stands for; nil for the base class.
      attr_reader :code

      # @return [Hash{Integer => Symbol}] names of statuses by number
      def names = @names ||= {}

      # The class of a status; the base class for one that this gem does not know.
      # @param code [Integer]
      # @return [Class]
      def of(code) = by_code.fetch(code, Error)

      # Makes the subclass of a status.
      # @api private
      def define(code, name)
        names[code] = name.to_s.gsub(/(?<!^)([A-Z])/, '_\1').downcase.to_sym
        by_code[code] = Class.new(self) { @code = code }
      end

      private

      def by_code = @by_code ||= {}
    end
  end

  # An argument is outside its domain; {Error#field} names it.
  InvalidArgument = Error.define(1, :InvalidArgument)
  # Text is not valid UTF-8; the message has the byte offset.
  InvalidUtf8 = Error.define(2, :InvalidUtf8)
  # A bug of the gem: a required pointer was NULL.
  NullArgument = Error.define(3, :NullArgument)
  # The object was closed before.
  BadHandle = Error.define(4, :BadHandle)
  # The same name exists with another kind, number type, bounds or help.
  Conflict = Error.define(5, :Conflict)
  # A configured limit would be exceeded.
  Limit = Error.define(6, :Limit)
  # Nothing has that name.
  NotFound = Error.define(7, :NotFound)
  # Something has that name already.
  AlreadyExists = Error.define(8, :AlreadyExists)
  # The configuration is invalid; the message has every problem with its place.
  InvalidConfig = Error.define(9, :Config)
  # The operating system refused; {Error#os_error} has its number.
  IoError = Error.define(10, :Io)
  # A plugin file could not be found, opened, trusted or loaded.
  PluginRefused = Error.define(11, :PluginRefused)
  # A plugin speaks another ABI, or breaks this one.
  PluginAbiMismatch = Error.define(12, :PluginAbiMismatch)
  # A plugin reported a failure of its own.
  PluginFailed = Error.define(13, :PluginFailed)
  # Code panicked or threw; it was contained.
  Panic = Error.define(14, :Panic)
  # An earlier panic left the object unusable.
  Poisoned = Error.define(15, :Poisoned)
  # The caller withdrew the call.
  Cancelled = Error.define(16, :Cancelled)
  # The deadline passed.
  Timeout = Error.define(17, :Timeout)
  # The operation or format is not available here.
  Unsupported = Error.define(18, :Unsupported)
  # Data that was read is damaged.
  Damaged = Error.define(19, :Damaged)
  # The object was shut down.
  Closed = Error.define(20, :Closed)
  # A bug in Tallyport; please report it.
  Internal = Error.define(21, :Internal)
  # It is left alone for a while after earlier failures; try again later.
  Unavailable = Error.define(22, :Unavailable)
end
