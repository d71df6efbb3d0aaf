// SPDX-License-Identifier: MIT OR Apache-2.0
// hello.cpp: the shortest host in C++. It counts, takes a time, and prints what Prometheus scrapes.
#include "tallyport.hpp"

#include <iostream>

int main() try {
    tallyport::engine engine; // {"tallyport.toml"} would load the exporters of that file
    auto hits = engine.counter("http_requests_total", {{"method", "GET"}});
    auto took = engine.histogram("http_request_seconds");
    {
        auto timer = took.start_timer(); // observes the seconds until the end of its scope
        hits.add(1);                     // any thread, async-signal-safe, cannot fail
    }
    std::cout << engine.export_to_string("prometheus");
} catch (const tallyport::error &error) {
    std::cerr << "hello: " << error.what() << '\n';
    return 1;
}
