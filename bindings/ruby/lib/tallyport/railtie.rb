# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "rails/railtie"

module Tallyport
  # What a Rails application gets by having the gem: the endpoint, request and SQL metrics, rake tasks
  # and the export jobs. `config.tallyport` changes it:
  #
  # - `enabled`: false installs nothing (true)
  # - `config`: the configuration file (config/tallyport.toml, where there is one)
  # - `endpoint`: path of the metrics, nil for none (`/metrics`); `auth`, `health`, `shared`: as
  #   {Rack#initialize} takes them
  # - `requests`: count requests (true); `sql`: count queries (true)
  # - `export_path`: file that {ExportJob} writes, unless it is told another
  class Railtie < ::Rails::Railtie
    config.tallyport = ActiveSupport::OrderedOptions.new
    config.tallyport.enabled = true
    config.tallyport.endpoint = "/metrics"
    config.tallyport.requests = true
    config.tallyport.sql = true

    initializer "tallyport.configure", before: :load_config_initializers do |app|
      options = app.config.tallyport
      if options.enabled
        file = options.config || Railtie.file(app.root)
        Tallyport.configure do |configuration|
          configuration.config ||= file&.to_s unless configuration.config_toml || configuration.share
          configuration.logger ||= ::Rails.logger
        end
      end
    end

    # At the front: neither a redirect to HTTPS nor a session stands before a scrape.
    initializer "tallyport.middleware" do |app|
      options = app.config.tallyport
      if options.enabled
        app.middleware.insert_before(0, Rack::Requests) if options.requests
        if options.endpoint
          app.middleware.insert_before(0, Rack, path: options.endpoint, health: options.health,
                                                auth: options.auth, shared: options.shared || false)
        end
      end
    end

    initializer "tallyport.sql" do |app|
      options = app.config.tallyport
      ActiveSupport.on_load(:active_record) { SqlSubscriber.subscribe } if options.enabled && options.sql
    end

    initializer "tallyport.jobs" do
      ActiveSupport.on_load(:active_job) do
        require_relative "export_job"
        require_relative "target_job"
      end
    end

    # Before a server forks: what a preloaded application opened is its workers'.
    config.after_initialize do |app|
      Tallyport.engine if app.config.tallyport.enabled
    end

    rake_tasks { load File.expand_path("tasks.rake", __dir__) }

    # The application's configuration file, where it has one.
    # @api private
    def self.file(root)
      path = root.join("config/tallyport.toml")
      path if path.exist?
    end
  end
end
