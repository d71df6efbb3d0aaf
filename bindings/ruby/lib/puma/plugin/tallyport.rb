# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "puma/plugin"

require_relative "../../tallyport"

# `plugin :tallyport` in config/puma.rb: the engine is opened before the workers are forked, so that
# all record into the same values, whether the application is preloaded or not; and Puma's own figures
# are gauges.
#
# A program that calls Tallyport.configure does so in config/puma.rb, before this.
Puma::Plugin.create do
  def start(launcher)
    Tallyport.engine
    @launcher = launcher
    in_background { watch }
  end

  private

  # In the master of a cluster, and in a single process.
  def watch
    loop do
      sleep 5
      record(@launcher.stats)
    rescue StandardError => e
      @launcher.events.error("tallyport: #{e.class}: #{e.message}")
    end
  end

  def record(stats)
    workers = stats[:worker_status]
    set(:puma_workers, stats[:workers]) if workers
    set(:puma_booted_workers, stats[:booted_workers]) if workers
    each = workers ? workers.map { |worker| worker[:last_status] } : [stats]
    %i[backlog running pool_capacity max_threads].each do |name|
      set(:"puma_#{name}", each.sum { |status| status.fetch(name, 0) })
    end
  end

  def set(name, value) = Tallyport.gauge(name).set(value)
end
