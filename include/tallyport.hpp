/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * tallyport.hpp: libtallyport for C++17, on top of tallyport.h; nothing to link but the library.
 *
 *     tallyport::engine engine{"tallyport.toml"};            // throws tallyport::error
 *     auto hits = engine.counter("http_requests_total", {{"method", "GET"}});
 *     auto took = engine.histogram("request_seconds");
 *     { auto timer = took.start_timer(); handle(); }
 *     std::string text = engine.export_to_string("openmetrics");
 *
 * - Objects own their handle: movable, not copyable, freed at the end of their scope.
 * - Recording (add, sub, set, observe, value) is noexcept and may be called from any thread, in
 *   signal handlers and in a forked child. A moved-from object records nothing, and is counted
 *   by tallyport::misuse_count.
 * - With TALLYPORT_NO_EXCEPTIONS, what would throw returns tallyport::result<T> instead, and an
 *   engine is opened by engine::open alone.
 * - An exception that leaves a log function is dropped; one that leaves the function of an export
 *   stops the export and is thrown on by it.
 */

#ifndef TALLYPORT_HPP
#define TALLYPORT_HPP

#include "tallyport_base.hpp"
#include "tallyport_collectors.hpp"
#include "tallyport_events.hpp"
#include "tallyport_families.hpp"
#include "tallyport_log_ring.hpp"
#include "tallyport_metrics.hpp"
#include "tallyport_options.hpp"
#include "tallyport_store.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace tallyport {

/// Metrics at one time.
class snapshot : public detail::owned<tallyport_snapshot_handle, tallyport_snapshot_free> {
public:
    using owned::owned;

    /// Reads a snapshot file.
    static returned<snapshot> load(std::string_view path) {
        tallyport_snapshot_handle *loaded = nullptr;
        tallyport_error *err = nullptr;
        const tallyport_status code = tallyport_snapshot_load(detail::str(path), &loaded, &err);
        if (code != TALLYPORT_OK) return detail::failed<snapshot>(code, err);
        return snapshot(loaded);
    }

    /// Writes it to a file, atomically.
    returned<void> save(std::string_view path) const {
        tallyport_error *err = nullptr;
        return detail::done(tallyport_snapshot_save(get(), detail::str(path), &err), err);
    }
    std::uint64_t series_count() const noexcept { return tallyport_snapshot_series_count(get()); }
};

/// Metrics and exporters.
class engine {
public:
#ifndef TALLYPORT_NO_EXCEPTIONS
    /// No configuration.
    engine() : engine(open(engine_options())) {}
    /// From a configuration file.
    explicit engine(std::string_view config_path) : engine(open(config_path)) {}
    explicit engine(const engine_options &options) : engine(open(options)) {}
#endif
    engine(engine &&) noexcept = default;
    engine &operator=(engine &&other) noexcept {
        /* The old engine logs until it is closed, so it goes before its log function. */
        std::swap(handle_, other.handle_);
        std::swap(log_, other.log_);
        return *this;
    }
    engine(const engine &) = delete;
    engine &operator=(const engine &) = delete;
    ~engine() = default;

    static returned<engine> open(std::string_view config_path) {
        engine_options options;
        options.config_path = config_path;
        return open(options);
    }

    static returned<engine> open(const engine_options &options) {
        auto log = options.log ? std::make_unique<log_function>(options.log) : nullptr;
        tallyport_engine_options raw = {};
        raw.size = sizeof raw;
        raw.config_path = detail::str(options.config_path);
        raw.config_toml = detail::str(options.config_toml);
        raw.base_dir = detail::str(options.base_dir);
        raw.service_name = detail::str(options.service_name);
        raw.log_fn = log ? log_line : nullptr;
        raw.log_data = log.get();
        raw.log_level = options.log_level;
        raw.max_series = options.max_series;
        raw.max_series_per_family = options.max_series_per_family;
        raw.max_cell_bytes = options.max_cell_bytes;
        raw.cells = options.cells;
        raw.default_bounds = options.default_bounds.data();
        raw.default_bound_count = options.default_bounds.size();
        raw.max_label_bytes = options.max_label_bytes;
        raw.series_idle_timeout_s = options.series_idle_timeout_s;
        raw.arena = detail::str(options.arena);
        raw.share = options.share;
        raw.log_ring = options.log_ring ? options.log_ring->get() : nullptr;
        tallyport_engine *opened = nullptr;
        tallyport_error *err = nullptr;
        const tallyport_status code = tallyport_engine_open_with(&raw, &opened, &err);
        if (code != TALLYPORT_OK) return detail::failed<engine>(code, err);
        return engine(std::move(log), opened);
    }

