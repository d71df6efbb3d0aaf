/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * tallyport_events.hpp: what tallyport.hpp's engine publishes and delivers. Included by it.
 *
 *     auto told = engine.subscribe("task.*", [](const tallyport::event &event) {
 *         std::cout << event.name() << '\n';
 *     });                                        // until `told` goes
 *     engine.publish("task.completed", {{"task_id", 7}, {"duration", 0.25}});
 *
 * - A subscription ends with its object, which waits for the function's running calls; inside an
 *   event's function it does not. The function goes when nothing can call it any more.
 * - An exception that leaves a listener's function is a failure of the listener, counted and
 *   logged; one that leaves the function of a drain stops it and is thrown on.
 */

#ifndef TALLYPORT_EVENTS_HPP
#define TALLYPORT_EVENTS_HPP

#include "tallyport_base.hpp"

#include <functional>
#include <initializer_list>
#include <optional>

namespace tallyport {

/// A field of an event that is published: a name and a value, both borrowed for the call.
class field : public tallyport_event_field {
public:
    field(std::string_view key, std::nullptr_t) noexcept : field(TALLYPORT_FIELD_NULL, key) {}
    field(std::string_view key, std::string_view value) noexcept
        : field(TALLYPORT_FIELD_STR, key, 0, 0, value) {}
    field(std::string_view key, const std::string &value) noexcept
        : field(key, std::string_view(value)) {}
    field(std::string_view key, const char *value) noexcept
        : field(key, std::string_view(value)) {}
    field(std::string_view key, double value) noexcept
        : field(TALLYPORT_FIELD_F64, key, 0, value) {}
    field(std::string_view key, bool value) noexcept
        : field(TALLYPORT_FIELD_BOOL, key, value ? 1 : 0) {}
    template <class T, class = std::enable_if_t<std::is_integral_v<T>>>
    field(std::string_view key, T value) noexcept
        : field(std::is_signed_v<T> ? TALLYPORT_FIELD_I64 : TALLYPORT_FIELD_U64, key,
                static_cast<std::int64_t>(value)) {}

    /// A value that is given as JSON text.
    static field json(std::string_view key, std::string_view value) noexcept {
        return field(TALLYPORT_FIELD_JSON, key, 0, 0, value);
    }

private:
    field(std::uint32_t kind, std::string_view of, std::int64_t whole = 0, double real = 0,
          std::string_view words = {}) noexcept
        : tallyport_event_field{detail::str(of), kind, 0, whole, real, detail::str(words)} {}
};
static_assert(sizeof(field) == sizeof(tallyport_event_field), "an array of one is one of the other");

/// Fields of one event, borrowed for one call.
using fields = std::initializer_list<field>;

/// An event that is delivered; it and its texts are borrowed until the function returns.
class event {
public:
    explicit event(const tallyport_event *delivered) noexcept : raw_(delivered) {}

    std::string_view name() const noexcept { return detail::view(raw_->name); }
    /// Empty for an event that is not in the catalogue.
    std::string_view category() const noexcept { return detail::view(raw_->category); }
    std::string_view correlation_id() const noexcept { return detail::view(raw_->correlation_id); }
    /// Nanoseconds since the Unix epoch.
    std::uint64_t timestamp_ns() const noexcept { return raw_->timestamp_ns; }

