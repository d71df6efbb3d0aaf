# SPDX-License-Identifier: MIT OR Apache-2.0
require_relative "tallyport"

Tallyport.start(ENV["TALLYPORT_TEST_CONFIG"])

run lambda { |env|
  case env["PATH_INFO"]
  when "/metrics" then [200, { "Content-Type" => "text/plain" }, [Tallyport.export]]
  when "/pid" then [200, { "Content-Type" => "text/plain" }, [Process.pid.to_s]]
  else
    Tallyport.count
    Tallyport.count_here
    [200, { "Content-Type" => "text/plain" }, ["ok"]]
  end
}