    returned<tallyport::counter> counter(std::string_view name, const labels &of = {}) const {
        return series<tallyport::counter>(tallyport_counter_get, name, of);
    }
    returned<tallyport::counter_f64> counter_f64(std::string_view name, const labels &of = {}) const {
        return series<tallyport::counter_f64>(tallyport_counter_f64_get, name, of);
    }
    returned<tallyport::up_down_counter> up_down_counter(std::string_view name,
                                                         const labels &of = {}) const {
        return series<tallyport::up_down_counter>(tallyport_up_down_counter_get, name, of);
    }
    returned<tallyport::up_down_counter_f64> up_down_counter_f64(std::string_view name,
                                                                 const labels &of = {}) const {
        return series<tallyport::up_down_counter_f64>(tallyport_up_down_counter_f64_get, name, of);
    }
    returned<tallyport::gauge> gauge(std::string_view name, const labels &of = {}) const {
        return series<tallyport::gauge>(tallyport_gauge_get, name, of);
    }
    /// No bounds: those of the family, or the engine's default for a new one.
    returned<tallyport::histogram> histogram(std::string_view name, const labels &of = {},
                                             const std::vector<double> &bounds = {}) const {
        tallyport_histogram *made = nullptr;
        tallyport_error *err = nullptr;
        const tallyport_status code =
            tallyport_histogram_get(get(), detail::str(name), bounds.data(), bounds.size(),
                                    of.data(), of.size(), &made, &err);
        if (code != TALLYPORT_OK) return detail::failed<tallyport::histogram>(code, err);
        return tallyport::histogram(made);
    }

    /// Families by label values: `engine.counter_family("hits_total", {"method"}).inc({"GET"})`.
    returned<tallyport::counter_family> counter_family(std::string_view name,
                                                       const texts &label_names) const {
        return series<tallyport::counter_family>(tallyport_counter_family_get, name, label_names);
    }
    returned<tallyport::counter_f64_family> counter_f64_family(std::string_view name,
                                                               const texts &label_names) const {
        return series<tallyport::counter_f64_family>(tallyport_counter_f64_family_get, name,
                                                     label_names);
    }
    returned<tallyport::up_down_counter_family>
    up_down_counter_family(std::string_view name, const texts &label_names) const {
        return series<tallyport::up_down_counter_family>(tallyport_up_down_counter_family_get, name,
                                                         label_names);
    }
    returned<tallyport::up_down_counter_f64_family>
    up_down_counter_f64_family(std::string_view name, const texts &label_names) const {
        return series<tallyport::up_down_counter_f64_family>(
            tallyport_up_down_counter_f64_family_get, name, label_names);
    }
    returned<tallyport::gauge_family> gauge_family(std::string_view name,
                                                   const texts &label_names) const {
        return series<tallyport::gauge_family>(tallyport_gauge_family_get, name, label_names);
    }
    /// No bounds: those of the family, or the engine's default for a new one.
    returned<tallyport::histogram_family>
    histogram_family(std::string_view name, const texts &label_names,
                     const std::vector<double> &bounds = {}) const {
        tallyport_histogram_family *made = nullptr;
        tallyport_error *err = nullptr;
        const tallyport_status code = tallyport_histogram_family_get(
            get(), detail::str(name), bounds.data(), bounds.size(), label_names.data(),
            label_names.size(), &made, &err);
        if (code != TALLYPORT_OK) return detail::failed<tallyport::histogram_family>(code, err);
        return tallyport::histogram_family(made);
    }

