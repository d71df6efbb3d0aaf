# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

module Tallyport
  # What one attempt to export a target came to, and whether and when to try again
  # ({Engine#export_target}).
  class Run
    # @return [Hash] all of it, as `tallyport_target_export` reports it
    attr_reader :report
    # @return [Error, nil] why it failed
    attr_reader :error

    # @api private
    def initialize(report, error)
      @report = report
      @error = error
    end

    # @return [String] name of the target
    def target = report["target"]

    # @return [Integer] which attempt it was; the first is 1
    def attempt = report["attempt"]

    # @return [Symbol] `:delivered`, `:skipped` (another process exports, which is fine) or `:failed`
    def ending = report["ending"].to_sym

    # @return [Boolean]
    def delivered? = ending == :delivered

    # @return [Boolean]
    def skipped? = ending == :skipped

    # @return [Boolean]
    def failed? = ending == :failed

    # @return [Float, nil] seconds after which to try again; nil: not, it is done, would fail again, or
    #   failed as often as `retries` of the target allows
    def retry_after
      milliseconds = report["retry_after_ms"]
      milliseconds && (milliseconds / 1000.0)
    end

    # @return [Integer] bytes that were delivered
    def bytes = report["bytes"]

    # @return [Boolean] whether it was of what all instances have
    def shared? = report.dig("data", "of") == "all"

    # @return [String] in a line, for people
    def to_s
      case ending
      when :delivered
        format("%s: %d bytes of %s", target, bytes, shared? ? "all instances" : "this instance")
      when :skipped
        "#{target}: another one exports it"
      else
        again = retry_after ? format("try again in %.1f s", retry_after) : "not to be tried again"
        "#{target}: #{error.message} (#{again})"
      end
    end
  end
end
