# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

$LOAD_PATH.unshift(File.expand_path("../lib", __dir__))

require "json"
require "tmpdir"
require "tallyport"

# TALLYPORT_EXTENSION=on says that the extension was built for this run.
abort "the C extension is not in use" if ENV["TALLYPORT_EXTENSION"] == "on" && !Tallyport::Extension.loaded?

# What specs share.
module SpecTools
  # Lines of the Prometheus text that begin so.
  def lines(start, text = Tallyport.export)
    text.lines.map(&:chomp).select { |line| line.start_with?(start) }
  end

  # The sum of the values of the lines that begin so.
  def sum(start, text = Tallyport.export) = lines(start, text).sum { |line| line.split.last.to_f }

  # Another Ruby with the gem; fails with all that it said.
  def ruby(code, env: {}, options: [])
    output = IO.popen([env, RbConfig.ruby, "-W:no-deprecated", "-I", File.expand_path("../lib", __dir__), *options,
                       "-e", code, { err: %i[child out] }], &:read)
    [output, $?]
  end

  # Waits for something that another thread or process does.
  def eventually(seconds = 20)
    deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + seconds
    until (found = yield)
      raise "waited in vain for #{seconds} s" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline

      sleep 0.01
    end
    found
  end
end

RSpec.configure do |config|
  config.include SpecTools
  config.disable_monkey_patching!
  config.order = :random
  config.before { Tallyport.reset! }
end
