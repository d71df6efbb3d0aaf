# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "call"

module Tallyport
  # What all metrics were at one time. Immutable.
  class Snapshot
    # @param engine [Engine] whose exporters write it
    # @param shared [Boolean] what all instances have, through the store of the configuration
    def initialize(engine, shared: false)
      @engine = engine
      take = shared ? :snapshot_take_shared : :snapshot_take
      @handle = Call.handle { |place, error| Native.public_send(take, engine.handle, place, error) }
      ObjectSpace.define_finalizer(self, Snapshot.release(@handle))
    end

    # @api private
    def self.release(handle) = ->(_id) { Native.snapshot_free(handle) }

    # Writes it in a format; see {Engine#export}.
    # @return [String]
    def export(selector = :prometheus)
      Call.bytes do |buf, error|
        Native.export_snapshot(@engine.handle, @handle, Call.str(selector), buf, error)
      end
    end

    # Writes it to a file, atomically, for `tallyport export --from FILE`.
    # @param path [String]
    # @return [nil]
    def save(path)
      Call.check { |error| Native.snapshot_save(@handle, Call.str(path), error) }
    end

    # @return [Integer] number of series
    def size = Native.snapshot_series_count(@handle)
  end
end
