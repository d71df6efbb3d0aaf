/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * tallyport_log_ring.hpp: messages that wait until the host takes them. Included by tallyport.hpp.
 *
 *     auto ring = tallyport::log_ring::make();
 *     tallyport::engine_options options;
 *     options.log_ring = &ring;
 *     ...
 *     ring.drain([](const tallyport::log_line &line) { std::clog << line.message << '\n'; });
 */
#ifndef TALLYPORT_LOG_RING_HPP
#define TALLYPORT_LOG_RING_HPP

#include "tallyport_base.hpp"

#include <cstdint>
#include <exception>
#include <string_view>
#include <type_traits>

namespace tallyport {

/// A message; its texts are borrowed until the function returns.
struct log_line {
    /// TALLYPORT_LOG_*.
    int level;
    std::uint64_t timestamp_ns;
    std::string_view target;
    std::string_view message;
};

/// Keeps the last messages of engines. Where there is no room the oldest one goes, and is counted.
class log_ring : public detail::owned<tallyport_log_ring, tallyport_log_ring_free> {
public:
    using owned::owned;

    /// 0: 1024 lines, 1 MiB.
    static returned<log_ring> make(std::uint64_t lines = 0, std::uint64_t bytes = 0) {
        tallyport_log_ring_options raw = {};
        raw.size = sizeof raw;
        raw.lines = lines;
        raw.bytes = bytes;
        tallyport_log_ring *made = nullptr;
        tallyport_error *err = nullptr;
        const tallyport_status code = tallyport_log_ring_new(&raw, &made, &err);
        if (code != TALLYPORT_OK) return detail::failed<log_ring>(code, err);
        return log_ring(made);
    }

    /// Hands lines to `function(const log_line &)` on this thread, oldest first: `max` at most, 0 for
    /// all. An exception that leaves it stops that, and is thrown on.
    template <class Function>
    returned<void> drain(Function &&function, std::uint64_t max = 0) const {
        detail::told<std::remove_reference_t<Function>> to{&function, {}};
        tallyport_error *err = nullptr;
        const auto call = [](void *data, const tallyport_log_line *raw) -> std::int32_t {
            return static_cast<decltype(to) *>(data)->call(log_line{
                raw->level, raw->timestamp_ns, detail::view(raw->target), detail::view(raw->message)});
        };
        const tallyport_status code = tallyport_log_ring_drain(get(), call, &to, max, &err);
        to.rethrow(err);
        return detail::done(code, err);
    }
    /// The oldest line as JSON; empty when there is none.
    returned<std::string> next() const {
        detail::buffer out;
        tallyport_error *err = nullptr;
        return detail::text(tallyport_log_ring_next(get(), out.raw(), &err), out, err);
    }
    /// Lines that there was no room for.
    std::uint64_t dropped() const noexcept { return tallyport_log_ring_dropped(get()); }
};

} // namespace tallyport

#endif /* TALLYPORT_LOG_RING_HPP */