    /// The gauge is what `function` answers whenever a snapshot is taken, until the collector goes.
    returned<collector> gauge_function(std::string_view name, std::function<double()> function,
                                       const labels &of = {},
                                       const collector_options &options = {}) const {
        return collected(detail::asked(name, of, std::move(function), options));
    }
    /// The counter follows the total that `function` answers.
    returned<collector> counter_function(std::string_view name,
                                         std::function<std::uint64_t()> function,
                                         const labels &of = {},
                                         const collector_options &options = {}) const {
        return collected(detail::asked(name, of, std::move(function), options));
    }
    returned<collector> counter_f64_function(std::string_view name, std::function<double()> function,
                                             const labels &of = {},
                                             const collector_options &options = {}) const {
        tallyport_collector_options raw = detail::asked(name, of, std::move(function), options);
        std::swap(raw.gauge, raw.counter_f64);
        return collected(raw);
    }
    /// `function` records what it likes before a snapshot; `name` is what it is called in lists.
    returned<collector> collect_function(std::string_view name, std::function<void()> function,
                                         const collector_options &options = {}) const {
        return collected(detail::asked(name, {}, std::move(function), options));
    }
    /// JSON: the collect functions, with what they did.
    returned<std::string> collectors() const {
        detail::buffer out;
        tallyport_error *err = nullptr;
        return detail::text(tallyport_collectors_list(get(), out.raw(), &err), out, err);
    }

    returned<void> describe(const family_options &options) const {
        tallyport_family_options raw = {};
        raw.size = sizeof raw;
        raw.name = detail::str(options.name);
        raw.kind = options.kind;
        raw.number = options.number;
        raw.help = detail::str(options.help);
        raw.unit = detail::str(options.unit);
        raw.bounds = options.bounds.data();
        raw.bound_count = options.bounds.size();
        raw.cells = options.cells;
        raw.gauge_mode = options.gauge_mode;
        tallyport_error *err = nullptr;
        return detail::done(tallyport_family_describe(get(), &raw, &err), err);
    }
    returned<void> remove(std::string_view name, const labels &of) const {
        tallyport_error *err = nullptr;
        return detail::done(
            tallyport_series_remove(get(), detail::str(name), of.data(), of.size(), &err), err);
    }
    returned<void> clear(std::string_view name) const {
        tallyport_error *err = nullptr;
        return detail::done(tallyport_family_clear(get(), detail::str(name), &err), err);
    }

    /// `selector`: an exporter's name, a format, or `name/format`.
    returned<std::string> export_to_string(std::string_view selector) const {
        detail::buffer out;
        tallyport_error *err = nullptr;
        return detail::text(tallyport_export(get(), detail::str(selector), out.raw(), &err), out, err);
    }
    returned<std::string> export_to_string(const tallyport::snapshot &taken,
                                           std::string_view selector) const {
        detail::buffer out;
        tallyport_error *err = nullptr;
        const tallyport_status code = tallyport_export_snapshot(
            get(), taken.get(), detail::str(selector), out.raw(), &err);
        return detail::text(code, out, err);
    }
    /// To a file descriptor, which stays yours.
    returned<void> export_to(int fd, std::string_view selector) const {
        tallyport_error *err = nullptr;
        return detail::done(tallyport_export_fd(get(), detail::str(selector), fd, &err), err);
    }
    /// To `write(std::string_view)`, piece by piece.
    template <class Write, class = std::enable_if_t<std::is_invocable_v<Write &, std::string_view>>>
    returned<void> export_to(Write &&write, std::string_view selector) const {
        detail::told<std::remove_reference_t<Write>> to{&write, {}};
        const auto call = [](void *data, const std::uint8_t *bytes, std::size_t len) -> std::int32_t {
            const std::string_view piece(reinterpret_cast<const char *>(bytes), len);
            return static_cast<decltype(to) *>(data)->call(piece);
        };
        tallyport_error *err = nullptr;
        const tallyport_status code =
            tallyport_export_cb(get(), detail::str(selector), call, &to, &err);
        to.rethrow(err);
        return detail::done(code, err);
    }

