# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

# What a program that was written for the usual client calls.
RSpec.describe Tallyport::Client do
  let(:registry) { Tallyport::Client::Registry.new }

  it "has counters with declared labels" do
    hits = registry.counter(:client_hits_total, docstring: "Requests", labels: %i[method code])
    expect(lines("client_hits_total")).to be_empty
    hits.increment(labels: { method: "GET", code: 200 })
    hits.increment(by: 1.5, labels: { code: 200, method: "GET" })
    hits.with_labels(method: "PUT").increment(labels: { code: 201 })
    hits.init_label_set(method: "PUT", code: 500)
    expect(hits.get(labels: { method: "GET", code: 200 })).to eq(2.5)
    expect(lines("client_hits_total").sort).to eq(['client_hits_total{code="200",method="GET"} 2.5',
                                            'client_hits_total{code="201",method="PUT"} 1', 'client_hits_total{code="500",method="PUT"} 0'])
    expect(Tallyport.export).to include("# HELP client_hits_total Requests")
    expect { hits.increment(labels: { method: "GET" }) }.to raise_error(Tallyport::Client::Metric::InvalidLabelSetError, /code/)
    expect { hits.increment(labels: { method: "GET", other: 1 }) }.to raise_error(Tallyport::Client::Metric::InvalidLabelSetError)
    expect { hits.increment(by: -1, labels: { method: "GET", code: 1 }) }.to raise_error(Tallyport::InvalidArgument)
  end

  it "has gauges and histograms" do
    level = registry.gauge(:room_level, docstring: "Level", labels: [:room])
    level.set(21.5, labels: { room: "a" })
    level.increment(labels: { room: "a" })
    level.decrement(by: 2, labels: { room: "a" })
    expect(level.get(labels: { room: "a" })).to eq(20.5)
    expect(registry.gauge(:beat, docstring: "Beat").tap(&:set_to_current_time).get).to be > 1e9
    buckets = Tallyport::Client::Histogram.exponential_buckets(start: 1, count: 3)
    took = registry.histogram(:client_took_seconds, docstring: "Took", buckets: buckets)
    took.observe(3)
    expect(took.time { :result }).to eq(:result)
    expect(took.get["count"]).to eq(2)
    expect(lines("client_took_seconds_bucket")).to eq(%w[1 2 4 +Inf].zip([1, 1, 2, 2]).map { |le, n| %(client_took_seconds_bucket{le="#{le}"} #{n}) })
    expect(Tallyport::Client::Histogram.linear_buckets(start: 1, width: 2, count: 3)).to eq([1, 3, 5])
  end

  it "has a registry" do
    hits = Tallyport::Client::Counter.new(:registered_total, docstring: "Registered")
    registry.register(hits)
    expect { registry.counter(:registered_total, docstring: "x") }.to raise_error(Tallyport::Client::Registry::AlreadyRegisteredError)
    expect([registry.exist?(:registered_total), registry.get("registered_total"), registry.metrics]).to eq([true, hits, [hits]])
    hits.increment
    registry.unregister(:registered_total)
    expect(lines("registered_total")).to be_empty
    expect(Tallyport::Client.registry).to equal(Tallyport::Client.registry)
    expect { Tallyport::Client::Gauge.new(:g, docstring: "", labels: [], preset_labels: { a: 1 }) }
      .to raise_error(Tallyport::Client::Metric::InvalidLabelSetError)
  end
end
