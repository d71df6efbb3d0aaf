# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "digest"
require "json"

module Tallyport
  class Rack
    # Who may read the metrics.
    # @api private
    class Authorization
      # @param auth [nil, Hash, #call] as {Rack#initialize} takes it
      def self.of(auth)
        return new { nil } if auth.nil?
        return new { |env| hook(auth.call(env)) } if auth.respond_to?(:call)
        return scheme(auth) if auth.is_a?(Hash) && auth.size == 1

        raise ArgumentError, "auth: { bearer: token }, { basic: [user, password] } or what can be called, not #{auth.class}"
      end

      # @yield [env] answers what refuses a request, or nil
      def initialize(&block)
        @block = block
      end

      # A response that refuses the request; nil when it may read.
      def refusal(env) = @block.call(env)

      class << self
        private

        def scheme(auth)
          case auth
          in { bearer: String => token } if !token.empty?
            challenge("Bearer", token)
          in { basic: [String => user, String => password] } if !password.empty?
            challenge("Basic", ["#{user}:#{password}"].pack("m0"))
          else
            # The secret itself is not shown.
            raise ArgumentError, "auth: #{auth.keys.first.inspect} needs a token, or user and password, that are not empty"
          end
        end

        def challenge(scheme, expected)
          new do |env|
            given, credentials = env["HTTP_AUTHORIZATION"].to_s.split(" ", 2)
            known = scheme.casecmp?(given.to_s) && same?(credentials.to_s.strip, expected)
            refuse(401, "authentication is required", "www-authenticate" => %(#{scheme} realm="metrics")) unless known
          end
        end

        # In a time that does not depend on where they differ.
        def same?(given, expected)
          left = Digest::SHA256.digest(given).bytes
          right = Digest::SHA256.digest(expected).bytes
          left.zip(right).sum { |a, b| a ^ b }.zero?
        end

        def hook(answer)
          case answer
          when Array then answer
          when false, nil then refuse(403, "not allowed")
          end
        end

        def refuse(status, error, headers = {})
          body = JSON.generate({ "error" => error })
          [status, { "content-type" => "application/json", "cache-control" => "no-store",
                     "content-length" => body.bytesize.to_s }.merge(headers), [body]]
        end
      end
    end
  end
end