    returned<tallyport::snapshot> snapshot() const {
        tallyport_snapshot_handle *taken = nullptr;
        tallyport_error *err = nullptr;
        const tallyport_status code = tallyport_snapshot_take(get(), &taken, &err);
        if (code != TALLYPORT_OK) return detail::failed<tallyport::snapshot>(code, err);
        return tallyport::snapshot(taken);
    }

    /// Of all instances that share the configuration's store; syncs first.
    returned<tallyport::snapshot> shared_snapshot() const {
        tallyport_snapshot_handle *taken = nullptr;
        tallyport_error *err = nullptr;
        const tallyport_status code = tallyport_snapshot_take_shared(get(), &taken, &err);
        if (code != TALLYPORT_OK) return detail::failed<tallyport::snapshot>(code, err);
        return tallyport::snapshot(taken);
    }
    /// Shares through a store of the host's own, whose functions sync and the like call.
    returned<void> share_through(std::shared_ptr<store> given) const {
        return detail::attach(get(), std::move(given));
    }
    /// Writes what changed to the store.
    returned<void> sync() const {
        tallyport_error *err = nullptr;
        return detail::done(tallyport_sync(get(), &err), err);
    }
    /// Exports a target of the configuration, once: the report as JSON. A run that another process's
    /// lease made needless is no error; of one that failed, `status()` has the report.
    returned<std::string> export_target(std::string_view target, std::uint32_t attempt = 0) const {
        detail::buffer out;
        tallyport_error *err = nullptr;
        const tallyport_status code =
            tallyport_target_export(get(), detail::str(target), attempt, out.raw(), &err);
        return detail::text(code, out, err);
    }
    /// Starts a thread that exports the configuration's targets when they are due.
    returned<void> start_schedule() const {
        tallyport_error *err = nullptr;
        return detail::done(tallyport_schedule_start(get(), &err), err);
    }
    /// Ends it, after it exported every target for the last time; waits for that as long as `within`.
    returned<void> stop_schedule(std::chrono::milliseconds within) const {
        tallyport_error *err = nullptr;
        return detail::done(tallyport_schedule_stop(get(), detail::ms(within), &err), err);
    }
    /// Starts a thread that syncs at the configuration's interval.
    returned<void> start_sync() const {
        tallyport_error *err = nullptr;
        return detail::done(tallyport_sync_start(get(), &err), err);
    }
    /// Ends it, after the sync that it is in; waits for that as long as `within`.
    returned<void> stop_sync(std::chrono::milliseconds within) const {
        tallyport_error *err = nullptr;
        return detail::done(tallyport_sync_stop(get(), detail::ms(within), &err), err);
    }
    /// Syncs for the last time and retires this instance.
    returned<void> leave() const {
        tallyport_error *err = nullptr;
        return detail::done(tallyport_sync_leave(get(), &err), err);
    }

    /// Serves metrics over HTTP; `listen` as "127.0.0.1:0", empty: the configuration's.
    returned<void> start_serving(std::string_view listen = {}) const {
        tallyport_error *err = nullptr;
        return detail::done(tallyport_serve_start(get(), detail::str(listen), &err), err);
    }
    /// Where they are served.
    returned<std::string> serve_address() const {
        detail::buffer out;
        tallyport_error *err = nullptr;
        return detail::text(tallyport_serve_address(get(), out.raw(), &err), out, err);
    }
    /// What was asked is answered, for as long as `within`.
    returned<void> stop_serving(std::chrono::milliseconds within) const {
        tallyport_error *err = nullptr;
        return detail::done(tallyport_serve_stop(get(), detail::ms(within), &err), err);
    }

