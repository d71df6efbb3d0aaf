// SPDX-License-Identifier: MIT OR Apache-2.0
// The same host in C++17, compiled with exceptions and, with TALLYPORT_NO_EXCEPTIONS, without.
#include <tallyport.hpp>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#ifdef TALLYPORT_NO_EXCEPTIONS
/// The value; without one the program ends.
template <class T> T got(tallyport::result<T> &&made) {
    if (!made) {
        std::fprintf(stderr, "%s\n", made.failure().what());
        std::exit(1);
    }
    return std::move(*made);
}
#else
template <class T> T got(T &&made) { return std::forward<T>(made); }
#endif

int main() {
    auto engine = got(tallyport::engine::open(tallyport::engine_options()));
    auto hits = got(engine.counter("http_requests_total", {{"method", "GET"}}));
    auto took = got(engine.histogram("http_request_seconds", {}, {60}));
    const int waiting = 3;
    auto depth = got(engine.gauge_function("queue_depth", [&] { return double(waiting); }));
    {
        auto timer = took.start_timer();
        hits.add(2);
    }
    if (took.count() != 1) return 4;
    const std::string text = got(engine.export_to_string("prometheus"));
    std::fwrite(text.data(), 1, text.size(), stdout);
#ifdef PLANTED_BUG
    auto gone = std::make_unique<char[]>(8);
    const volatile char *kept = gone.get();
    gone.reset();
    return *kept;
#else
    return 0;
#endif
}
