# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "fileutils"
require "pathname"

require_relative "../tallyport"

module Tallyport
  # One export to a file: what the rake tasks and {ExportJob} run.
  module Export
    # What came of it.
    Result = Struct.new(:format, :bytes, :seconds, :output, :shared)

    class << self
      # Exports what all instances have where the configuration names a store, else what this process
      # and its forks have.
      # @param format [String] a format or an exporter's name
      # @param output [String, IO, nil] a file, which is replaced at once; nil for an exporter that
      #   takes its data somewhere itself
      # @return [Result]
      # @raise [InvalidArgument] when there is text and nowhere to put it
      def run(format, output: nil)
        begun = Process.clock_gettime(Process::CLOCK_MONOTONIC)
        text, shared = export(format)
        deliver(text, format, output)
        Result.new(format, text.bytesize, Process.clock_gettime(Process::CLOCK_MONOTONIC) - begun, output, shared)
      end

      # @return [Boolean] whether the configuration names a store whose totals can be added up
      def shared? = Tallyport.status.dig("sync", "strategy") != "local_only"

      private

      # A child that has a copy of its parent's values cannot sync: it exports them.
      def export(format)
        return [Tallyport.export(format), false] unless shared?

        [Tallyport.export(format, shared: true), true]
      rescue Unsupported
        [Tallyport.export(format), false]
      end

      def deliver(text, format, output)
        case output
        when nil
          return Tallyport.engine.flush if text.empty?

          raise InvalidArgument.new("#{format}: #{text.bytesize} bytes and nowhere to put them: name a file", field: "output")
        when String, Pathname then replace(output.to_s, text)
        else output.write(text)
        end
      end

      # A reader sees the old file or the new one, whole, also after a crash.
      def replace(path, text)
        folder = File.dirname(path)
        temporary = File.join(folder, ".#{File.basename(path)}.#{Process.pid}.#{Thread.current.object_id}")
        File.open(temporary, File::WRONLY | File::CREAT | File::EXCL, 0o644) do |file|
          file.write(text)
          file.fsync
        end
        File.rename(temporary, path)
        File.open(folder, &:fsync)
      rescue SystemCallError
        FileUtils.rm_f(temporary)
        raise
      end
    end
  end
end