    returned<void> load_plugin(const plugin_options &options) const {
        const detail::plugin_entry entry(options);
        tallyport_error *err = nullptr;
        return detail::done(tallyport_plugin_load(get(), entry.raw(), &err), err);
    }
    returned<void> replace_plugin(const plugin_options &options) const {
        const detail::plugin_entry entry(options);
        tallyport_error *err = nullptr;
        return detail::done(tallyport_plugin_replace(get(), entry.raw(), &err), err);
    }
    /// Loads the file of an exporter anew; the old one serves until the new one does.
    returned<void> reload_plugin(std::string_view name) const {
        tallyport_error *err = nullptr;
        return detail::done(tallyport_plugin_reload(get(), detail::str(name), &err), err);
    }
    returned<void> unregister_plugin(std::string_view name) const {
        tallyport_error *err = nullptr;
        return detail::done(tallyport_plugin_unregister(get(), detail::str(name), &err), err);
    }
    /// An exporter of this program; `table` is static.
    returned<void> register_plugin(std::string_view name, const struct ::tallyport_plugin_v1 &table,
                                   std::string_view options_json = {}) const {
        tallyport_error *err = nullptr;
        return detail::done(tallyport_plugin_register(get(), detail::str(name), &table,
                                                      detail::str(options_json), &err),
                            err);
    }
    returned<void> flush_plugins() const {
        tallyport_error *err = nullptr;
        return detail::done(tallyport_plugins_flush(get(), &err), err);
    }
    /// JSON: the exporters with their statistics.
    returned<std::string> plugins() const {
        detail::buffer out;
        tallyport_error *err = nullptr;
        return detail::text(tallyport_plugins_list(get(), out.raw(), &err), out, err);
    }
    /// JSON: what every exporter, subscriber and handler did.
    returned<std::string> registry_statistics() const {
        detail::buffer out;
        tallyport_error *err = nullptr;
        return detail::text(tallyport_registries_statistics(get(), out.raw(), &err), out, err);
    }
    /// JSON: whether something is wrong with one of them, and what.
    returned<std::string> check_registries() const {
        detail::buffer out;
        tallyport_error *err = nullptr;
        return detail::text(tallyport_registries_check(get(), out.raw(), &err), out, err);
    }
    /// JSON: families, exporters, what was dropped or not loaded.
    returned<std::string> status() const {
        detail::buffer out;
        tallyport_error *err = nullptr;
        return detail::text(tallyport_engine_status(get(), out.raw(), &err), out, err);
    }

    /// Publishes an event: its listeners are called on this thread, or have it queued.
    returned<void> publish(std::string_view name, fields of = {},
                           std::string_view correlation_id = {}) const {
        tallyport_error *err = nullptr;
        return detail::done(tallyport_event_publish(get(), detail::str(name),
                                                    detail::str(correlation_id), of.begin(),
                                                    of.size(), &err),
                            err);
    }
    /// Looks an event of the catalogue up, to publish it often.
    returned<tallyport::topic> topic(std::string_view name) const {
        tallyport_topic *found = nullptr;
        tallyport_error *err = nullptr;
        const tallyport_status code = tallyport_topic_get(get(), detail::str(name), &found, &err);
        if (code != TALLYPORT_OK) return detail::failed<tallyport::topic>(code, err);
        return tallyport::topic(found);
    }
    /// Puts an event of your own into the catalogue.
    returned<void> define_event(std::string_view name, std::string_view description,
                                std::string_view schema_json = {}) const {
        tallyport_error *err = nullptr;
        return detail::done(tallyport_event_define(get(), detail::str(name),
                                                   detail::str(description),
                                                   detail::str(schema_json), &err),
                            err);
    }
    /// JSON: the events of a namespace, or all.
    returned<std::string> events(std::string_view event_namespace = {}) const {
        detail::buffer out;
        tallyport_error *err = nullptr;
        return detail::text(
            tallyport_events_list(get(), detail::str(event_namespace), out.raw(), &err), out, err);
    }
    /// JSON: the events whose name, category or description has every word.
    returned<std::string> search_events(std::string_view words) const {
        detail::buffer out;
        tallyport_error *err = nullptr;
        return detail::text(tallyport_events_search(get(), detail::str(words), out.raw(), &err),
                            out, err);
    }

