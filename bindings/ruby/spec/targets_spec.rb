# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "active_job"
require "active_job/test_helper"
require "tallyport/target_job"

require_relative "hosts"

RSpec.describe "Targets" do
  include ActiveJob::TestHelper

  around { |example| Dir.mktmpdir { |folder| (@folder = folder) && example.run } }

  let(:running) { [] }

  before do
    ActiveJob::Base.logger = Logger.new(nil)
    ActiveJob::Base.queue_adapter = :test
  end

  after do
    Tallyport.close
    Tallyport.configure { |c| c.config_toml = c.base_dir = nil }
    running.reverse_each(&:stop)
  end

  # The engine of the process, of a configuration with a counter that is 1.
  def open_with(toml)
    Tallyport.close
    Tallyport.configure do |c|
      c.config_toml = "schema = 1\n#{toml}"
      c.base_dir = @folder
    end
    Tallyport.counter(:hits_total).increment
  end

  # Answers requests with these statuses, then with 204; keeps what it was sent.
  def gateway(*statuses)
    server = TCPServer.new("127.0.0.1", 0)
    sent = Queue.new
    thread = Thread.new do
      while (client = server.accept)
        length = client.each_line("\r\n").take_while { |line| line != "\r\n" }
                       .filter_map { |line| line[/\Acontent-length: (\d+)/i, 1] }.first.to_i
        sent << client.read(length)
        client.write("HTTP/1.1 #{statuses.shift || "204 No Content"}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        client.close
      end
    end
    running << Class.new { define_method(:stop) { thread.kill && server.close } }.new
    ["http://127.0.0.1:#{server.addr[1]}/metrics/job/shop", sent]
  end

  def pushing(url, more = "")
    "[targets.gateway]\nexporter = 'prometheus'\ndestination = 'http'\n#{more}\n" \
      "[targets.gateway.http]\nurl = '#{url}'\ngzip = false\n"
  end

  it "are exported one by one, and all at once" do
    open_with("[targets.node]\nexporter = 'prometheus'\npath = 'node.prom'\n" \
              "[targets.lost]\nexporter = 'json'\npath = 'not/there.json'\n" \
              "[targets.off]\nexporter = 'csv'\npath = 'off.csv'\nenabled = false\n")
    run = Tallyport.export_target(:node)
    file = File.read(File.join(@folder, "node.prom"))
    expect(file).to include("hits_total 1\n")
    expect([run.target, run.ending, run.attempt, run.bytes]).to eq(["node", :delivered, 1, file.bytesize])
    expect([run.delivered?, run.skipped?, run.failed?, run.shared?]).to eq([true, false, false, false])
    expect([run.error, run.retry_after]).to eq([nil, nil])
    runs = Tallyport.export_all
    expect(runs.to_h { |one| [one.target, one.ending] }).to eq("node" => :delivered, "lost" => :failed)
    lost = runs.find(&:failed?)
    expect([lost.error.class, lost.retry_after]).to eq([Tallyport::IoError, nil])
    expect(lost.to_s).to match(%r{\Alost: .*not/there.json.*\(not to be tried again\)\z})
    expect(File).not_to exist(File.join(@folder, "off.csv"))
    # One that is not enabled is exported by whoever names it.
    expect(Tallyport.export_target("off")).to be_delivered
    expect { Tallyport.export_target("nod") }.to raise_error(Tallyport::NotFound, /node/)
    names = Tallyport.engine.targets.map { |target| [target["name"], target["enabled"]] }
    expect(names).to contain_exactly(["node", true], ["lost", true], ["off", false])
  end

  it "say when to try again, and what the caller counted" do
    url, sent = gateway("503 Busy\r\nRetry-After: 40", "400 No")
    open_with(pushing(url, "retry_ms = 1000"))
    run = Tallyport.export_target("gateway")
    expect([run.ending, run.error.class]).to eq([:failed, Tallyport::Unavailable])
    expect(run.retry_after).to be_between(40, 41)
    expect(run.to_s).to match(/503.*\(try again in 40\.\d s\)/)
    run = Tallyport.export_target("gateway", attempt: 3)
    expect([run.attempt, run.failed?, run.retry_after]).to eq([3, true, nil])
    expect(Tallyport.export_target("gateway")).to be_delivered
    expect(Array.new(3) { sent.pop }).to all(include("hits_total 1\n"))
  end

  it "are exported by a schedule, and once more at its end" do
    open_with("[targets.node]\nexporter = 'prometheus'\npath = 'node.prom'\ninterval_ms = 20\n")
    path = File.join(@folder, "node.prom")
    Tallyport.engine.start_schedule
    expect { Tallyport.engine.start_schedule }.to raise_error(Tallyport::AlreadyExists)
    eventually { File.exist?(path) && File.read(path).include?("hits_total 1\n") }
    Tallyport.counter(:hits_total).increment(4)
    Tallyport.engine.stop_schedule
    expect(File.read(path)).to include("hits_total 5\n")
    open_with("")
    expect { Tallyport.engine.start_schedule }.to raise_error(Tallyport::NotFound)
  end

  it "are a job that comes back when the attempt said, and is done then" do
    url, sent = gateway("503 Busy\r\nRetry-After: 40", "429 Later")
    open_with(pushing(url, "retry_ms = 5000"))
    Tallyport::TargetJob.perform_later("gateway")
    [40..41, 5..15].each do |wait|
      perform_enqueued_jobs
      expect(enqueued_jobs.size).to eq(1)
      expect(enqueued_jobs.first.fetch(:at) - Time.now.to_f).to be_between(wait.begin - 1, wait.end)
    end
    perform_enqueued_jobs
    expect(enqueued_jobs).to be_empty
    expect(Array.new(3) { sent.pop }).to all(include("hits_total 1\n"))
    expect(Tallyport.status["export"]["history"].map { |run| [run["attempt"], run["ending"]] })
      .to eq([[1, "failed"], [2, "failed"], [3, "delivered"]])
  end

  it "are a job that fails when no attempt is left, and at once when none would help" do
    url, = gateway("503 Busy", "503 Busy", "403 No")
    open_with(pushing(url, "retries = 1\nretry_ms = 10"))
    Tallyport::TargetJob.perform_later("gateway")
    perform_enqueued_jobs
    expect { perform_enqueued_jobs }.to raise_error(Tallyport::Unavailable, /503/)
    expect(enqueued_jobs).to be_empty
    Tallyport::TargetJob.perform_later("gateway")
    expect { perform_enqueued_jobs }.to raise_error(Tallyport::Error, /403/)
    expect(enqueued_jobs).to be_empty
    Tallyport::TargetJob.perform_later("gatewya")
    expect { perform_enqueued_jobs }.to raise_error(Tallyport::NotFound)
  end

  it "are a job between whose attempts nothing in the store expires" do
    redis = Hosts::Redis.new(@folder)
    running << redis
    url, = gateway("503 Busy")
    day = 86_400_000
    open_with("[store]\nkind = 'redis'\nurl = '#{redis.url}'\nshards = 1\n" \
              "[export]\nretention_window_ms = #{7 * day}\nsafety_margin_ms = #{3 * day}\n" +
              pushing(url, "retry_ms = #{day}\nmax_retry_ms = #{day}"))
    eventually do
      Tallyport.sync
      true
    rescue Tallyport::Error
      false
    end
    key = "{tallyport:tallyport:0}:i:#{Tallyport.status["sync"]["identity"]}"
    expect(redis.ask("PTTL", key).to_i).to be_between(1, day)
    Tallyport::TargetJob.perform_later("gateway")
    perform_enqueued_jobs
    again = (enqueued_jobs.first.fetch(:at) - Time.now.to_f) * 1000
    expect(again).to be > day * 0.4
    # Until the next attempt, and the margin longer; a minute for a slow machine.
    expect(redis.ask("PTTL", key).to_i).to be > again + (3 * day) - 60_000
    perform_enqueued_jobs
    expect(enqueued_jobs).to be_empty
    expect(Tallyport.status["export"]["history"].last).to include("ending" => "delivered", "data" => include("of" => "all"))
  end
end
