# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

module Tallyport
  module Client
    # A family with declared labels.
    # @abstract
    class Metric
      # The label set is not the declared one.
      InvalidLabelSetError = Class.new(ArgumentError)

      # @return [Symbol]
      attr_reader :name
      # @return [String]
      attr_reader :docstring
      # @return [Array<Symbol>]
      attr_reader :labels
      # @return [Hash]
      attr_reader :preset_labels

      # @param name [Symbol]
      # @param docstring [String]
      # @param labels [Array<Symbol>]
      # @param preset_labels [Hash]
      def initialize(name, docstring:, labels: [], preset_labels: {})
        @name = name.to_sym
        @docstring = docstring
        @labels = labels.map(&:to_sym).freeze
        @preset_labels = preset_labels.dup.freeze
        undeclared = @preset_labels.keys - @labels
        raise InvalidLabelSetError, "#{name}: preset labels that are not declared: #{undeclared}" unless undeclared.empty?

        describe
      end

      # The same family with some labels given.
      # @param labels [Hash]
      # @return [Metric]
      def with_labels(labels)
        self.class.new(@name, docstring: @docstring, labels: @labels, preset_labels: @preset_labels.merge(labels), **options)
      end

      # Makes the series, at zero.
      # @return [nil]
      def init_label_set(labels)
        series(labels)
        nil
      end

      # @return [Numeric, Hash]
      def get(labels: {}) = series(labels).get

      private

      def options = {}

      def describe
        Tallyport.describe(@name, kind, help: @docstring, number: number)
      end

      def number = nil

      def series(labels)
        labels = @preset_labels.merge(labels) unless @preset_labels.empty?
        unless labels.size == @labels.size && @labels.all? { |label| labels.key?(label) }
          raise InvalidLabelSetError, "#{@name}: labels are #{@labels.inspect}, not #{labels.keys.inspect}"
        end

        find(labels)
      end
    end

    # A counter of fractions, as the usual client's.
    class Counter < Metric
      # @return [Symbol]
      def type = :counter

      # @return [nil]
      def increment(by: 1, labels: {}) = series(labels).increment(by)

      private

      def kind = :counter
      def number = :f64
      def find(labels) = Tallyport.float_counter(@name, labels)
    end

    # A gauge; of each process, with the label `pid` where several set it.
    class Gauge < Metric
      # @return [Symbol]
      def type = :gauge

      # @return [nil]
      def set(value, labels: {}) = series(labels).set(value)

      # @return [nil]
      def increment(by: 1, labels: {}) = series(labels).increment(by)

      # @return [nil]
      def decrement(by: 1, labels: {}) = series(labels).decrement(by)

      # @return [nil]
      def set_to_current_time(labels: {}) = series(labels).set_to_current_time

      private

      def kind = :gauge
      def find(labels) = Tallyport.gauge(@name, labels)
    end

    # A histogram with bounds of its own.
    class Histogram < Metric
      # Bounds where none are given.
      DEFAULT_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10].freeze

      # @return [Array<Numeric>]
      attr_reader :buckets

      # @return [Array<Numeric>] `count` bounds from `start`, `width` apart
      def self.linear_buckets(start:, width:, count:)
        Array.new(count) { |index| start.to_f + (index * width) }
      end

      # @return [Array<Numeric>] `count` bounds from `start`, each `factor` times the last one
      def self.exponential_buckets(start:, count:, factor: 2)
        Array.new(count) { |index| start.to_f * (factor**index) }
      end

      def initialize(name, docstring:, labels: [], preset_labels: {}, buckets: DEFAULT_BUCKETS)
        @buckets = buckets
        super(name, docstring: docstring, labels: labels, preset_labels: preset_labels)
      end

      # @return [Symbol]
      def type = :histogram

      # @return [nil]
      def observe(value, labels: {}) = series(labels).observe(value)

      # Observes the seconds that the block takes.
      def time(labels: {}, &block) = series(labels).time(&block)

      private

      def kind = :histogram
      def options = { buckets: @buckets }
      def describe = Tallyport.describe(@name, kind, help: @docstring, bounds: @buckets)
      def find(labels) = Tallyport.histogram(@name, labels)
    end
  end
end
