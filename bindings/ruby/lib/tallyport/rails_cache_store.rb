# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "../tallyport"
require_relative "store"
require_relative "rails_cache_store/any"
require_relative "rails_cache_store/file"
require_relative "rails_cache_store/memcached"
require_relative "rails_cache_store/memory"
require_relative "rails_cache_store/redis"

module Tallyport
  # Makes Rails.cache the store through which instances share totals (docs/STORES.md).
  #
  #     Tallyport::RailsCacheStore.attach(Rails.cache)   # then Tallyport.sync, or the rake task
  #
  # With the stores of Rails itself totals of all instances are exact while the cache forgets nothing:
  # Redis and memcached are asked through the client of the cache, because the cache itself takes a
  # server that is away for an item that is not there. Memory and file stores swap under a lock of
  # their own. Another cache has no swap: each instance then has its own items only.
  module RailsCacheStore
    # Which kind of items a cache has, by the name of its class: none of them need be loaded.
    KINDS = { "ActiveSupport::Cache::RedisCacheStore" => Redis,
              "ActiveSupport::Cache::MemCacheStore" => Memcached,
              "ActiveSupport::Cache::MemoryStore" => Memory,
              "ActiveSupport::Cache::FileStore" => File }.freeze

    class << self
      # Gives an engine the cache as its store, for as long as it is open.
      # @param cache [ActiveSupport::Cache::Store]
      # @param engine [Engine]
      # @return [nil]
      # @raise [AlreadyExists] when it has one
      # @raise [InvalidConfig] when its configuration names another
      def attach(cache, engine: Tallyport.engine)
        engine.attach_store(Store.new(items(cache), "Rails.cache (#{cache.class.name.to_s.split("::").last})"))
      end

      # What answers for the items of a cache.
      # @api private
      def items(cache)
        kind = cache.class.ancestors.filter_map { |ancestor| KINDS[ancestor.name] }.first
        (kind || Any).new(cache)
      end
    end
  end
end
