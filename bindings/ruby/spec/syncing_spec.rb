# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "active_support"
require "active_support/cache"
require "tallyport/rails_cache_store"

RSpec.describe "Syncs in the background" do
  around { |example| Dir.mktmpdir { |folder| (@folder = folder) && example.run } }

  after do
    Tallyport.close
    Tallyport.configure { |c| c.config_toml = c.base_dir = c.logger = nil }
  end

  def open_with(toml, logger: nil)
    Tallyport.close
    Tallyport.configure do |c|
      c.config_toml = "schema = 1\n#{toml}"
      c.base_dir = @folder
      c.logger = logger
    end
    Tallyport.counter(:hits_total).increment
  end

  let(:sqlite) { "[store]\nkind = 'sqlite'\npath = 'store.db'\n[sync]\ninterval_ms = 20\n" }

  # What another instance finds in the store.
  def total(toml)
    configuration = Tallyport::Configuration.new
    configuration.config_toml = "schema = 1\n#{toml}"
    configuration.base_dir = @folder
    engine = Tallyport::Engine.new(configuration)
    sum("hits_total", engine.export(:prometheus, shared: true)).to_i
  ensure
    engine&.close
  end

  it "are none where there is no store" do
    open_with("")
    expect(Tallyport.start_sync).to be(false)
    expect(Tallyport.status["sync"]["syncs"]).to eq(0)
  end

  it "begin once, and end with a last one" do
    open_with(sqlite)
    expect([Tallyport.start_sync, Tallyport.start_sync]).to eq([true, true])
    expect { Tallyport.engine.start_sync }.to raise_error(Tallyport::AlreadyExists)
    eventually { Tallyport.status["sync"]["syncs"] >= 3 }
    open_with(sqlite.sub("interval_ms = 20", "interval_ms = 40000"))
    Tallyport.start_sync
    eventually { Tallyport.status["sync"]["syncs"] == 1 }
    Tallyport.counter(:hits_total).increment(5)
    Tallyport.close
    expect(total(sqlite)).to eq(7)
  end

  it "are made by a worker of its own, and by one after the other" do
    open_with(sqlite)
    Tallyport.start_sync
    eventually { Tallyport.status["sync"]["syncs"].positive? }
    read, write = IO.pipe
    child = fork do
      # The thread is the parent's; what it records is both's.
      Tallyport.counter(:hits_total).increment(10)
      write.puts(Tallyport.start_sync)
      eventually { Tallyport.status["sync"].values_at("syncs", "skipped").sum.positive? }
    end
    write.close
    Process.wait(child)
    expect([read.read, $?.success?]).to eq(["true\n", true])
    Tallyport.close
    expect(total(sqlite)).to eq(11)
  end

  it "are made by a Ruby thread where the store is Ruby's, which says what failed and goes on" do
    said = StringIO.new
    open_with("[sync]\ninterval_ms = 20\nbreaker_failures = 0\n", logger: Logger.new(said))
    cache = ActiveSupport::Cache::FileStore.new(File.join(@folder, "cache"))
    Tallyport::RailsCacheStore.attach(cache)
    def cache.read(*) = raise("the disk is on fire")
    expect(Tallyport.start_sync).to be(true)
    eventually { said.string.include?("tallyport: sync: ") && said.string.include?("the disk is on fire") }
    cache.singleton_class.remove_method(:read)
    eventually { Tallyport.status["sync"]["syncs"] >= 2 }
    Tallyport.counter(:hits_total).increment(5)
    Tallyport.close
    open_with("")
    Tallyport::RailsCacheStore.attach(ActiveSupport::Cache::FileStore.new(File.join(@folder, "cache")))
    expect(sum("hits_total", Tallyport.export(:prometheus, shared: true)).to_i).to eq(7)
  end

  it "end where the values do" do
    open_with(sqlite)
    Tallyport.start_sync
    Tallyport.reset!
    expect(Tallyport.start_sync).to be(true)
    eventually { Tallyport.status["sync"]["syncs"].positive? }
  end
end
