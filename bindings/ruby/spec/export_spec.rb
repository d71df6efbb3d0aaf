# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "active_job"
require "active_job/test_helper"
require "tallyport/export_job"

RSpec.describe "Exports to files" do
  include ActiveJob::TestHelper

  around { |example| Dir.mktmpdir { |folder| (@folder = folder) && example.run } }

  before do
    ActiveJob::Base.logger = Logger.new(nil)
    ActiveJob::Base.queue_adapter = :test
    Tallyport.counter(:hits_total).increment
  end

  let(:path) { File.join(@folder, "app.prom") }

  it "replaces a file at once, and leaves nothing behind when it cannot" do
    File.write(path, "old")
    result = Tallyport::Export.run("prometheus", output: path)
    expect(File.read(path)).to include("hits_total 1")
    expect([result.bytes, result.shared]).to eq([File.size(path), false])
    expect { Tallyport::Export.run("prometheus", output: @folder) }.to raise_error(SystemCallError)
    expect(Dir.children(@folder)).to eq(["app.prom"])
    expect { Tallyport::Export.run("prometheus") }.to raise_error(Tallyport::InvalidArgument, /nowhere/)
  end

  it "is a job" do
    perform_enqueued_jobs { Tallyport::ExportJob.perform_later("json", path) }
    expect(JSON.parse(File.read(path))["metrics"].map { |metric| metric["name"] }).to include("hits_total")
  end

  it "tries again what may work later: three times, later each time" do
    missing = File.join(@folder, "not", "there", "app.prom")
    Tallyport::ExportJob.perform_later("prometheus", missing)
    waits = Array.new(2) do
      perform_enqueued_jobs
      enqueued_jobs.first.fetch(:at) - Time.now.to_f
    end
    expect(waits.first).to be_between(1, 10)
    expect(waits.last).to be > waits.first
    expect { perform_enqueued_jobs }.to raise_error(Errno::ENOENT)
    expect(enqueued_jobs).to be_empty
  end

  it "does not try again what cannot work" do
    Tallyport::ExportJob.perform_later("none", path)
    expect { perform_enqueued_jobs }.to raise_error(Tallyport::NotFound)
    expect(enqueued_jobs).to be_empty
  end
end
