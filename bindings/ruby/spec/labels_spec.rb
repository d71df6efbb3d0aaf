# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

RSpec.describe "Label sets" do
  constant = { method: "GET", code: 200 }.freeze

  def allocations
    GC.disable
    before = GC.stat(:total_allocated_objects)
    yield
    GC.stat(:total_allocated_objects) - before
  ensure
    GC.enable
  end

  it "gives the same object for the same labels" do
    first = Tallyport.counter(:hits_total, method: "GET")
    expect(Tallyport.counter(:hits_total, method: +"GET")).to equal(first)
    expect(Tallyport.counter(:hits_total, constant)).to equal(Tallyport.counter(:hits_total, constant))
    expect(Tallyport.counter(:hits_total, {})).to equal(Tallyport.counter(:hits_total))
  end

  it "allocates nothing for a held series, nor for a frozen hash" do
    hits = Tallyport.counter(:hits_total, constant)
    took = Tallyport.histogram(:took_seconds)
    level = Tallyport.gauge(:level)
    work = lambda do
      1000.times do
        hits.increment
        took.observe(0.5)
        level.set(1.5)
        Tallyport.counter(:hits_total, constant).increment
      end
    end
    work.call
    expect(allocations(&work)).to be < 10
  end

  it "is not misled by strings that change later" do
    name = +"a"
    labels = { name: name }
    Tallyport.counter(:hits_total, labels).increment
    name << "b"
    Tallyport.counter(:hits_total, labels).increment
    frozen = { name: +"c" }.freeze # its value is not
    Tallyport.counter(:hits_total, frozen).increment
    frozen[:name] << "d"
    Tallyport.counter(:hits_total, frozen).increment
    expect(lines("hits_total")).to contain_exactly(*%w[a ab c cd].map { |text| %(hits_total{name="#{text}"} 1) })
  end

  it "takes what objects are as text, each time" do
    thing = Struct.new(:text) { def to_s = text.dup }.new("a")
    Tallyport.counter(:hits_total, thing: thing).increment
    thing.text = "b"
    Tallyport.counter(:hits_total, thing: thing).increment
    Tallyport.counter(:hits_total, thing: nil).increment
    expect(lines("hits_total")).to contain_exactly('hits_total{thing="a"} 1', 'hits_total{thing="b"} 1', "hits_total 1")
  end

  it "remembers a bounded number and forgets what was used least recently" do
    cache = Tallyport::LabelCache.new(10)
    cache.store(:kept, 1)
    1000.times do |n|
      cache.store(n, n)
      expect(cache[:kept]).to eq(1)
      expect(cache.size).to be <= 10
    end
    expect(cache[999]).to eq(999)
    expect(cache[0]).to be_nil
  end

  it "releases the handles of what it forgot, and of nothing that is held" do
    configuration = Tallyport::Configuration.new
    configuration.label_cache = 10
    engine = Tallyport::Engine.new(configuration)
    handles = -> { engine.status["process"]["handles"] }
    held = engine.counter(:hits_total, n: "held")
    GC.start
    before = handles.call
    1000.times { |n| engine.counter(:hits_total, n: n).increment }
    eventually do
      GC.start
      handles.call <= before + 50
    end
    held.increment
    expect(held.value).to eq(1)
    expect(sum("hits_total", engine.export)).to eq(1001)
    engine.close
  end
end
