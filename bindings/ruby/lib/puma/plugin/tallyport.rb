# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "puma/plugin"

require_relative "../../tallyport/base"

# `plugin :tallyport` in config/puma.rb: the engine is opened before the workers are forked, so that
# all record into the same values, whether the application is preloaded or not; where there is a store,
# master and workers sync (one of them does, and another one when that ends); and Puma's own figures are
# gauges.
#
# Without `preload_app!`, a program that calls Tallyport.configure (a Rails application that has
# config/tallyport.toml does) says the same in config/puma.rb, after this line.
Puma::Plugin.create do
  def config(puma)
    # With preload the application is there, and has configured what is opened.
    puma.before_fork { Tallyport.engine }
    puma.on_worker_boot { Tallyport.start_sync }
  end

  def start(launcher)
    @launcher = launcher
    # A single process has its application, and with it perhaps a store of its own, from then on.
    launcher.events.on_booted { guarded { Tallyport.start_sync } }
    in_background { watch }
  end

  private

  # In the master of a cluster, and in a single process.
  def watch
    loop do
      sleep 5
      guarded { record(@launcher.stats) }
    end
  end

  # `error` of Puma's events would end the server.
  def guarded
    yield
  rescue StandardError => e
    @launcher.events.log("! tallyport: #{e.class}: #{e.message}")
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
