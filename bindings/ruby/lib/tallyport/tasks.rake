# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

# Loaded by the Railtie; without Rails: `load "tallyport/tasks.rake"` in a Rakefile.
#
#     rake tallyport:export_metrics_now[prometheus]   METRICS_FORMAT=json OUTPUT=metrics.json VERBOSE=1
#
# A task is a process of its own. What the servers recorded it sees through a store of the
# configuration, or through the file of `share = "file"`.
namespace :tallyport do
  # In Rails the application is loaded first, and with it the configuration.
  setup = Rake::Task.task_defined?(:environment) || defined?(Rails) ? [:environment] : []

  format_of = lambda do |arguments|
    named = [arguments[:format], ENV.fetch("METRICS_FORMAT", nil)].compact.reject(&:empty?)
    named.first || "prometheus"
  end
  verbose = -> { !["", "0", "false"].include?(ENV.fetch("VERBOSE", "")) }

  desc "Exports the metrics with the background job (METRICS_FORMAT, OUTPUT=file, VERBOSE)"
  task :export_metrics, [:format] => setup do |_, arguments|
    require "tallyport/export_job"
    format = format_of.call(arguments)
    job = Tallyport::ExportJob.perform_later(format, ENV.fetch("OUTPUT", nil))
    abort "tallyport: the job was not enqueued" unless job
    warn "tallyport: enqueued #{job.class} #{job.job_id} (#{format}) on #{job.queue_name}" if verbose.call
  end

  desc "Exports the metrics here and now, to stdout or a file (METRICS_FORMAT, OUTPUT=file, VERBOSE)"
  task :export_metrics_now, [:format] => setup do |_, arguments|
    require "tallyport/export"
    result = Tallyport::Export.run(format_of.call(arguments), output: ENV.fetch("OUTPUT", $stdout))
    if verbose.call
      scope = result.shared ? "all instances" : "this instance"
      warn format("tallyport: %s of %s: %d bytes in %.3f s", result.format, scope, result.bytes, result.seconds)
    end
  rescue Tallyport::Error, SystemCallError => e
    abort "tallyport: #{e.message}"
  end

  # The named targets, or every enabled one.
  targets_of = lambda do |arguments|
    named = arguments.to_a.reject(&:empty?)
    named = Tallyport.engine.targets.select { |target| target["enabled"] }.map { |target| target["name"] } if named.empty?
    abort "tallyport: the configuration has no enabled target" if named.empty?
    named
  end

  desc "Exports targets of the configuration with the background job: all, or those that are named (VERBOSE)"
  task :export_targets, [:target] => setup do |_, arguments|
    require "tallyport/target_job"
    targets_of.call(arguments).each do |target|
      job = Tallyport::TargetJob.perform_later(target)
      abort "tallyport: the job of #{target} was not enqueued" unless job
      warn "tallyport: enqueued #{job.class} #{job.job_id} (#{target}) on #{job.queue_name}" if verbose.call
    end
  rescue Tallyport::Error => e
    abort "tallyport: #{e.message}"
  end

  desc "Exports targets of the configuration here and now: all, or those that are named (VERBOSE)"
  task :export_targets_now, [:target] => setup do |_, arguments|
    require "tallyport"
    runs = targets_of.call(arguments).map { |target| Tallyport.export_target(target) }
    runs.each { |run| warn "tallyport: #{run}" if run.failed? || verbose.call }
    abort "tallyport: #{runs.count(&:failed?)} of #{runs.size} targets failed" if runs.any?(&:failed?)
  rescue Tallyport::Error => e
    abort "tallyport: #{e.message}"
  end

  desc "Writes what changed to the store of the configuration (VERBOSE)"
  task sync_metrics: setup do
    require "tallyport"
    Tallyport.sync
    warn "tallyport: #{Tallyport.status["sync"].to_json}" if verbose.call
  rescue Tallyport::Error => e
    abort "tallyport: #{e.message}"
  end

  desc "Shows the state of the metrics; VERBOSE=1: all of it, as JSON"
  task metrics_status: setup do
    require "tallyport"
    status = Tallyport.status
    if verbose.call
      puts JSON.pretty_generate(status)
    else
      puts "families: #{status["families"].size}, series: #{status["families"].sum { |family| family.fetch("series", 0) }}"
      puts "dropped: #{status["dropped"].map { |reason, count| "#{reason} #{count}" }.join(", ")}"
      puts "store: #{status["sync"]["store"]} (#{status["sync"]["strategy"]}), syncs: #{status["sync"]["syncs"]}, failures: #{status["sync"]["failures"]}"
      status["plugins"].each { |plugin| puts "exporter #{plugin["name"]}: #{plugin["state"]}, #{plugin["exports"]} exports, #{plugin["failures"]} failures" }
    end
  rescue Tallyport::Error => e
    abort "tallyport: #{e.message}"
  end
end
