# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "active_support"
require "active_support/cache"
require "active_support/cache/mem_cache_store"
require "active_support/cache/redis_cache_store"
require "socket"
require "timeout"
require "tallyport/rails_cache_store"

require_relative "hosts"

RSpec.describe Tallyport::RailsCacheStore do
  around { |example| Dir.mktmpdir { |folder| (@folder = folder) && example.run } }

  let(:running) { [] }
  let(:engines) { [] }

  after do
    engines.each(&:close)
    running.reverse_each(&:stop)
  end

  def engine_on(cache)
    engine = Tallyport::Engine.new
    engines << engine
    described_class.attach(cache, engine: engine)
    engine
  end

  def total(engine) = sum("hits_total", engine.export(:prometheus, shared: true)).to_i

  # Two instances here and, where the cache is not this process's, one elsewhere.
  def shares(cache, strategy, elsewhere: nil)
    first = engine_on(cache)
    second = engine_on(cache)
    first.counter(:hits_total).increment(3)
    second.counter(:hits_total).increment(4)
    5.times do
      first.sync
      second.sync
    end
    expected = 7
    if elsewhere
      output, status = ruby(<<~RUBY)
        require "active_support"
        require "active_support/cache"
        require "tallyport/rails_cache_store"
        Tallyport::RailsCacheStore.attach(#{elsewhere})
        Tallyport.counter(:hits_total).increment(5)
        Tallyport.sync
        Tallyport.engine.leave
      RUBY
      expect(status).to be_success, output
      expected += 5
    end
    expect([total(first), total(second)]).to eq([expected, expected])
    10.times do
      first.counter(:hits_total).increment
      expect(total(second)).to be <= (expected += 1)
      expect(total(first)).to eq(expected)
      expect(total(second)).to eq(expected)
    end
    expect(first.status["sync"]["strategy"]).to eq(strategy)
    first
  end

  # A sync fails with the reason, and a later one goes on: nothing is lost.
  def survives(engine, server, start)
    before = total(engine)
    server.stop
    running.delete(server)
    engine.counter(:hits_total).increment
    expect { engine.sync }.to raise_error(Tallyport::IoError)
    running << start.call
    eventually do
      engine.sync
      true
    rescue Tallyport::Error
      false
    end
    # What the server kept in memory is gone; this instance's own totals are not.
    expect(total(engine)).to be_between(1, before + 1)
    expect(engine.counter(:hits_total).value).to be > 13
  end

  def port = TCPServer.open("127.0.0.1", 0) { |server| server.addr[1] }

  it "shares through a cache in memory" do
    shares(ActiveSupport::Cache::MemoryStore.new, "distributed_basic")
  end

  it "shares through a cache in files" do
    path = File.join(@folder, "cache")
    shares(ActiveSupport::Cache::FileStore.new(path), "distributed_basic",
           elsewhere: "ActiveSupport::Cache::FileStore.new(#{path.inspect})")
  end

  it "shares through a Redis cache, and finds its way back to one that was away" do
    server = Hosts::Redis.new(@folder)
    running << server
    url = server.url
    cache = ActiveSupport::Cache::RedisCacheStore.new(url: url, namespace: "shop", reconnect_attempts: 0)
    eventually { cache.redis.ping rescue nil }
    engine = shares(cache, "distributed_basic",
                    elsewhere: "ActiveSupport::Cache::RedisCacheStore.new(url: #{url.inspect}, namespace: 'shop')")
    expect(cache.redis.keys).to all(start_with("shop:tallyport:"))
    expect(cache.redis.keys.map { |key| cache.redis.ttl(key) }).to all(be_positive)
    survives(engine, server, -> { Hosts::Redis.new(@folder, url[/:(\d+)\//, 1].to_i) })
  end

  it "shares through a memcached cache, and finds its way back to one that was away" do
    place = "127.0.0.1:#{port}"
    start = -> { Hosts::Server.new(@folder, "memcached", "-u", "nobody", "-l", "127.0.0.1", "-p", place.split(":").last, "-m", "64") }
    server = start.call
    running << server
    eventually { TCPSocket.new(*place.split(":")).close || true rescue nil }
    # Down for no longer than that it is asked again at once.
    cache = ActiveSupport::Cache::MemCacheStore.new(place, down_retry_delay: 0, socket_timeout: 20, namespace: "shop")
    engine = shares(cache, "distributed_basic",
                    elsewhere: "ActiveSupport::Cache::MemCacheStore.new(#{place.inspect}, namespace: 'shop')")
    survives(engine, server, start)
  end

  it "gives each instance its own items in a cache that cannot swap" do
    kind = Class.new(ActiveSupport::Cache::Store) do
      def initialize = (@entries = {}) && super

      private

      def read_entry(key, **) = @entries[key]
      def write_entry(key, entry, unless_exist: false, **) = (unless_exist && @entries.key?(key) ? false : (@entries[key] = entry) && true)
      def delete_entry(key, **) = !@entries.delete(key).nil?
    end
    shares(kind.new, "distributed_manual")
  end

  it "makes what a cache raises the failure of the sync, with its words" do
    cache = ActiveSupport::Cache::MemoryStore.new
    engine = engine_on(cache)
    engine.counter(:hits_total).increment
    def cache.read(*) = raise("the disk is on fire")
    expect { engine.sync }.to raise_error(Tallyport::IoError, /RuntimeError: the disk is on fire/)
    cache.singleton_class.remove_method(:read)
    eventually { total(engine) == 1 rescue nil }
  end

  it "holds Thread#kill and Timeout back until the sync has ended" do
    cache = ActiveSupport::Cache::MemoryStore.new
    engine = engine_on(cache)
    engine.counter(:hits_total).increment
    inside = Queue.new
    go_on = Queue.new
    cache.define_singleton_method(:read) do |*words|
      inside << true
      go_on.pop
      super(*words)
    end
    syncing = Thread.new { engine.sync }
    inside.pop
    syncing.kill
    expect(syncing.join(0.1)).to be_nil
    1000.times { go_on << true }
    syncing.join
    go_on.clear
    releasing = Thread.new { sleep(0.5) && 1000.times { go_on << true } }
    expect { Timeout.timeout(0.05) { engine.sync } }.to raise_error(Timeout::Error)
    releasing.join
    expect(total(engine)).to eq(1)
  end

  it "is attached once, and not beside another store" do
    cache = ActiveSupport::Cache::MemoryStore.new
    engine = engine_on(cache)
    expect { described_class.attach(cache, engine: engine) }.to raise_error(Tallyport::AlreadyExists)
    configuration = Tallyport::Configuration.new
    configuration.config_toml = "schema = 1\n[store]\nkind = \"sqlite\"\npath = #{File.join(@folder, "s.sqlite").to_json}"
    engines << (other = Tallyport::Engine.new(configuration))
    expect { described_class.attach(cache, engine: other) }.to raise_error(Tallyport::InvalidConfig)
  end
end
