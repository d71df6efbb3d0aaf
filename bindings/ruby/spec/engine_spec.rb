# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "logger"

RSpec.describe Tallyport do
  it "begins anew for specs: constants go on from zero, descriptions hold" do
    misuse = Tallyport::Native.misuse_count
    Tallyport.describe(:kept_seconds, :histogram, bounds: [1, 2])
    hits = Tallyport.counter(:hits_total)
    took = Tallyport.histogram(:kept_seconds)
    3.times do
      hits.increment(3)
      took.observe(1)
      Tallyport.reset!
      expect(lines("hits_total")).to be_empty
      hits.increment
      took.observe(1.5)
      expect([hits.value, took.count]).to eq([1, 1])
      expect(lines("hits_total")).to eq(["hits_total 1"])
      expect(lines("kept_seconds_bucket").size).to eq(3)
      expect(Tallyport.counter(:hits_total).value).to eq(1)
      Tallyport.reset!
    end
    expect(hits.value).to eq(0)
    expect(Tallyport::Native.misuse_count).to eq(misuse)
  end

  it "is configured before its first use, and twice the same" do
    code = <<~RUBY
      require "logger"
      require "tallyport"
      same = ->(c) { c.config_toml = "schema = 1\\nservice_name = \\"shop\\"" }
      Tallyport.configure(&same)
      Tallyport.counter(:a_total).increment
      Tallyport.configure(&same)
      Tallyport.configure { |c| c.logger = Logger.new(nil) }
      begin
        Tallyport.configure { |c| c.config = "/none.toml" }
      rescue Tallyport::Error, ArgumentError => e
        puts e.message
      end
      Tallyport.close
      Tallyport.close
      p Tallyport.counter(:a_total).value
    RUBY
    output, status = ruby(code)
    expect(status).to be_success, output
    expect(output).to include("open with another configuration").and end_with("0\n")
  end

  it "hands what the library says to the logger, which may record" do
    code = <<~'RUBY'
      require "tallyport"
      logger = Object.new
      %i[error warn info debug].each do |level|
        logger.define_singleton_method(level) do |text|
          Tallyport.counter(:logged_total).increment
          Tallyport.export
          puts "#{level} #{text}"
        end
      end
      Tallyport.configure do |c|
        c.config_toml = "schema = 1\n[plugins.gone]\npath = \"/none/gone.so\""
        c.logger = logger
      end
      p Tallyport.counter(:logged_total).value.positive?
      second = Class.new { def warn(text) = puts("second #{text}") }.new
      Tallyport.configure { |c| c.logger = second }
      begin
        Tallyport.engine.reload_plugin("gone")
      rescue Tallyport::NotFound
        puts "not found"
      end
    RUBY
    output, = ruby(code)
    expect(output).to match(/^error .*gone\.so/).and match(/^true$/).and end_with("not found\n")
  end

  it "says what is wrong with a configuration" do
    configuration = Tallyport::Configuration.new
    configuration.config_toml = "schema = 1\nlmits = 1\n[log]\nlevel = \"loud\""
    expect { Tallyport::Engine.new(configuration) }.to raise_error(Tallyport::InvalidConfig, /lmits.*log\.level/m)
    configuration.config = "x.toml"
    expect { Tallyport::Engine.new(configuration) }.to raise_error(Tallyport::Error, /config/)
    { share: :everywhere, cells: :some, log_level: :loud }.each do |field, value|
      other = Tallyport::Configuration.new
      other.public_send(:"#{field}=", value)
      expect { Tallyport::Engine.new(other) }.to raise_error(Tallyport::InvalidArgument, /#{field}: :#{value}/)
    end
  end

  it "shares a file with processes that it did not fork" do
    Dir.mktmpdir do |folder|
      code = <<~RUBY
        require "tallyport"
        Tallyport.configure { |c| c.arena = #{File.join(folder, "shop \"1\".arena").inspect} }
        Tallyport.counter(:hits_total).increment(2)
        puts Tallyport.export
      RUBY
      3.times do |index|
        output, = ruby(code)
        expect(sum("hits_total", output)).to eq(2 * (index + 1))
      end
    end
  end

  it "shares what it recorded with forks, grandchildren and daemons; a child of :reset begins at zero" do
    code = <<~RUBY
      require "tallyport"
      Tallyport.configure { |c| c.share = ENV["SHARE"].to_sym }
      HITS = Tallyport.counter(:hits_total)
      HITS.increment
      reader, writer = IO.pipe
      pid = fork do
        HITS.increment
        Process.wait(fork { HITS.increment; Tallyport.counter(:hits_total, n: 1).increment; exit!(0) })
        Process.daemon
        HITS.increment
        writer.puts HITS.value
        writer.close
      end
      writer.close
      Process.wait(pid)
      p reader.read.to_i, HITS.value
    RUBY
    expect(ruby(code, env: { "SHARE" => "auto" }).first).to eq("4\n4\n")
    # A daemon is a fork too: it begins at zero once more.
    expect(ruby(code, env: { "SHARE" => "reset" }).first).to eq("1\n1\n")
  end

  it "records in trap handlers: no ThreadError, no loss, no deadlock" do
    code = <<~'RUBY'
      require "tallyport"
      signals = 0
      trap(:USR1) do
        signals += 1
        # A new series and a known one, and the engine itself when it is not there yet.
        Tallyport.counter(:trapped_total, n: signals).increment
        Tallyport.counter(:trapped_total).increment
        Tallyport.histogram(:trapped_seconds).observe(0.1)
        Tallyport.gauge(:trapped_level).set(signals)
      end
      own = Process.pid
      Process.kill(:USR1, own)
      # Another process, so that they come in the middle of whatever this one is doing.
      sender = fork do
        500.times { Process.kill(:USR1, own) && sleep(0.001) }
        exit!(true)
      end
      recorded = 0
      until recorded >= 20_000 && (recorded % 100).zero? && Process.wait(sender, Process::WNOHANG)
        Tallyport.counter(:hits_total, n: recorded % 1500).increment
        recorded += 1
      end
      text = Tallyport.export
      sum = ->(start) { text.lines.select { |line| line.start_with?(start) }.sum { |line| line.split.last.to_i } }
      p sum["hits_total{"] == recorded, signals > 100
      p sum["trapped_total{"] == signals, sum["trapped_total "] == signals, sum["trapped_seconds_count"] == signals
    RUBY
    output, status = ruby(code)
    expect(status).to be_success, output
    expect(output).to eq("true\n" * 5)
  end

  it "opens one engine, whichever thread or trap handler is first" do
    code = <<~'RUBY'
      require "tallyport"
      trap(:USR1) { Tallyport.counter(:hits_total).increment }
      threads = Array.new(8) { Thread.new { Tallyport.counter(:hits_total).increment } }
      Process.kill(:USR1, Process.pid)
      threads.each(&:join)
      sleep 0.001 until Tallyport.counter(:hits_total).value == 9
      p Tallyport.counter(:hits_total).value
    RUBY
    5.times { expect(ruby(code).first).to eq("9\n") }
  end

  it "forks while its threads record and export" do
    code = <<~'RUBY'
      require "tallyport"
      HITS = Tallyport.counter(:hits_total)
      stop = false
      threads = [Thread.new { Tallyport.export until stop },
                 Thread.new { n = 0; Tallyport.counter(:made_total, n: n += 1).increment until stop }]
      children = Array.new(20) do
        fork do
          100.times { HITS.increment }
          Tallyport.counter(:child_total, pid: Process.pid).increment
          Tallyport.export
          exit!(0)
        end
      end
      statuses = children.map { |pid| Process.wait2(pid).last.exitstatus }
      stop = true
      threads.each(&:join)
      p statuses.uniq, HITS.value
    RUBY
    expect(ruby(code).first).to eq("[0]\n2000\n")
  end

  it "loads no library of another ABI, and says so in one sentence" do
    Dir.mktmpdir do |folder|
      source = File.join(folder, "other.c")
      library = File.join(folder, "libtallyport.so")
      File.write(source, 'const char *tallyport_version(void) { return "9.9.9"; } ' \
                         "int tallyport_abi_check(unsigned abi) { (void)abi; return 18; }")
      expect(system("gcc", "-shared", "-fPIC", "-o", library, source)).to be(true)
      output, status = ruby('require "tallyport"', env: { "TALLYPORT_LIBRARY" => library })
      expect(status).not_to be_success
      expect(output).to include("libtallyport 9.9.9 has another ABI than 1.0").and include(library).and include("LoadError")
      File.write(library, "no library")
      output, = ruby('require "tallyport"', env: { "TALLYPORT_LIBRARY" => library })
      expect(output).to include("Tried:").and include(library).and include("TALLYPORT_LIBRARY")
      output, = ruby('require "tallyport"', env: { "TALLYPORT_LIBRARY" => "libc.so.6" })
      expect(output).to include("libc.so.6: no libtallyport")
    end
  end

  it "works the same without the extension, and says which it uses" do
    code = 'require "tallyport"; p Tallyport::Extension.loaded?; Tallyport.counter(:a_total).increment; ' \
           "puts Tallyport.counter(:a_total).value"
    expect(ruby(code, env: { "TALLYPORT_EXTENSION" => "off" }).first).to eq("false\n1\n")
  end

  it "has the version of the workspace and the library" do
    cargo = File.read(File.expand_path("../../../Cargo.toml", __dir__))
    expect(cargo[/^version = "(.*)"$/, 1]).to eq(Tallyport::VERSION)
    expect(Tallyport::Native.version).to eq(Tallyport::VERSION)
  end
end
