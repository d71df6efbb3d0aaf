# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "fileutils"

require_relative "memory"

module Tallyport
  module RailsCacheStore
    # The items of a cache in files: processes of a host take turns by a lock on a file beside them.
    # @api private
    class File < Memory
      # Not among the cache's own, which `clear` removes.
      def initialize(cache)
        super
        folder = cache.cache_path.to_s
        @path = "#{folder.delete_suffix("/")}.tallyport.lock"
        FileUtils.mkdir_p(::File.dirname(@path))
      end

      private

      def locked
        super do
          ::File.open(@path, ::File::RDWR | ::File::CREAT, 0o600) do |file|
            file.flock(::File::LOCK_EX)
            yield
          end
        end
      end
    end
  end
end
