# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

module Tallyport
  # A bounded cache that forgets what was used least recently, by generations.
  #
  # What was used since the last change of generations is young; at the change the young become old,
  # and the old that nobody asked for are let go. A hit is one look-up in {#table}, changes nothing, and
  # takes no lock: it works in a trap handler. Threads that race lose an entry at most, never more.
  # @api private
  class LabelCache
    # The young, and through its default the old: to be asked without a method call around it. The same
    # object for good.
    # @return [Hash]
    attr_reader :table

    # @param limit [Integer] most entries
    # @param identity [Boolean] whether keys are the same only when they are the same object
    def initialize(limit, identity: false)
      @half = [limit / 2, 1].max
      @table = Hash.new { |_, key| promote(key) }
      @table.compare_by_identity if identity
      @old = {}
    end

    # @return [Object, nil]
    def [](key) = @table[key]

    # @return [Object] the value
    def store(key, value)
      if @table.size >= @half
        @old = @table.dup
        @old.default = nil
        @table.clear
      end
      @table[key] = value
    end

    # Forgets everything.
    def clear
      @old = {}
      @table.clear
    end

    # @yieldparam value [Object]
    def each_value(&block)
      (@table.values + @old.values).each(&block)
    end

    # @return [Integer] entries, at most the limit
    def size = @table.size + @old.size

    private

    def promote(key)
      value = @old.delete(key) or return
      store(key, value)
    end
  end
end
