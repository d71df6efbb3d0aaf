# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

module Tallyport
  class Rack
    # The template of the route that answered a request, as frameworks leave it in the environment.
    module Route
      @templates = {}

      class << self
        # @param env [Hash] after the request
        # @return [String, nil] `/users/:id`; nil when no route matched or nobody says
        def of(env)
          sinatra = env["sinatra.route"]
          return sinatra[sinatra.index(" ").to_i..].strip if sinatra
          # Rails 7.1 and later.
          pattern = env["action_dispatch.route_uri_pattern"]
          return pattern.delete_suffix("(.:format)") if pattern

          parameters = env["action_dispatch.request.path_parameters"]
          rails(parameters, env["REQUEST_METHOD"]) if parameters && parameters[:controller]
        end

        private

        # As many as the application has routes: their names, not what clients send.
        def rails(parameters, verb)
          key = [parameters[:controller], parameters[:action], verb, parameters.keys]
          @templates[key] ||= template(parameters, verb) || -"#{parameters[:controller]}##{parameters[:action]}"
        end

        # Routes of engines are not the application's: theirs are `controller#action`.
        def template(parameters, verb)
          return unless defined?(::Rails) && ::Rails.application

          route = ::Rails.application.routes.routes.find do |candidate|
            candidate.defaults[:controller] == parameters[:controller] &&
              candidate.defaults[:action] == parameters[:action] &&
              (candidate.verb.empty? || candidate.verb.split("|").include?(verb)) &&
              (candidate.required_parts - parameters.keys).empty?
          end
          route && -route.path.spec.to_s.delete_suffix("(.:format)")
        end
      end
    end
  end
end