    /// `function` is called for every event that `events` means: names, `task.*`, `*`, with spaces
    /// between. The engine lives as long as the subscription, or longer; so does what it uses.
    returned<subscription> subscribe(std::string_view events, event_function function,
                                     const subscribe_options &options = {}) const {
        return subscribed(detail::listener(events, std::move(function), options));
    }
    /// Events wait in a queue, for subscription::drain.
    returned<subscription> subscribe_queued(std::string_view events,
                                            const subscribe_options &options = {}) const {
        return subscribed(detail::listener(events, nullptr, options));
    }
    /// JSON: the subscriptions, with what they did.
    returned<std::string> subscribers() const {
        detail::buffer out;
        tallyport_error *err = nullptr;
        return detail::text(tallyport_subscribers_list(get(), out.raw(), &err), out, err);
    }

    /// Registers a function under a name for events, until it is unregistered.
    returned<void> register_handler(std::string_view name, std::string_view events,
                                    event_function function) const {
        const tallyport_listener_options raw = handler(name, events, std::move(function));
        tallyport_error *err = nullptr;
        return detail::done(tallyport_handler_register(get(), &raw, &err), err);
    }
    returned<void> replace_handler(std::string_view name, std::string_view events,
                                   event_function function) const {
        const tallyport_listener_options raw = handler(name, events, std::move(function));
        tallyport_error *err = nullptr;
        return detail::done(tallyport_handler_replace(get(), &raw, &err), err);
    }
    returned<void> unregister_handler(std::string_view name) const {
        tallyport_error *err = nullptr;
        return detail::done(tallyport_handler_unregister(get(), detail::str(name), &err), err);
    }
    /// JSON: the handlers, with what they did.
    returned<std::string> handlers() const {
        detail::buffer out;
        tallyport_error *err = nullptr;
        return detail::text(tallyport_handlers_list(get(), out.raw(), &err), out, err);
    }

    tallyport_engine *get() const noexcept { return handle_.get(); }

private:
    using log_function = std::function<void(int, std::string_view, std::string_view)>;

    engine(std::unique_ptr<log_function> log, tallyport_engine *opened) noexcept
        : log_(std::move(log)), handle_(opened) {}

    static void log_line(void *data, std::int32_t level, tallyport_str target,
                         tallyport_str message) {
#ifdef TALLYPORT_NO_EXCEPTIONS
        (*static_cast<log_function *>(data))(level, detail::view(target), detail::view(message));
#else
        try {
            (*static_cast<log_function *>(data))(level, detail::view(target), detail::view(message));
        } catch (...) { /* nothing may leave a log function */
        }
#endif
    }

    template <class Object, class Get, class Of>
    returned<Object> series(Get get_series, std::string_view name, const Of &of) const {
        decltype(std::declval<Object &>().get()) made = nullptr;
        tallyport_error *err = nullptr;
        const tallyport_status code =
            get_series(get(), detail::str(name), of.data(), of.size(), &made, &err);
        if (code != TALLYPORT_OK) return detail::failed<Object>(code, err);
        return Object(made);
    }

    returned<subscription> subscribed(const tallyport_listener_options &options) const {
        tallyport_subscription *made = nullptr;
        tallyport_error *err = nullptr;
        const tallyport_status code = tallyport_event_subscribe(get(), &options, &made, &err);
        if (code != TALLYPORT_OK) return detail::failed<subscription>(code, err);
        return subscription(made);
    }

    returned<collector> collected(const tallyport_collector_options &options) const {
        tallyport_collector *made = nullptr;
        tallyport_error *err = nullptr;
        const tallyport_status code = tallyport_collector_register(get(), &options, &made, &err);
        if (code != TALLYPORT_OK) return detail::failed<collector>(code, err);
        return collector(made);
    }

    static tallyport_listener_options handler(std::string_view name, std::string_view events,
                                              event_function function) {
        subscribe_options options;
        options.name = name;
        return detail::listener(events, std::move(function), options);
    }

    /* In this order: the engine is closed before its log function goes. */
    std::unique_ptr<log_function> log_;
    detail::owned<tallyport_engine, tallyport_engine_close> handle_;
};

/// Version of the library that is linked.
inline std::string_view version() noexcept { return tallyport_version(); }

/// Recording calls of this process that recorded nothing.
inline std::uint64_t misuse_count() noexcept { return tallyport_misuse_count(); }

} // namespace tallyport

#endif /* TALLYPORT_HPP */
