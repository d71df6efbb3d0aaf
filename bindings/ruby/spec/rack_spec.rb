# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "rack/lint"
require "rack/mock"

RSpec.describe Tallyport::Rack do
  # As Prometheus 2 asks.
  prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75," \
               "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"

  let(:other) { ->(_) { [200, { "content-type" => "text/plain" }, ["other"]] } }

  def client(app = nil, **options) = Rack::MockRequest.new(Rack::Lint.new(described_class.new(app, **options)))

  def type(accept) = client.get("/metrics", { "HTTP_ACCEPT" => accept }.compact)["content-type"]

  before { Tallyport.counter(:hits_total).increment }

  it "serves its path and hands on the others" do
    answer = client(other).get("/metrics")
    expect(answer.status).to eq(200)
    expect(answer.body).to include("hits_total 1")
    expect(answer["cache-control"]).to eq("no-store")
    expect(answer["vary"]).to eq("Accept, Accept-Encoding")
    expect(client(other).get("/else").body).to eq("other")
    expect(client(other, path: "/m").get("/m").body).to include("hits_total 1")
    expect(client.get("/else").status).to eq(404)
    expect(client(path: nil).get("/anything").body).to include("hits_total 1")
  end

  it "answers HEAD without a body and refuses what would change something" do
    answer = client.request("HEAD", "/metrics")
    expect([answer.status, answer.body]).to eq([200, ""])
    expect(answer["content-length"].to_i).to be_positive
    answer = client.post("/metrics")
    expect([answer.status, answer["allow"]]).to eq([405, "GET, HEAD"])
  end

  it "chooses the format that is asked for, text for everything else" do
    text = "text/plain; version=0.0.4; charset=utf-8"
    open_metrics = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    { nil => text, "" => text, "*/*" => text, "text/html,application/xhtml+xml,*/*;q=0.8" => text,
      prometheus => open_metrics, "application/openmetrics-text" => open_metrics,
      "application/openmetrics-text; version=2.0.0" => text, "application/json" => "application/json",
      "application/*" => open_metrics, "APPLICATION/JSON" => "application/json",
      "application/json;q=0.2, text/plain;q=0.1" => "application/json",
      "application/json;q=0, */*" => text, "text/plain;q=0, application/json;q=0.1" => "application/json",
      "image/png" => text, "text/csv" => "text/csv; charset=utf-8; header=present",
      "text/plain;version=0.0.4;escaping=allow-utf-8;q=0.5" => text,
      "application/json;q=7" => text, ";;,,=;q" => text, "text/plain; version=\"0.0.4\"" => text }.each do |accept, expected|
      expect(type(accept)).to eq(expected), accept.inspect
    end
  end

  it "compresses where it may" do
    answer = client.get("/metrics", "HTTP_ACCEPT_ENCODING" => "deflate, gzip;q=0.5")
    expect(answer["content-encoding"]).to eq("gzip")
    expect(Zlib.gunzip(answer.body)).to include("hits_total 1")
    [nil, "", "identity", "gzip;q=0", "*;q=0", "gzip;q=0.000, *"].each do |accepted|
      answer = client.get("/metrics", { "HTTP_ACCEPT_ENCODING" => accepted }.compact)
      expect(answer["content-encoding"]).to be_nil, accepted.inspect
    end
  end

  it "asks for a token, for user and password, or the program" do
    bearer = client(auth: { bearer: "s3cret" })
    expect(bearer.get("/metrics").status).to eq(401)
    expect(bearer.get("/metrics")["www-authenticate"]).to eq('Bearer realm="metrics"')
    { "Bearer s3cret" => 200, "bearer  s3cret" => 200, "Bearer s3cre" => 401, "Bearer" => 401, "Basic s3cret" => 401,
      "Bearer s3cret2" => 401, "" => 401 }.each do |given, status|
      expect(bearer.get("/metrics", "HTTP_AUTHORIZATION" => given).status).to eq(status), given
    end
    basic = client(auth: { basic: %w[prom pass:word] })
    expect(basic.get("/metrics", "HTTP_AUTHORIZATION" => "Basic #{["prom:pass:word"].pack("m0")}").status).to eq(200)
    expect(basic.get("/metrics", "HTTP_AUTHORIZATION" => "Basic #{["prom:"].pack("m0")}")["www-authenticate"]).to start_with("Basic")
    expect(client(auth: ->(env) { env["REMOTE_ADDR"] == "::1" }).get("/metrics").status).to eq(403)
    expect(client(auth: ->(_) { true }).get("/metrics").status).to eq(200)
    expect(client(auth: ->(_) { [302, { "location" => "/login" }, []] }).get("/metrics").status).to eq(302)
    [{ bearer: "" }, { bearer: nil }, { basic: ["a"] }, { token: "x" }, {}, "x"].each do |auth|
      expect { described_class.new(nil, auth: auth) }.to raise_error(ArgumentError, /auth/)
    end
    expect { described_class.new(nil, auth: { basic: ["user", ""] }) }.to raise_error(ArgumentError)
  end

  it "answers 503 with JSON when an export fails, and says whether it is healthy" do
    engine = Tallyport::Engine.new
    broken = client(engine: engine, health: "/healthz")
    expect(broken.get("/healthz").status).to eq(200)
    engine.close
    answer = broken.get("/metrics")
    expect(answer.status).to eq(503)
    expect(JSON.parse(answer.body)).to include("code" => "bad_handle")
    expect(broken.get("/healthz").status).to eq(503)
    expect(client(formats: [:none]).get("/metrics").status).to eq(503)
  end

  describe Tallyport::Rack::Requests do
    def requests(answer, **options)
      Rack::MockRequest.new(described_class.new(answer, **options))
    end

    it "counts by method, route and status, and what raises as 500" do
      app = requests(lambda { |env|
        raise "broken" if env["PATH_INFO"] == "/broken"

        env["sinatra.route"] = "GET /users/:id"
        [201, {}, []]
      })
      app.get("/users/1")
      app.get("/users/2?a=b")
      expect { app.get("/broken") }.to raise_error("broken")
      app.request("BREW", "/users/3")
      expect(lines("http_requests_total")).to contain_exactly(
        'http_requests_total{method="GET",route="/users/:id",status="201"} 2',
        'http_requests_total{method="GET",route="unmatched",status="500"} 1',
        'http_requests_total{method="other",route="/users/:id",status="201"} 1'
      )
      expect(lines("http_requests_in_flight")).to eq(["http_requests_in_flight 0"])
      expect(sum("http_request_duration_seconds_count")).to eq(4)
    end

    it "takes the program's word for a route, and leaves out paths" do
      app = requests(->(_) { [200, {}, []] }, route: ->(env) { env["PATH_INFO"][/\A\/\w/] }, except: ["/up"])
      app.get("/users/1")
      app.get("/up")
      expect(lines("http_requests_total")).to eq(['http_requests_total{method="GET",route="/u",status="200"} 1'])
    end

    it "reads the pattern of newer Rails" do
      app = requests(lambda { |env|
        env["action_dispatch.route_uri_pattern"] = "/items/:id(.:format)"
        [200, {}, []]
      })
      app.get("/items/1")
      expect(lines("http_requests_total").first).to include('route="/items/:id"')
    end
  end
end
