/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * tallyport_collectors.hpp: functions that are asked for values when a snapshot is taken. Included by
 * tallyport.hpp.
 *
 *     auto depth = engine.gauge_function("queue_depth", [&] { return double(queue.size()); },
 *                                        {{"queue", "mail"}});       // until `depth` goes
 *
 * - A function runs on the thread that takes the snapshot (or exports), on one at a time. Do not take
 *   one with a lock held that the function takes.
 * - Its object waits for a call that runs when it goes: what the function refers to may go then. Inside
 *   a collect function it does not wait.
 * - An exception that leaves the function is a failure, counted and logged; the series keeps its value.
 */
#ifndef TALLYPORT_COLLECTORS_HPP
#define TALLYPORT_COLLECTORS_HPP

#include "tallyport_base.hpp"
#include "tallyport_metrics.hpp"

#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>

namespace tallyport {

/// A collect function, which ends with this object.
class collector : public detail::owned<tallyport_collector, tallyport_collector_free> {
public:
    using owned::owned;
};

/// How a collect function is registered; see tallyport_collector_options.
struct collector_options {
    /// TALLYPORT_THREADS_ANY: on threads of the library too; 0: on those of the host only.
    std::uint32_t threads = 0;
};

namespace detail {

/// Calls a collect function; 1 for one that throws.
template <class Function, class Give> std::int32_t ask(void *function, Give give) {
#ifdef TALLYPORT_NO_EXCEPTIONS
    give(*static_cast<Function *>(function));
#else
    try {
        give(*static_cast<Function *>(function));
    } catch (...) {
        return 1;
    }
#endif
    return 0;
}

template <class T> std::int32_t ask_value(void *function, T *value) {
    using Function = std::function<T()>;
    return ask<Function>(function, [value](Function &known) { *value = known(); });
}

inline std::int32_t ask_all(void *function) {
    return ask<std::function<void()>>(function, [](std::function<void()> &known) { known(); });
}

template <class Function> void drop_function(void *function) {
    delete static_cast<Function *>(function);
}

/// The options of a collect function; the library takes the function with them, whatever it answers.
/// One that is empty is none: NULL_ARGUMENT.
template <class T>
tallyport_collector_options asked(std::string_view name, const labels &of,
                                  std::function<T()> function, const collector_options &options) {
    tallyport_collector_options raw = {};
    raw.size = sizeof raw;
    raw.name = str(name);
    raw.labels = of.data();
    raw.label_count = of.size();
    raw.threads = options.threads;
    if (!function) return raw;
    raw.data = new std::function<T()>(std::move(function));
    raw.free_data = drop_function<std::function<T()>>;
    if constexpr (std::is_same_v<T, double>)
        raw.gauge = ask_value<double>;
    else if constexpr (std::is_same_v<T, std::uint64_t>)
        raw.counter = ask_value<std::uint64_t>;
    else
        raw.collect = ask_all;
    return raw;
}

} // namespace detail

} // namespace tallyport

#endif /* TALLYPORT_COLLECTORS_HPP */
