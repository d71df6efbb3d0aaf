# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "json"
require "zlib"

require_relative "../tallyport"
require_relative "rack/authorization"
require_relative "rack/negotiation"

module Tallyport
  # The endpoint: `use Tallyport::Rack, path: "/metrics"`, or alone: `run Tallyport::Rack.new`.
  #
  # It answers GET and HEAD of its path in the format that the Accept header asks for, and hands all
  # other requests on. An export that fails is answered with 503 and a JSON body.
  class Rack
    autoload :Requests, File.expand_path("rack/requests", __dir__)

    # Exporters that a request may ask for. One that ships metrics somewhere is not among them.
    FORMATS = %w[prometheus openmetrics json csv].freeze

    # @param app [#call, nil] what answers other paths; nil: 404
    # @param path [String, nil] nil: every path, for one that is mounted
    # @param health [String, nil] path that answers 200 as long as the engine works; nil: none
    # @param auth [nil, Hash, #call] `{ bearer: "token" }`, `{ basic: ["user", "password"] }`, or
    #   what gets the Rack environment and answers true, false (403), or a whole response
    # @param formats [Array<String, Symbol>] what may be asked for; the first one is the default
    # @param shared [Boolean] what all instances have, through the store of the configuration
    # @param engine [Engine, nil] nil: {Tallyport.engine}
    def initialize(app = nil, path: "/metrics", health: nil, auth: nil, formats: FORMATS, shared: false, engine: nil)
      @app = app
      @path = path
      @health = health
      @authorization = Authorization.of(auth)
      @formats = formats.map(&:to_s)
      @shared = shared
      @engine = engine
    end

    # @param env [Hash]
    # @return [Array(Integer, Hash, #each)]
    def call(env)
      path = env["PATH_INFO"]
      return reading(env) { metrics(env) } if @path.nil? || path == @path
      return reading(env) { health } if @health && path == @health

      @app ? @app.call(env) : answer(404, { "error" => "not found" })
    end

    private

    def engine = @engine || Tallyport.engine

    # Reading only; HEAD is GET without its body.
    def reading(env)
      method = env["REQUEST_METHOD"]
      return answer(405, { "error" => "#{method} is not allowed" }, "allow" => "GET, HEAD") unless %w[GET HEAD].include?(method)

      status, headers, body = yield
      [status, headers, method == "HEAD" ? [] : body]
    end

    def metrics(env)
      refusal = @authorization.refusal(env)
      return refusal if refusal

      selector, type = Negotiation.format(env["HTTP_ACCEPT"], offered)
      body = engine.export(selector, shared: @shared)
      headers = { "content-type" => type, "cache-control" => "no-store", "vary" => "Accept, Accept-Encoding" }
      if Negotiation.gzip?(env["HTTP_ACCEPT_ENCODING"])
        body = Zlib.gzip(body, level: Zlib::BEST_SPEED)
        headers["content-encoding"] = "gzip"
      end
      headers["content-length"] = body.bytesize.to_s
      [200, headers, [body]]
    rescue Error => e
      answer(503, { "error" => e.message, "code" => e.status, "field" => e.field })
    end

    def health
      engine.status
      answer(200, { "status" => "ok" })
    rescue Error => e
      answer(503, { "status" => "failed", "error" => e.message, "code" => e.status })
    end

    # Formats by name, with `exporter/format` and content type, in the order that we prefer.
    def offered
      all = engine.plugins.flat_map do |plugin|
        plugin["formats"].map { |format| [format["name"], "#{plugin["name"]}/#{format["name"]}", format["content_type"]] }
      end
      found = @formats.filter_map { |name| all.find { |format, _, _| format == name } }
      raise NotFound.new("formats: none of #{@formats.join(", ")} is registered", field: "formats") if found.empty?

      found.map { |_, selector, type| [selector, type] }
    end

    def answer(status, object, headers = {})
      body = JSON.generate(object)
      [status, { "content-type" => "application/json", "cache-control" => "no-store",
                 "content-length" => body.bytesize.to_s }.merge(headers), [body]]
    end
  end
end
