# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "hosts"

# Nothing is configured in any of these but what the server itself needs.
RSpec.describe "Real hosts" do
  around { |example| Dir.mktmpdir { |folder| (@folder = folder) && example.run } }

  let(:running) { [] }
  after { running.reverse_each(&:stop) }

  def start(kind, *words, **options)
    server = kind.new(@folder, *words, **options)
    running << server
    server
  end

  # All workers say the same, and it is this.
  def exactly(server, expected)
    20.times do
      text = server.get("/metrics").body
      expect(expected.to_h { |start, _| [start, sum(start, text).to_i] }).to eq(expected)
    end
  end

  # A configuration file with a store.
  def shared_through(store)
    path = File.join(@folder, "tallyport.toml")
    File.write(path, "schema = 1\n[store]\n#{store}\n[sync]\ninterval_ms = 100\n")
    path
  end

  # What another instance finds in the store.
  def everyone(toml)
    configuration = Tallyport::Configuration.new
    configuration.config = toml
    engine = Tallyport::Engine.new(configuration)
    yield engine if block_given?
    engine.export(:prometheus, shared: true)
  ensure
    engine&.leave
    engine&.close
  end

  def shop(server)
    server.wait("/metrics")
    expect(server.ask("/", 50)).to eq(200)
    expect(server.ask("/items/7", 25)).to eq(100)
    20.times { expect(server.request("POST", "/items/107/sales").status).to eq(201) }
    expect(server.get("/nothing/#{rand}").status).to eq(404)
    { 'http_requests_total{method="GET",route="/",status="200"}' => 200,
      'http_requests_total{method="GET",route="/items/:id",status="200"}' => 100,
      'http_requests_total{method="POST",route="/items/:id/sales",status="201"}' => 20,
      'http_requests_total{method="GET",route="unmatched",status="404"}' => 1,
      "http_requests_total" => 321,
      "http_request_duration_seconds_count" => 321,
      "http_requests_in_flight" => 0,
      "shop_items_shown_total" => 100,
      "shop_items_sold_total" => 20 }
  end

  it "counts exactly on a Puma cluster with preload, over the death of a worker" do
    sinatra = File.join(Hosts::EXAMPLES, "sinatra")
    server = start(Hosts::Web, "puma", "-C", File.join(sinatra, "puma.rb"), "-b", "unix://SOCKET", "-e", "production",
                   File.join(sinatra, "config.ru"))
    expected = shop(server)
    exactly(server, expected)
    workers = File.read("/proc/#{server.pid}/task/#{server.pid}/children").split.map(&:to_i)
    expect(workers.size).to eq(2)
    Process.kill(:KILL, workers.first)
    eventually { (File.read("/proc/#{server.pid}/task/#{server.pid}/children").split.map(&:to_i) - workers).size == 1 }
    exactly(server, expected)
    expect(server.ask("/", 10)).to eq(40)
    exactly(server, expected.merge("http_requests_total" => 361, "http_request_duration_seconds_count" => 361,
                                   'http_requests_total{method="GET",route="/",status="200"}' => 240))
  end

  it "counts exactly on a Puma cluster without preload, with its plugin, over a phased restart, and syncs" do
    redis = start(Hosts::Redis)
    toml = shared_through("kind = 'redis'\nurl = '#{redis.url}'")
    config = File.join(@folder, "puma.rb")
    File.write(config, <<~RUBY)
      workers 2
      threads 2, 4
      plugin :tallyport
      Tallyport.configure { |c| c.config = #{toml.inspect} }
    RUBY
    server = start(Hosts::Web, "puma", "-C", config, "-b", "unix://SOCKET", "-e", "production",
                   File.join(Hosts::EXAMPLES, "sinatra/config.ru"))
    expected = shop(server)
    exactly(server, expected)
    children = -> { File.read("/proc/#{server.pid}/task/#{server.pid}/children").split.map(&:to_i) }
    old = children.call
    server.signal(:USR1)
    eventually(120) { (children.call & old).empty? && children.call.size == 2 && server.said.scan("phase: 1").size >= 2 }
    exactly(server, expected)
    # Every worker would sync, should the master end.
    threads = ->(pid) { Dir["/proc/#{pid}/task/*/comm"].map { |file| File.read(file).chomp } }
    expect([server.pid, *children.call].map { |pid| threads.call(pid) }).to all(include("tallyport-sync"))
    expect(eventually { sum("puma_workers", server.get("/metrics").body) == 2 }).to be(true)
    eventually { sum("http_requests_total", everyone(toml)) == 321 }
    server.ask("/", 10)
    # What came after the last sync: at its end it syncs once more.
    server.stop
    expect(sum("http_requests_total", everyone(toml))).to eq(361)
  end

  it "counts exactly on Unicorn with preload" do
    config = File.join(@folder, "unicorn.rb")
    File.write(config, "worker_processes 3\npreload_app true\n")
    server = start(Hosts::Web, "unicorn", "-c", config, "-l", "SOCKET", "-E", "production",
                   File.join(Hosts::EXAMPLES, "sinatra/config.ru"))
    exactly(server, shop(server))
  end

  it "counts exactly in Sidekiq, failures and tries again too, and syncs" do
    redis = start(Hosts::Redis)
    toml = shared_through("kind = 'redis'\nurl = '#{redis.url}'")
    jobs = File.join(@folder, "jobs.rb")
    File.write(jobs, <<~RUBY)
      require "tallyport/sidekiq"
      Tallyport.configure { |c| c.config = #{toml.inspect} }
      class Work
        include Sidekiq::Worker
        sidekiq_options retry: false
        def perform(n)
          raise "no" if n % 10 == 0
          Tallyport.counter(:work_done_total).increment(n)
        end
      end
      class Report
        include Sidekiq::Worker
        def perform(path)
          File.write(path + ".new", Tallyport.export)
          File.rename(path + ".new", path)
        end
      end
    RUBY
    env = { "REDIS_URL" => redis.url }
    pushed, status = ruby(<<~RUBY, env: env, options: ["-r", jobs])
      begin
        Sidekiq.redis(&:ping)
      rescue Redis::CannotConnectError
        sleep 0.05
        retry
      end
      300.times { |n| Work.perform_async(n) }
      puts Tallyport.export
    RUBY
    expect(status).to be_success, pushed
    expect(lines("sidekiq_jobs_enqueued_total", pushed)).to eq(['sidekiq_jobs_enqueued_total{class="Work",queue="default"} 300'])
    server = start(Hosts::Server, "sidekiq", "-r", jobs, "-c", "5", "-e", "production", env: env)
    report = File.join(@folder, "report.prom")
    text = eventually(60) do
      ruby("Report.perform_async(#{report.inspect})", env: env, options: ["-r", jobs])
      eventually { File.exist?(report) }
      text = File.read(report)
      File.delete(report)
      text if sum('sidekiq_jobs_total{class="Work"', text) == 300
    end
    expect(sum('sidekiq_jobs_total{class="Work",queue="default",status="ok"}', text)).to eq(270)
    expect(sum('sidekiq_jobs_total{class="Work",queue="default",status="failed"}', text)).to eq(30)
    expect(sum('sidekiq_job_duration_seconds_count{class="Work"', text)).to eq(300)
    expect(sum("work_done_total", text)).to eq((0...300).reject { |n| (n % 10).zero? }.sum)
    server.stop
    text = everyone(toml)
    expect(sum('sidekiq_jobs_total{class="Work"', text)).to eq(300)
    # It is not there any more: what was in flight in it is not, either.
    expect(lines("sidekiq_jobs_in_flight", text)).to be_empty
  end

  describe "a Rails application" do
    let(:env) { { "RAILS_ENV" => "production", "DATABASE" => File.join(@folder, "shop.sqlite3") } }
    let(:rails) { File.join(Hosts::EXAMPLES, "rails") }

    def rake(*words, env: {})
      IO.popen([{ "RUBYLIB" => Hosts::LIB, "RUBYOPT" => "-W:no-deprecated", **self.env, **env }, "rake", *words,
                { chdir: rails, err: %i[child out] }], &:read)
    end

    it "counts requests by route, and queries, exactly, and syncs through Rails.cache" do
      rake("db:schema:load")
      cache = File.join(@folder, "cache")
      toml = shared_through("kind = 'host'")
      config = File.join(@folder, "puma.rb")
      File.write(config, "#{File.read(File.join(rails, "config/puma.rb"))}plugin :tallyport\n")
      server = start(Hosts::Web, "puma", "-C", config, "-b", "unix://SOCKET", "config.ru", chdir: rails,
                                 env: env.merge("CACHE" => cache, "TALLYPORT_CONFIG" => toml))
      server.wait("/metrics")
      30.times do |n|
        answer = server.request("POST", "/items", { "Content-Type" => "application/json" }, %({"name":"item #{n}"}))
        expect(answer.status).to eq(201)
      end
      expect(server.ask("/items/3", 25)).to eq(100)
      expect(server.get("/items/999999").status).to eq(404)
      expect(server.get("/wp-login.php").status).to eq(404)
      exactly(server, {
                'http_requests_total{method="POST",route="/items",status="201"}' => 30,
                'http_requests_total{method="GET",route="/items/:id",status="200"}' => 100,
                'http_requests_total{method="GET",route="/items/:id",status="404"}' => 1,
                'http_requests_total{method="GET",route="unmatched",status="404"}' => 1,
                "http_requests_total" => 132,
                "items_created_total" => 30,
                'sql_queries_total{operation="Item Load",status="ok"}' => 101,
                'sql_queries_total{operation="Item Create",status="ok"}' => 30,
                'sql_duration_seconds_count{operation="Item Load"}' => 101
              })
      metrics = server.get("/metrics", "Accept" => "application/openmetrics-text;version=1.0.0")
      expect(metrics.headers["content-type"]).to start_with("application/openmetrics-text; version=1.0.0")
      expect(metrics.body).to end_with("# EOF\n")
      server.stop
      expect(server.said).not_to include("tallyport:")
      require "active_support"
      require "active_support/cache"
      store = ActiveSupport::Cache::FileStore.new(cache)
      text = everyone(toml) { |engine| Tallyport::RailsCacheStore.attach(store, engine: engine) }
      expect([sum("http_requests_total", text), sum("items_created_total", text)]).to eq([132, 30])
    end

    it "has rake tasks that export, sync and show, and jobs that export" do
      store = File.join(@folder, "store.sqlite3")
      config = File.join(@folder, "tallyport.toml")
      File.write(config, "schema = 1\n[store]\nkind = \"sqlite\"\npath = #{store.to_json}\n" \
                         "[targets.node]\nexporter = \"prometheus\"\npath = \"node.prom\"\n")
      rake("db:schema:load")
      # Another instance, whose counts the tasks see through the store.
      output, status = ruby("require 'tallyport'; Tallyport.configure { |c| c.config = #{config.inspect} }; " \
                            "Tallyport.counter(:hits_total).increment(7); Tallyport.sync")
      expect(status).to be_success, output
      named = { "TALLYPORT_CONFIG" => config }
      expect(lines("hits_total", rake("tallyport:export_metrics_now", env: named))).to eq(["hits_total 7"])
      # The job, through a real queue and a real worker.
      redis = start(Hosts::Redis)
      queue = named.merge("REDIS_URL" => redis.url, "METRICS_FILE" => File.join(@folder, "job.prom"))
      eventually { redis.ask("PING") == "PONG" }
      expect(rake("tallyport:export_metrics", env: queue.merge("VERBOSE" => "1"))).to match(/enqueued Tallyport::ExportJob .* \(prometheus\) on default/)
      start(Hosts::Server, "sidekiq", "-c", "1", "-e", "production", env: env.merge(queue), chdir: rails)
      eventually(60) { File.exist?(queue["METRICS_FILE"]) }
      expect(lines("hits_total", File.read(queue["METRICS_FILE"]))).to eq(["hits_total 7"])
      # A target, the same way.
      node = File.join(@folder, "node.prom")
      expect(rake("tallyport:export_targets[node]", env: queue.merge("VERBOSE" => "1"))).to match(/enqueued Tallyport::TargetJob .* \(node\) on default/)
      eventually(60) { File.exist?(node) }
      expect(lines("hits_total", File.read(node))).to eq(["hits_total 7"])
    end
  end
end
