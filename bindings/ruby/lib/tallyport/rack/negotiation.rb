# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

module Tallyport
  class Rack
    # What a request's Accept and Accept-Encoding choose.
    # @api private
    module Negotiation
      # One element of a header: a value, its parameters, its weight.
      Range = Struct.new(:value, :parameters, :weight)

      # Parameters that say how text is written and not which format it is.
      IGNORED = %w[q charset escaping].freeze

      class << self
        # The selector and content type to answer with. Never none: what nothing of the header
        # matches gets the first.
        # @param accept [String, nil]
        # @param offered [Array<Array(String, String)>] selectors and content types, best first
        def format(accept, offered)
          ranges = parse(accept)
          weighed = offered.each_with_index.map do |(selector, type), index|
            [weight(parse(type).first, ranges), -index, selector, type]
          end
          best = weighed.max_by { |weight, index, *| [weight, index] }
          best = weighed.first if best.first.zero?
          best.last(2)
        end

        # Whether the answer may be gzip.
        # @param accepted [String, nil]
        def gzip?(accepted)
          ranges = parse(accepted)
          named = ranges.find { |range| %w[gzip x-gzip].include?(range.value) }
          range = named || ranges.find { |other| other.value == "*" }
          !range.nil? && range.weight.positive?
        end

        private

        def parse(header)
          header.to_s.split(",").filter_map do |element|
            value, *parameters = element.split(";").map(&:strip)
            next if value.nil? || value.empty?

            named = parameters.to_h { |parameter| pair(parameter) }
            Range.new(value.downcase, named.except(*IGNORED), quality(named["q"]))
          end
        end

        def pair(parameter)
          name, value = parameter.split("=", 2)
          [name.to_s.strip.downcase, value.to_s.strip.delete_prefix('"').delete_suffix('"')]
        end

        # A weight that is none is none.
        def quality(text)
          return 1.0 if text.nil?

          /\A(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\z/.match?(text) ? text.to_f : 0.0
        end

        # The weight of the most specific range that the type is in; 0 when it is in none.
        def weight(type, ranges)
          matching = ranges.select { |range| within?(type, range) }
          matching.max_by { |range| specificity(range) }&.weight || 0.0
        end

        def within?(type, range)
          main, sub = range.value.split("/", 2)
          own_main, own_sub = type.value.split("/", 2)
          return false unless (main == "*" || main == own_main) && (sub == "*" || sub == own_sub)

          range.parameters.all? { |name, value| type.parameters[name] == value }
        end

        def specificity(range) = [range.value.count("*") * -1, range.parameters.size]
      end
    end
  end
end
