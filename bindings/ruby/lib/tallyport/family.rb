# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "label_cache"
require_relative "counter"
require_relative "float_counter"
require_relative "up_down_counter"
require_relative "gauge"
require_relative "histogram"

module Tallyport
  # The series of one name in one engine, found by their labels without asking the library again.
  # @api private
  class Family
    # Values that cannot change, so that labels with them are the same for good.
    FIXED = [Symbol, Integer, Float, true, false, nil].freeze
    NO_LABELS = {}.freeze

    # @return [String]
    attr_reader :name

    # @param engine [Engine]
    # @param type [Class] of the series
    # @param name [String, Symbol]
    # @param limit [Integer] label sets to remember
    def initialize(engine, type, name, limit)
      @engine = engine
      @type = type
      @name = name.to_s.dup.freeze
      @by_content = LabelCache.new(limit)
      @by_identity = LabelCache.new(limit, identity: true)
      @contents = @by_content.table
      @constants = @by_identity.table
      @plain = nil
    end

    # The series without labels.
    def plain = @plain ||= make(NO_LABELS)

    # The series with these labels. Constants (a frozen hash of frozen values) are found by what they
    # are and not by what they contain.
    # @param labels [Hash]
    def series(labels)
      if labels.frozen?
        found = @constants[labels] and return found
      end
      @contents[labels] || miss(labels)
    end

    # Finds no series by what was found before.
    def forget
      @plain = nil
      @by_content.clear
      @by_identity.clear
    end

    # A handle of the series with these labels.
    # @return [Integer]
    def resolve(labels) = @engine.resolve(@type, @name, labels)

    private

    def miss(labels)
      raise ArgumentError, "#{name}: labels are a Hash, not #{labels.inspect}" unless labels.is_a?(Hash)
      return plain if labels.empty?

      texts = labels.to_h { |key, value| [key, text(value)] }.freeze
      unless labels.each_value.all? { |value| value.is_a?(String) || FIXED.any? { |kind| kind === value } }
        # What some object is as text may change: only the text is kept.
        return @by_content[texts] || @by_content.store(texts, make(texts))
      end

      found = make(texts)
      @by_identity.store(labels, found) if labels.frozen? && labels.each_value.all?(&:frozen?)
      # A copy: the caller's hash and its strings may change.
      @by_content.store(labels.to_h { |key, value| [key, value.is_a?(String) ? -value : value] }.freeze, found)
    end

    def text(value) = -value.to_s

    def make(labels)
      series = @type.new(self, labels)
      @engine.remember(series)
      series
    end
  end
end