    const tallyport_event_field *begin() const noexcept { return raw_->fields; }
    const tallyport_event_field *end() const noexcept { return raw_->fields + raw_->field_count; }
    /// The field of that name, the first of several; NULL when there is none.
    const tallyport_event_field *find(std::string_view wanted) const noexcept {
        for (const tallyport_event_field &known : *this)
            if (detail::view(known.name) == wanted) return &known;
        return nullptr;
    }
    /// The text, or the JSON, of a field; empty when there is none.
    std::string_view text(std::string_view wanted) const noexcept {
        const tallyport_event_field *known = find(wanted);
        return known ? detail::view(known->text) : std::string_view();
    }
    /// The number in a field.
    std::optional<double> number(std::string_view wanted) const noexcept {
        const tallyport_event_field *known = find(wanted);
        switch (known ? known->type : TALLYPORT_FIELD_NULL) {
        case TALLYPORT_FIELD_I64: return static_cast<double>(known->integer);
        case TALLYPORT_FIELD_U64:
            return static_cast<double>(static_cast<std::uint64_t>(known->integer));
        case TALLYPORT_FIELD_F64: return known->number;
        default: return std::nullopt;
        }
    }

private:
    const tallyport_event *raw_;
};

/// A function that is told of events, on the publisher's thread.
using event_function = std::function<void(const event &)>;

/// How a subscription is made; see tallyport_listener_options.
struct subscribe_options {
    std::string_view name;
    std::uint64_t queue_events = 0;
    std::uint64_t queue_bytes = 0;
};

namespace detail {

/// Calls a listener's function.
inline std::int32_t deliver(void *function, const tallyport_event *raw) {
#ifdef TALLYPORT_NO_EXCEPTIONS
    (*static_cast<event_function *>(function))(event(raw));
#else
    try {
        (*static_cast<event_function *>(function))(event(raw));
    } catch (...) {
        return 1;
    }
#endif
    return 0;
}

inline void forget(void *function) { delete static_cast<event_function *>(function); }

/// The options of a listener; the library takes the function with them, whatever it answers.
inline tallyport_listener_options listener(std::string_view events, event_function function,
                                           const subscribe_options &options) {
    tallyport_listener_options raw = {};
    raw.size = sizeof raw;
    raw.name = str(options.name);
    raw.events = str(events);
    raw.queue_events = options.queue_events;
    raw.queue_bytes = options.queue_bytes;
    if (function) {
        raw.data = new event_function(std::move(function));
        raw.function = deliver;
        raw.free_data = forget;
    }
    return raw;
}

} // namespace detail

/// A subscription, which ends with this object.
class subscription : public detail::owned<tallyport_subscription, tallyport_subscription_free> {
public:
    using owned::owned;

    /// Hands events of the queue to `function(const event &)` on this thread, oldest first.
    ///
    /// Waits up to `timeout_ms` for the first; takes `max` at most, 0 for what there is. False when
    /// none came in time. CLOSED when the engine ended and the queue is empty.
    template <class Function>
    returned<bool> drain(Function &&function, std::uint64_t timeout_ms = 0,
                         std::uint64_t max = 0) const {
        detail::told<std::remove_reference_t<Function>> to{&function, {}};
        const auto call = [](void *data, const tallyport_event *raw) -> std::int32_t {
            return static_cast<decltype(to) *>(data)->call(event(raw));
        };
        tallyport_error *err = nullptr;
        const tallyport_status code =
            tallyport_subscription_drain(get(), call, &to, max, timeout_ms, &err);
        to.rethrow(err);
        if (code == TALLYPORT_TIMEOUT) {
            tallyport_error_free(err);
            return false;
        }
        if (code != TALLYPORT_OK) return detail::failed<bool>(code, err);
        return true;
    }
    /// The oldest event of the queue as JSON; empty when none came in time.
    returned<std::string> next(std::uint64_t timeout_ms = 0) const {
        detail::buffer out;
        tallyport_error *err = nullptr;
        const tallyport_status code =
            tallyport_subscription_next(get(), timeout_ms, out.raw(), &err);
        if (code == TALLYPORT_TIMEOUT) {
            tallyport_error_free(err);
            return std::string();
        }
        return detail::text(code, out, err);
    }
    /// JSON: what it is and did.
    returned<std::string> status() const {
        detail::buffer out;
        tallyport_error *err = nullptr;
        return detail::text(tallyport_subscription_status(get(), out.raw(), &err), out, err);
    }
};

/// An event of the catalogue that was looked up once.
class topic : public detail::owned<tallyport_topic, tallyport_topic_free> {
public:
    using owned::owned;

    returned<void> publish(fields of, std::string_view correlation_id = {}) const {
        tallyport_error *err = nullptr;
        return detail::done(tallyport_topic_publish(get(), detail::str(correlation_id), of.begin(),
                                                    of.size(), &err),
                            err);
    }
    /// Whether anybody listens.
    bool is_heard() const noexcept { return tallyport_topic_is_heard(get()) != 0; }
};

} // namespace tallyport

#endif /* TALLYPORT_EVENTS_HPP */
