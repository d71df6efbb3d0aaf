# SPDX-License-Identifier: MIT OR Apache-2.0
require "tallyport"

Tallyport.configure { |c| c.config = ENV.fetch("TALLYPORT_TEST_CONFIG", nil) }
REQUESTS = Tallyport.counter(:requests_total)
LEVEL = Tallyport.gauge(:level)

use Tallyport::Rack

run lambda { |env|
  if env["PATH_INFO"] == "/pid"
    [200, { "Content-Type" => "text/plain" }, [Process.pid.to_s]]
  else
    REQUESTS.increment
    # A series of each worker, made when it is there.
    Tallyport.counter(:here_total, worker: Process.pid).increment
    LEVEL.set(1)
    [200, { "Content-Type" => "text/plain" }, ["ok"]]
  end
}
