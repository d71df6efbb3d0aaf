# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

# One contender of `cargo xtask bench ruby`, in a process of its own: contender.rb NAME.
#
# Each line of stdin is a number of operations; the answer is "NANOSECONDS OBJECTS", for all of them.
# Nanoseconds are CPU time. The loop's own is measured in the same round and taken off.

name = ARGV.fetch(0)

# Loads what a contender needs and gives the loop over it, as text: a block would cost a call more.
def contender(name)
  case name
  when "method" then tallyport('hits = Tallyport.counter(:hits_total, method: "GET")', "hits.increment")
  when "function"
    tallyport('hits = Tallyport.counter(:hits_total, method: "GET"); handle = hits.handle', "Tallyport::Native.counter_add(handle, 1)")
  when "constant"
    tallyport('labels = { method: "GET", code: 200 }.freeze', "Tallyport.counter(:hits_total, labels).increment")
  when "labels"
    tallyport('verb = "GET"; code = 200', "Tallyport.counter(:hits_total, method: verb, code: code).increment")
  when "observe" then tallyport("took = Tallyport.histogram(:took_seconds)", "took.observe(0.25)")
  when "mmap" then mmap('hits = registry.counter(:hits_total, "Hits"); labels = { method: "GET" }.freeze', "hits.increment(labels)")
  when "mmap_labels"
    mmap('hits = registry.counter(:hits_total, "Hits"); verb = "GET"; code = 200', "hits.increment({ method: verb, code: code })")
  when "mmap_observe" then mmap('took = registry.histogram(:took_seconds, "Took")', "took.observe({}, 0.25)")
  when "nothing"
    require "ffi"
    ['Nothing = Module.new { extend FFI::Library; ffi_lib FFI::Library::LIBC; attach_function :labs, %i[uint64 uint64], :void }; handle = 0x1100_0000_0000_0000',
     "Nothing.labs(handle, 1)"]
  when "hash"
    ['lock = Mutex.new; counts = Hash.new(0); labels = { method: "GET" }.freeze', "lock.synchronize { counts[labels] += 1 }"]
  when "hash_labels"
    ['lock = Mutex.new; counts = Hash.new(0); verb = "GET"; code = 200',
     "key = { method: verb, code: code }; lock.synchronize { counts[key] += 1 }"]
  else abort "no contender #{name}"
  end
end

def tallyport(setup, operation)
  require "tallyport"
  wanted = ENV["TALLYPORT_EXTENSION"] == "on"
  abort "extension: #{Tallyport::Extension.loaded?}" if Tallyport::Extension.loaded? != wanted
  [setup, operation]
end

def mmap(setup, operation)
  require "prometheus/client"
  require "tmpdir"
  folder = Dir.mktmpdir("tallyport-bench")
  at_exit { FileUtils.rm_rf(folder) }
  Prometheus::Client.configuration.multiprocess_files_dir = folder
  ["registry = Prometheus::Client.registry; #{setup}", operation]
end

setup, operation = contender(name)
clock = "Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID, :nanosecond)"
loops = eval(<<~RUBY, binding, __FILE__, __LINE__ + 1) # rubocop:disable Security/Eval
  # frozen_string_literal: true
  #{setup}
  measured = lambda do |times|
    i = 0
    before = GC.stat(:total_allocated_objects)
    begun = #{clock}
    while i < times
      #{operation}
      i += 1
    end
    [#{clock} - begun, GC.stat(:total_allocated_objects) - before]
  end
  empty = lambda do |times|
    i = 0
    begun = #{clock}
    while i < times
      i += 1
    end
    #{clock} - begun
  end
  [measured, empty]
RUBY

measured, empty = loops
measured.call(1000)
$stdout.sync = true
puts "ready"
while (line = $stdin.gets)
  times = line.to_i
  nanoseconds, objects = measured.call(times)
  puts "#{[nanoseconds - empty.call(times), 0].max} #{objects}"
end
