# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

RSpec.describe "Metrics" do
  it "counts, with labels in any order" do
    hits = Tallyport.counter(:hits_total, method: "GET", code: 200)
    hits.increment
    hits.increment(3)
    Tallyport.counter("hits_total", { "code" => "200", "method" => :GET }).increment
    expect(hits.value).to eq(5)
    expect(lines("hits_total")).to eq(['hits_total{code="200",method="GET"} 5'])
  end

  it "takes the amounts and labels of prometheus-client's calls" do
    hits = Tallyport.counter(:hits_total)
    hits.increment(by: 2, labels: { method: "GET" })
    hits.increment(labels: { method: "GET" })
    hits.increment(by: 4)
    expect(hits.get(labels: { method: "GET" })).to eq(3)
    expect(hits.value).to eq(4)
    level = Tallyport.gauge(:level)
    level.set(3, labels: { room: "a" })
    level.increment(by: 2, labels: { room: "a" })
    level.decrement(labels: { room: "a" })
    expect(level.get(labels: { room: "a" })).to eq(4.0)
    took = Tallyport.histogram(:took_seconds)
    took.observe(0.5, labels: { room: "a" })
    expect(took.get(labels: { room: "a" })).to eq("count" => 1, "sum" => 0.5)
  end

  it "refuses amounts that a counter cannot have, with what is wrong, and records nothing" do
    hits = Tallyport.counter(:hits_total)
    [-1, 0.5, "1", nil, 2**64, { by: nil }, { by: { by: 1 } }, -(2**70)].each do |amount|
      expect { hits.increment(amount) }.to raise_error(Tallyport::InvalidArgument) { |error|
        expect(error.field).to eq("amount")
        expect(error.message).to include("hits_total")
      }
    end
    expect { hits.increment(path: "/") }.to raise_error(ArgumentError, /path.*labels: \{/)
    expect(hits.value).to eq(0)
    hits.increment((2**62) + 1)
    expect(hits.value).to eq((2**62) + 1)
  end

  it "counts fractions where it is told to" do
    paid = Tallyport.float_counter(:paid_total)
    paid.increment(0.25)
    paid.increment(by: 0.5)
    expect(paid.value).to eq(0.75)
    [-0.1, Float::NAN, Float::INFINITY].each do |amount|
      expect { paid.increment(amount) }.to raise_error(Tallyport::InvalidArgument)
    end
    expect { paid.increment("1") }.to raise_error(TypeError)
    Tallyport.describe(:earned_total, :counter, number: :f64, help: "Earned", unit: "")
    expect(Tallyport.counter(:earned_total)).to be_a(Tallyport::FloatCounter)
  end

  it "has up-down counters" do
    open = Tallyport.up_down_counter(:open)
    open.increment(5)
    open.decrement(by: 2)
    expect(open.track { open.value }).to eq(4)
    expect(open.value).to eq(3)
    expect { open.increment(0.5) }.to raise_error(Tallyport::InvalidArgument)
    expect { open.increment(2**63) }.to raise_error(Tallyport::InvalidArgument)
    balance = Tallyport.float_up_down_counter(:balance)
    balance.decrement(0.5)
    expect(balance.value).to eq(-0.5)
    expect { balance.increment(Float::NAN) }.to raise_error(Tallyport::InvalidArgument)
  end

  it "has gauges" do
    level = Tallyport.gauge(:level)
    level.set(2)
    level.set(2.5)
    level.increment
    level.decrement(0.5)
    expect(level.value).to eq(3.0)
    level.set_to_current_time
    expect(level.value).to be_within(60).of(Time.now.to_f)
    [nil, "1", Object.new].each { |value| expect { level.set(value) }.to raise_error(TypeError) }
  end

  it "observes and times, also what raises" do
    Tallyport.describe(:timed_seconds, :histogram, bounds: [0.1, 1], help: "Time", unit: "seconds")
    took = Tallyport.histogram(:timed_seconds)
    expect(took.time { :result }).to eq(:result)
    expect { took.time { raise "no" } }.to raise_error("no")
    took.observe(5)
    expect(took.count).to eq(3)
    expect(took.sum).to be_between(5, 6)
    expect(lines("timed_seconds_bucket")).to eq(
      ['timed_seconds_bucket{le="0.1"} 2', 'timed_seconds_bucket{le="1"} 2', 'timed_seconds_bucket{le="+Inf"} 3']
    )
    expect { took.observe(nil) }.to raise_error(TypeError)
  end

  it "says what conflicts, with code, status and field" do
    Tallyport.counter(:hits_total)
    expect { Tallyport.gauge(:hits_total) }.to raise_error(Tallyport::Conflict) { |error|
      expect([error.code, error.status, error.field]).to eq([5, :conflict, "name"])
      expect(error.message).to include("hits_total").and include("counter")
    }
    expect { Tallyport.counter("") }.to raise_error(Tallyport::InvalidArgument)
    expect { Tallyport.counter(:a_total, path: "\xFF") }.to raise_error(Tallyport::InvalidUtf8) { |error|
      expect(error.field).to eq("labels[0].value")
    }
    expect { Tallyport.counter(:a_total, __reserved: "x") }.to raise_error(Tallyport::InvalidArgument)
    expect { Tallyport.counter(:a_total, 7) }.to raise_error(ArgumentError, /labels are a Hash/)
    expect { Tallyport.describe(:a_total, :conuter) }.to raise_error(Tallyport::InvalidArgument, /:conuter/)
    expect { Tallyport.describe(:a, :histogram, bounds: [2, 1]) }.to raise_error(Tallyport::InvalidArgument)
    expect { Tallyport.export(:none) }.to raise_error(Tallyport::NotFound, /none/)
  end

  it "knows every status that the library has" do
    header = File.expand_path("../../../include/tallyport.h", __dir__)
    statuses = File.read(header).scan(/^#define TALLYPORT_([A-Z0-9_]+) (\d+)$/).first(23).to_h { |name, code| [code.to_i, name] }
    statuses.delete(0)
    expect(Tallyport::Error.names).to eq(statuses.transform_values { |name| name.downcase.to_sym })
  end

  it "takes text of any encoding" do
    Tallyport.counter(:a_total, city: "Köln".encode("ISO-8859-1")).increment
    Tallyport.counter(:a_total, city: "Köln".b).increment
    expect(lines("a_total")).to eq(['a_total{city="Köln"} 2'])
  end

  it "takes series and families out" do
    one = Tallyport.counter(:a_total, n: 1)
    one.increment
    Tallyport.counter(:a_total, n: 2).increment
    Tallyport.engine.remove(:a_total, n: 1)
    expect(lines("a_total")).to eq(['a_total{n="2"} 1'])
    one.increment
    Tallyport.counter(:a_total, n: 1).increment(7)
    expect(lines('a_total{n="1"}')).to eq(['a_total{n="1"} 7'])
    Tallyport.engine.clear(:a_total)
    expect(lines("a_total")).to be_empty
    expect { Tallyport.engine.clear(:unknown) }.to raise_error(Tallyport::NotFound)
  end

  it "makes one value of a gauge that several processes set, where it is told how" do
    Tallyport.describe(:workers_busy, :gauge, gauge_mode: :sum)
    busy = Tallyport.gauge(:workers_busy)
    busy.set(2)
    reader, writer = IO.pipe
    child = fork do
      busy.set(3)
      writer.puts lines("workers_busy")
      exit!(0)
    end
    writer.close
    Process.wait(child)
    expect(reader.read).to eq("workers_busy 5\n")
    expect { Tallyport.describe(:workers_busy, :gauge, gauge_mode: :max) }.to raise_error(Tallyport::Conflict)
    expect { Tallyport.describe(:other, :gauge, gauge_mode: :most) }.to raise_error(Tallyport::InvalidArgument, /:most/)
  end

  it "offers the attached functions" do
    hits = Tallyport.counter(:hits_total)
    Tallyport::Native.counter_add(hits.handle, 2)
    expect(hits.value).to eq(2)
    before = Tallyport::Native.misuse_count
    Tallyport::Native.counter_add(0x1200_0000_0100_0000, 1)
    Tallyport::Native.gauge_set(hits.handle, 1.0)
    expect(Tallyport::Native.misuse_count).to eq(before + 2)
  end

  it "exports to an IO, and snapshots to files" do
    Tallyport.counter(:hits_total).increment
    Dir.mktmpdir do |folder|
      path = File.join(folder, "out.prom")
      File.open(path, "w") do |file|
        file.write("# first\n")
        Tallyport.engine.export_to(file)
      end
      expect(File.read(path)).to start_with("# first\n# ").and include("\nhits_total 1\n")
      snapshot = Tallyport.snapshot
      expect(snapshot.size).to be >= 1
      Tallyport.counter(:hits_total).increment
      expect(lines("hits_total", snapshot.export)).to eq(["hits_total 1"])
      snapshot.save(File.join(folder, "app.snapshot"))
      expect(File.size(File.join(folder, "app.snapshot"))).to be_positive
      expect { snapshot.save(File.join(folder, "none", "x")) }.to raise_error(Tallyport::IoError) { |error|
        expect(error.os_error).to eq(Errno::ENOENT::Errno)
      }
    end
  end

  it "is exact from many threads" do
    threads = Array.new(4) do |index|
      Thread.new { 2000.times { |n| Tallyport.counter(:hits_total, thread: index % 2, n: n % 50).increment } }
    end
    threads.each(&:join)
    expect(sum("hits_total")).to eq(8000)
  end
end
