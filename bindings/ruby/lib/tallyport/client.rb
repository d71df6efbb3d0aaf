# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "../tallyport"
require_relative "client/metrics"
require_relative "client/registry"

module Tallyport
  # The calls of the usual Prometheus client for Ruby, on Tallyport: a program that uses it goes on with
  #
  #     registry = Tallyport::Client.registry # was Prometheus::Client.registry
  #     hits = registry.counter(:hits_total, docstring: "Requests", labels: [:method])
  #     hits.increment(by: 2, labels: { method: "GET" })
  #
  # There are counters, gauges and histograms. A summary of the usual client is a count and a sum: a
  # histogram has both. Data stores are not configured: values are in memory that workers share.
  module Client
    # @return [Registry] the metrics of {Tallyport.engine}
    def self.registry = @registry ||= Registry.new
  end
end
