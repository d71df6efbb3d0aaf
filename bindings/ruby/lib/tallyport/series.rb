# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "call"

module Tallyport
  # One series: a name, labels, and the handle that leads to its value.
  #
  # It is resolved once. Keep it where it is used often; any thread, trap handler and forked child
  # may record through it. The handle is freed when the object is collected.
  # @abstract
  class Series
    # @return [String]
    attr_reader :name
    # @return [Hash{Symbol, String => String}] frozen
    attr_reader :labels

    # Where the handle is kept where the C extension was not built; the extension has a place of its
    # own, which its methods find sooner.
    # @api private
    module ByFfi
      attr_reader :handle

      private

      attr_writer :handle
    end
    include ByFfi

    # @!attribute [r] handle
    #   What {Native} takes: a number. It is this object's, and freed with it.
    #   @return [Integer]

    # What is called in the place of a collected object. It must not refer to it.
    # @api private
    class Release
      # Frees a handle that is in a place of its own, because {Series#rebind} changes it.
      def initialize(free, place)
        @free = free
        @place = place
      end

      def call(_id) = Native.public_send(@free, @place[0])
    end

    # What a series of before {Engine#reset} is extended with: it comes back when it is used, so that
    # a spec sees only the series that it made.
    # @api private
    module Detached
      %i[increment decrement set observe value count sum handle].each do |name|
        define_method(name) do |*arguments|
          attach
          super(*arguments)
        end
      end

      def detach = @detached = true

      private

      def attach
        return unless @detached

        @detached = false
        rebind
      end
    end

    class << self
      # @return [Symbol] how the C functions of this kind begin
      attr_reader :prefix
    end

    # @api private
    def initialize(family, labels)
      @family = family
      @name = family.name
      @labels = labels
      @place = [0]
      ObjectSpace.define_finalizer(self, Release.new(:"#{self.class.prefix}_free", @place))
      rebind
    end

    # The series of the same family with these labels besides its own.
    # @param labels [Hash]
    # @return [Series]
    def with_labels(labels)
      labels.empty? ? self : @family.series(@labels.merge(labels))
    end

    # @return [String] kind, name and labels
    def inspect = "#<#{self.class} #{name}#{labels}>"

    # The engine that the handle is of is gone.
    # @api private
    def detach
      extend(Detached)
      detach
    end

    # Resolves the handle, in the engine that the family is of now.
    # @api private
    def rebind
      fresh = @family.resolve(@labels)
      Native.public_send(:"#{self.class.prefix}_free", @place[0]) unless @place[0].zero?
      @place[0] = fresh
      self.handle = fresh
    end

    private

    # `by:` and `labels:` as callers of prometheus-client write them.
    # @return [Array(Series, Numeric)]
    def spelled(options, default)
      only(options, %i[by labels])
      [with_labels(options.fetch(:labels, {})), options.fetch(:by, default)]
    end

    # `labels:` alone.
    def labels_of(options)
      raise ArgumentError, "labels go into labels: {…}, not #{options.inspect}" unless options.is_a?(Hash)

      only(options, %i[labels])
      options.fetch(:labels, {})
    end

    def only(options, known)
      unknown = options.keys - known
      return if unknown.empty?

      names = unknown.map(&:inspect).join(", ")
      raise ArgumentError, "unknown keyword: #{names}; labels go into labels: {…}"
    end

    def wrong(amount, wanted)
      raise InvalidArgument.new("#{name}: #{amount.inspect} is not #{wanted}", field: "amount")
    end
  end
end
