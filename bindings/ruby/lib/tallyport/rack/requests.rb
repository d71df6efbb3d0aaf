# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "../../tallyport"
require_relative "route"

module Tallyport
  class Rack
    # Counts and times requests: `use Tallyport::Rack::Requests`.
    #
    # - `http_requests_total{method, route, status}`
    # - `http_request_duration_seconds{method, route}`
    # - `http_requests_in_flight`, of each process
    #
    # The route is the template (`/users/:id`), never the path: a path is whatever a client asks for.
    class Requests
      # Methods that are a label's value; the others are `other`.
      METHODS = %w[GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT].to_h { |name| [name, name] }.freeze

      # @param app [#call]
      # @param route [#call, nil] gets the Rack environment after the request and answers its
      #   template, or nil; nil: {Route.of}
      # @param except [Array<String>] paths that are not counted
      # @param engine [Engine, nil] nil: {Tallyport.engine}
      def initialize(app, route: nil, except: [], engine: nil)
        @app = app
        @route = route || Route.method(:of)
        @except = except.to_h { |path| [path, true] }
        @engine = engine
      end

      # @param env [Hash]
      # @return [Array(Integer, Hash, #each)]
      def call(env)
        return @app.call(env) if @except[env["PATH_INFO"]]

        in_flight = engine.gauge(:http_requests_in_flight)
        begun = Process.clock_gettime(Process::CLOCK_MONOTONIC)
        status = 500
        in_flight.increment
        begin
          response = @app.call(env)
          status = response.first.to_i
          response
        ensure
          in_flight.decrement
          record(env, status, Process.clock_gettime(Process::CLOCK_MONOTONIC) - begun)
        end
      end

      private

      def engine = @engine || Tallyport.engine

      def record(env, status, seconds)
        method = METHODS.fetch(env["REQUEST_METHOD"], "other")
        route = @route.call(env) || "unmatched"
        engine.counter(:http_requests_total, method: method, route: route, status: status).increment
        engine.histogram(:http_request_duration_seconds, method: method, route: route).observe(seconds)
      end
    end
  end
end
