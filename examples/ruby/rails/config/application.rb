# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "rails"
require "active_record/railtie"
require "active_job/railtie"
require "action_controller/railtie"
require "tallyport"

if ENV["REDIS_URL"]
  require "sidekiq"
  require "tallyport/sidekiq"
end

module Shop
  # As small as a Rails application gets. Having the gem is all that it does for its metrics.
  class Application < Rails::Application
    config.load_defaults 6.1
    config.root = File.expand_path("..", __dir__)
    config.eager_load = true
    config.secret_key_base = "an example has no secrets"
    config.active_job.queue_adapter = ENV["REDIS_URL"] ? :sidekiq : :async
    config.logger = Logger.new($stderr)
    config.log_level = :warn
    # The rest of an application's hosts are checked by what stands before it.
    config.hosts.clear

    # CACHE=folder: instances share their totals through Rails.cache.
    if ENV["CACHE"]
      config.cache_store = :file_store, ENV["CACHE"]
      config.after_initialize { Tallyport::RailsCacheStore.attach(Rails.cache) }
    end

    config.tallyport.config = ENV.fetch("TALLYPORT_CONFIG", nil)
    config.tallyport.export_path = ENV.fetch("METRICS_FILE", nil)
  end
end
