# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "lib/tallyport/version"

Gem::Specification.new do |spec|
  spec.name = "tallyport"
  spec.version = Tallyport::VERSION
  spec.authors = ["The Tallyport authors"]
  spec.summary = "Metrics at native speed for Ruby, shared between the processes of a server"
  spec.description = "Counters, gauges and histograms in memory that the workers of Puma and Unicorn share, " \
                     "exported as Prometheus text, OpenMetrics, JSON, CSV and by plugins. No file per process."
  spec.licenses = %w[MIT Apache-2.0]
  spec.required_ruby_version = ">= 3.1"
  spec.metadata["rubygems_mfa_required"] = "true"

  spec.files = Dir.chdir(__dir__) do
    Dir["lib/**/*.{rb,rake}", "lib/tallyport/native/*", "ext/**/*.{rb,c}", "sig/**/*.rbs", "README.md", ".yardopts"]
  end
  # A gem that carries the library is for one platform; `rake native` puts it there.
  spec.platform = Gem::Platform.local if Dir[File.join(__dir__, "lib/tallyport/native/*")].any?
  spec.require_paths = ["lib"]
  spec.extensions = ["ext/tallyport/extconf.rb"]
  spec.add_runtime_dependency "ffi", "~> 1.15"
end
