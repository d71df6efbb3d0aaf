# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

RSpec.describe Tallyport::Events do
  let(:events) { Tallyport.events }

  it "publishes to a queue that the program drains" do
    subscription = events.subscribe("task.*", "custom.done")
    events.publish("task.completed", task_id: 1, duration: 0.2, nested: { a: [1, nil, true] })
    events.publish("custom.done")
    events.publish("other.event", a: 1)
    events.publish_as("request-7", "task.failed", error: "no")
    first = subscription.next(timeout: 5)
    expect(first["event"]).to eq("task.completed")
    expect(first["payload"]).to eq("task_id" => 1, "duration" => 0.2, "nested" => { "a" => [1, nil, true] })
    expect(subscription.next["event"]).to eq("custom.done")
    expect(subscription.next["correlation_id"]).to eq("request-7")
    expect(subscription.next(timeout: 0.05)).to be_nil
    expect(subscription.status["delivered"]).to eq(3)
    subscription.close
    expect(subscription.next(timeout: 1)).to be_nil
  end

  it "calls a block on a Ruby thread, in the forked child too, and survives what it raises" do
    seen = Queue.new
    subscription = events.subscribe("task.*") do |event|
      seen << [event["event"], Thread.current.name]
      raise "broken" if event["event"] == "task.failed"
    end
    events.publish("task.failed", n: 1)
    events.publish("task.completed", n: 2)
    expect(Array.new(2) { seen.pop }).to eq([["task.failed", "tallyport events"], ["task.completed", "tallyport events"]])
    eventually { subscription.failures == 1 }
    expect(subscription.last_error.message).to eq("broken")
    child = fork do
      seen.clear
      events.publish("task.completed", n: 3)
      exit!(seen.pop.first == "task.completed" ? 0 : 1)
    end
    expect(Process.wait2(child).last).to be_success
  end

  it "hands what is queued to the block before it ends" do
    seen = []
    subscription = events.subscribe("task.*") { |event| seen << event["payload"]["n"] }
    100.times { |n| events.publish("task.completed", n: n) }
    subscription.close
    expect(seen).to eq((0...100).to_a)
  end

  it "costs next to nothing when nobody listens" do
    events.publish("task.completed", impossible: -> {}) # not even looked at
    expect { events.publish("task.unknown", nan: Float::NAN) }.to raise_error(Tallyport::InvalidArgument) { |error|
      expect(error.field).to eq("payload")
    }
  end

  it "has a catalogue" do
    events.define("shop.sold", "Something was sold", schema: { type: "object" })
    expect(events.list(namespace: "shop").map { |event| event["name"] }).to eq(["shop.sold"])
    expect(events.list(words: "sold something").size).to eq(1)
    expect(events.list.size).to be > 20
    expect { events.define("shop.sold", "Something else") }.to raise_error(Tallyport::AlreadyExists)
    expect { events.publish("noname", a: 1) }.to raise_error(Tallyport::InvalidArgument)
  end
end
