# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

# hello.rb: the shortest host in Ruby. It counts, observes, and prints what Prometheus scrapes.
#
#     ruby examples/hello.rb                        with the gem installed; out of the tree:
#     TALLYPORT_LIBRARY=target/release/libtallyport.so ruby -I bindings/ruby/lib examples/hello.rb

require "tallyport"

hits = Tallyport.counter(:http_requests_total, method: "GET")
took = Tallyport.histogram(:http_request_seconds)

hits.increment # any thread, also in a trap handler
took.observe(0.042)

print Tallyport.export(:prometheus)
