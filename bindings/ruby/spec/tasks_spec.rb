# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "hosts"

# Without Rails; with it, and the tasks that enqueue a job, in hosts_spec.rb.
RSpec.describe "Rake tasks" do
  around { |example| Dir.mktmpdir { |folder| (@folder = folder) && example.run } }

  # What a task says, data and words together, and whether it was content.
  def rake(*words, env: {})
    env = { "RUBYLIB" => Hosts::LIB, "RUBYOPT" => "-W:no-deprecated", **env }
    said = IO.popen([env, "rake", *words, { chdir: @folder, err: %i[child out] }], &:read)
    [said, $?.success?]
  end

  # A Rakefile, and a store in which another instance has counted seven.
  before do
    File.write(File.join(@folder, "tallyport.toml"), <<~TOML)
      schema = 1
      [store]
      kind = "sqlite"
      path = "store.sqlite3"
      [targets.node]
      exporter = "prometheus"
      path = "node.prom"
      [targets.lost]
      exporter = "json"
      path = "not/there.json"
    TOML
    File.write(File.join(@folder, "Rakefile"), <<~RUBY)
      require "tallyport"
      Tallyport.configure { |c| c.config = "tallyport.toml" }
      load "tallyport/tasks.rake"
    RUBY
    configuration = Tallyport::Configuration.new
    configuration.config = File.join(@folder, "tallyport.toml")
    other = Tallyport::Engine.new(configuration)
    other.counter(:hits_total).increment(7)
    other.sync
    other.close
  end

  it "export in a format, to stdout or a file" do
    out = File.join(@folder, "metrics.json")
    said, content = rake("tallyport:export_metrics_now[json]", env: { "OUTPUT" => out, "VERBOSE" => "1" })
    expect([said, content]).to match([/json of all instances: \d+ bytes/, true])
    expect(JSON.parse(File.read(out))["metrics"].map { |metric| metric["name"] }).to include("hits_total")
    said, = rake("tallyport:export_metrics_now", env: { "METRICS_FORMAT" => "openmetrics" })
    expect(said).to include("hits_total 7\n").and end_with("# EOF\n")
    expect(rake("tallyport:export_metrics_now[none]")).to match([/\Atallyport: .*none/, false])
  end

  it "sync, and show how it stands" do
    expect(rake("tallyport:sync_metrics", env: { "VERBOSE" => "1" })).to match([/"syncs":1\b/, true])
    said, = rake("tallyport:metrics_status")
    expect(said).to include("store: sqlite").and include("exporter prometheus: ready")
    said, = rake("tallyport:metrics_status", env: { "VERBOSE" => "1" })
    expect(JSON.parse(said)["sync"]["store"]).to eq("sqlite")
  end

  it "export targets: those that are named, or all that are enabled" do
    expect(rake("tallyport:export_targets_now"))
      .to match([%r{\Atallyport: lost: .*not/there.json.*\ntallyport: 1 of 2 targets failed\n\z}, false])
    node = File.join(@folder, "node.prom")
    expect(lines("hits_total", File.read(node))).to eq(["hits_total 7"])
    File.delete(node)
    expect(rake("tallyport:export_targets_now[node]", env: { "VERBOSE" => "1" }))
      .to match([/\Atallyport: node: \d+ bytes of all instances\n\z/, true])
    expect(File).to exist(node)
    expect(rake("tallyport:export_targets_now[nod]")).to match([/\Atallyport: no target is called `nod`/, false])
  end
end
