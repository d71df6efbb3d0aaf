/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * tallyport_plugin.hpp: exporters in C++17, header only, on top of tallyport_plugin.h.
 *
 * Derive from tallyport::plugin::exporter, describe it with a static `about`, and name it once:
 *
 *     class names final : public tallyport::plugin::exporter {
 *     public:
 *         static constexpr tallyport_format formats[] = {
 *             {TALLYPORT_STR("names"), TALLYPORT_STR("text/plain; charset=utf-8")}};
 *         static constexpr auto about =
 *             tallyport::plugin::about("com.example.names", "1.0.0").formats(formats);
 *
 *         names(tallyport::plugin::host, std::string_view) {} // the second: options, as JSON
 *
 *         void export_snapshot(const tallyport::plugin::call &,
 *                              const tallyport::plugin::snapshot &snapshot,
 *                              tallyport::plugin::sink &out) override {
 *             for (auto family : snapshot.families()) out.write(family.name()).write("\n");
 *         }
 *     };
 *     TALLYPORT_EXPORT_PLUGINS("com.example.names", "1.0.0", names);
 *
 * Failures are thrown. `error` reports what it says. Any other exception is a bug of the exporter:
 * it is caught, reported as TALLYPORT_PANIC, and poisons the exporter: later calls answer
 * TALLYPORT_POISONED until the host makes a new one. Nothing is thrown into the host.
 *
 * Options come as the JSON text that the host read and validated against the schema: use the JSON
 * library that you have; this header brings none.
 */
#ifndef TALLYPORT_PLUGIN_HPP
#define TALLYPORT_PLUGIN_HPP

#include "tallyport_plugin_snapshot.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <type_traits>

namespace tallyport::plugin {

namespace detail {
constexpr tallyport_str text(std::string_view view) noexcept { return {view.data(), view.size()}; }
inline std::string_view view(tallyport_str text) noexcept {
    return text.ptr == nullptr ? std::string_view() : std::string_view(text.ptr, text.len);
}
} // namespace detail

enum class log_level : int32_t {
    error = TALLYPORT_LOG_ERROR,
    warn = TALLYPORT_LOG_WARN,
    info = TALLYPORT_LOG_INFO,
    debug = TALLYPORT_LOG_DEBUG,
    trace = TALLYPORT_LOG_TRACE
};

/** The host's services, valid while the exporter lives. [thread-safe] */
class host {
public:
    explicit host(const tallyport_host *raw) noexcept : raw_(raw) {}

    /** Writes one line to the host's log. */
    void log(log_level level, std::string_view message) const noexcept {
        if (TALLYPORT_HAS(raw_, tallyport_host, log) && raw_->log)
            raw_->log(raw_, static_cast<int32_t>(level), detail::text(message));
    }

    /** Monotonic time in nanoseconds, the clock of deadlines; 0 where the host has none. */
    uint64_t mono_ns() const noexcept {
        return TALLYPORT_HAS(raw_, tallyport_host, mono_ns) && raw_->mono_ns ? raw_->mono_ns(raw_)
                                                                             : 0;
    }

    const tallyport_host *raw() const noexcept { return raw_; }

private:
    const tallyport_host *raw_;
};

/** One call of the host. */
class call {
public:
    explicit call(const tallyport_call *raw) : raw_(raw) {
        if (raw == nullptr) throw error(TALLYPORT_NULL_ARGUMENT, "the call is NULL");
        if (!TALLYPORT_HAS(raw, tallyport_call, format))
            throw error(TALLYPORT_PLUGIN_ABI_MISMATCH, "struct_size of the call is too small");
    }

    /** The format to write, one of `about().formats`; "" outside exports. */
    std::string_view format() const noexcept { return detail::view(raw_->format); }
    /** W3C trace context of the caller, or "". */
    std::string_view traceparent() const noexcept {
        return TALLYPORT_HAS(raw_, tallyport_call, traceparent) ? detail::view(raw_->traceparent)
                                                                : std::string_view();
    }
    /** Number of the call, unique in the host process. */
    uint64_t id() const noexcept { return raw_->call_id; }
    /** Monotonic nanoseconds (`host::mono_ns`) by which to return; 0: no deadline. */
    uint64_t deadline_ns() const noexcept { return raw_->deadline_ns; }
    /** Whether the caller withdrew the call; look now and then in long exports. */
    bool is_cancelled() const noexcept { return raw_->is_cancelled && raw_->is_cancelled(raw_) != 0; }

private:
    const tallyport_call *raw_;
};

/** Where an export goes; gathers small writes. Throws what the host answers. */
class sink {
public:
    static constexpr std::size_t chunk_bytes = 64 * 1024;

    sink(host host, tallyport_sink *raw) : host_(host), raw_(raw) { buffer_.reserve(chunk_bytes); }
    sink(const sink &) = delete;
    sink &operator=(const sink &) = delete;

    /** Appends `bytes`. */
    sink &write(std::string_view bytes) {
        if (bytes.size() >= chunk_bytes) {
            finish();
            hand_over(bytes);
        } else {
            buffer_.append(bytes);
            spill();
        }
        return *this;
    }

    /** The bytes that were not handed over yet: format straight into it, then call `spill`. */
    std::string &buffer() noexcept { return buffer_; }

    /** Hands the buffer over when it holds a chunk or more. */
    void spill() {
        if (buffer_.size() >= chunk_bytes) finish();
    }

    /** Hands over what is left; the wrapper calls it after a successful export. */
    void finish() {
        if (buffer_.empty()) return;
        hand_over(buffer_);
        buffer_.clear();
    }

private:
    void hand_over(std::string_view bytes) {
        const tallyport_host *raw = host_.raw();
        if (!TALLYPORT_HAS(raw, tallyport_host, sink_write) || !raw->sink_write)
            throw error(TALLYPORT_UNSUPPORTED, "the host lends no sink");
        const auto *first = reinterpret_cast<const uint8_t *>(bytes.data());
        const tallyport_status status = raw->sink_write(raw, raw_, first, bytes.size());
        if (status != TALLYPORT_OK)
            throw error(status, "the sink answered status " + std::to_string(status));
    }

    host host_;
    tallyport_sink *raw_;
    std::string buffer_;
};

/** What an exporter is: the constant half of its table. Texts and arrays must be static. */
class about {
    // First, because clang wants a constexpr template defined before it is used in a constant.
    template <class T> constexpr about with(T tallyport_plugin_v1::*field, T value) const noexcept {
        about copy = *this;
        copy.table_.*field = value;
        return copy;
    }
    tallyport_plugin_v1 table_{};

public:
    constexpr about(std::string_view id, std::string_view version) noexcept {
        table_.struct_size = sizeof(tallyport_plugin_v1);
        table_.abi = TALLYPORT_PLUGIN_ABI;
        table_.caps = TALLYPORT_CAP_WRITES_SINK;
        table_.signals = TALLYPORT_SIGNAL_METRICS;
        table_.id = detail::text(id);
        table_.version = detail::text(version);
    }
    constexpr about vendor(std::string_view text) const noexcept {
        return with(&tallyport_plugin_v1::vendor, detail::text(text));
    }
    constexpr about description(std::string_view text) const noexcept {
        return with(&tallyport_plugin_v1::description, detail::text(text));
    }
    /** JSON Schema of the options. */
    constexpr about config_schema(std::string_view json) const noexcept {
        return with(&tallyport_plugin_v1::config_schema_json, detail::text(json));
    }
    /** Formats, the default one first. */
    template <std::size_t N> constexpr about formats(const tallyport_format (&formats)[N]) const {
        return with(&tallyport_plugin_v1::formats, static_cast<const tallyport_format *>(formats))
            .with(&tallyport_plugin_v1::format_count, static_cast<uint32_t>(N));
    }
    /** All TALLYPORT_CAP_* bits; the default is TALLYPORT_CAP_WRITES_SINK. */
    constexpr about caps(uint64_t bits) const noexcept {
        return with(&tallyport_plugin_v1::caps, bits);
    }
    constexpr const tallyport_plugin_v1 &table() const noexcept { return table_; }
};

/** How an export ended. */
struct completed {
    tallyport_status status; /**< TALLYPORT_OK: the bytes reached their destination. */
    uint64_t bytes;
    std::chrono::nanoseconds duration;
};

/** What syncs of the host did. Texts are borrowed for the call. */
struct synced {
    uint32_t syncs; /**< More than one where the exporter was busy during those before. */
    uint64_t series;
    uint64_t bytes;
    std::chrono::nanoseconds duration;
    std::string_view store;    /**< Kind of the store of the last one, for example "redis". */
    std::string_view strategy; /**< For example "distributed_atomic". */
};

/** An exporter. Derive, add `static constexpr … about` and a constructor (host, string_view). */
class exporter {
public:
    exporter() = default;
    exporter(const exporter &) = delete;
    exporter &operator=(const exporter &) = delete;
    virtual ~exporter() = default;

    /** Writes `snapshot` in the format that `call` names. [one call at a time, or CONCURRENT] */
    virtual void export_snapshot(const call &call, const snapshot &snapshot, sink &out) = 0;
    /** Delivers what is buffered. [one call at a time] */
    virtual void flush(const call &) {}
    /** Makes running calls return early. [any thread, during a call] */
    virtual void cancel() {}
    /** The last call: delivers and stops; the destructor frees. [one call at a time] */
    virtual void shutdown(const call &) {}

    // tallyport.lifecycle/1: a class that overrides one of these gets all three.

    /** Before an export; what it throws refuses it. [one call at a time] */
    virtual void on_export_request(const call &) {}
    /** After an export's bytes reached their destination or were given up. [one call at a time] */
    virtual void on_export_complete(const call &, const completed &) {}
    /** After a sync of the host, on the thread that synced. [one call at a time] */
    virtual void on_sync(const call &, const synced &) {}
};

namespace detail {

/** What a tallyport_exporter is in a plugin made with this header. */
struct instance {
    host own_host;
    std::atomic<bool> poisoned{false};
    std::unique_ptr<exporter> own;

    static instance *of(tallyport_exporter *raw) noexcept {
        return reinterpret_cast<instance *>(raw);
    }
};

inline tallyport_status report(host host, tallyport_error *slot, tallyport_status status,
                               std::string_view message) noexcept {
    const tallyport_host *raw = host.raw();
    if (TALLYPORT_HAS(raw, tallyport_host, error_set) && raw->error_set)
        raw->error_set(raw, slot, status, text(message));
    return status;
}

/** Runs `body` and turns what it throws into a status; sets `panicked` for all but `error`. */
template <class Body>
tallyport_status contained(host host, tallyport_error *slot, bool &panicked, Body body) noexcept {
    panicked = false;
    try {
        body();
        return TALLYPORT_OK;
    } catch (const error &failed) {
        const tallyport_host *raw = host.raw();
        report(host, slot, failed.status(), failed.what());
        if (TALLYPORT_HAS(raw, tallyport_host, error_detail) && raw->error_detail)
            for (const auto &[key, value] : failed.details())
                raw->error_detail(raw, slot, text(key), text(value));
        return failed.status();
    } catch (const std::exception &thrown) {
        panicked = true;
        return report(host, slot, TALLYPORT_PANIC, thrown.what());
    } catch (...) {
        panicked = true;
        return report(host, slot, TALLYPORT_PANIC, "an exception of an unknown type");
    }
}

/** A call on a live instance: refused when poisoned, poisoned by what it should not throw. */
template <class Body>
tallyport_status on_instance(tallyport_exporter *exporter, tallyport_error *slot,
                             Body body) noexcept {
    if (exporter == nullptr) return TALLYPORT_NULL_ARGUMENT;
    instance &self = *instance::of(exporter);
    if (self.poisoned.load(std::memory_order_acquire))
        return report(self.own_host, slot, TALLYPORT_POISONED,
                      "an earlier exception poisoned this exporter");
    bool panicked = false;
    const tallyport_status status =
        contained(self.own_host, slot, panicked, [&] { body(self); });
    if (panicked) self.poisoned.store(true, std::memory_order_release);
    return status;
}

template <class E>
tallyport_status create(const tallyport_host *raw, tallyport_str config,
                        tallyport_exporter **exporter, tallyport_error *slot) noexcept {
    if (raw == nullptr || exporter == nullptr || (config.ptr == nullptr && config.len != 0))
        return TALLYPORT_NULL_ARGUMENT;
    const host host(raw);
    bool panicked = false;
    return contained(host, slot, panicked, [&] {
        // Not make_unique: an aggregate with an atomic has no constructor for it before C++20.
        auto made = std::unique_ptr<instance>(
            new instance{host, {}, std::make_unique<E>(host, view(config))});
        *exporter = reinterpret_cast<tallyport_exporter *>(made.release());
    });
}

inline tallyport_status export_snapshot(tallyport_exporter *exporter, const tallyport_call *raw,
                                        const tallyport_snapshot *lent, tallyport_sink *sink,
                                        tallyport_error *slot) noexcept {
    return on_instance(exporter, slot, [&](instance &self) {
        const snapshot view(lent);
        plugin::sink out(self.own_host, sink);
        self.own->export_snapshot(call(raw), view, out);
        out.finish();
    });
}

inline tallyport_status flush(tallyport_exporter *exporter, const tallyport_call *raw,
                              tallyport_error *slot) noexcept {
    return on_instance(exporter, slot, [&](instance &self) { self.own->flush(call(raw)); });
}

inline tallyport_status shutdown(tallyport_exporter *exporter, const tallyport_call *raw,
                                 tallyport_error *slot) noexcept {
    return on_instance(exporter, slot, [&](instance &self) { self.own->shutdown(call(raw)); });
}

inline tallyport_status on_export_request(tallyport_exporter *exporter, const tallyport_call *raw,
                                          tallyport_error *slot) noexcept {
    return on_instance(exporter, slot,
                       [&](instance &self) { self.own->on_export_request(call(raw)); });
}

/** A call that answers nothing: what it throws poisons the exporter and is logged. */
template <class Body> void tell(tallyport_exporter *exporter, const char *what, Body body) noexcept {
    if (exporter == nullptr) return;
    instance &self = *instance::of(exporter);
    if (self.poisoned.load(std::memory_order_acquire)) return;
    try {
        body(self);
    } catch (...) {
        self.poisoned.store(true, std::memory_order_release);
        self.own_host.log(log_level::error, what);
    }
}

inline void on_export_complete(tallyport_exporter *exporter, const tallyport_call *raw,
                               const tallyport_export_result *result) noexcept {
    if (result == nullptr || !TALLYPORT_HAS(result, tallyport_export_result, duration_ns)) return;
    tell(exporter, "on_export_complete threw", [&](instance &self) {
        self.own->on_export_complete(call(raw), {result->status, result->bytes,
                                                 std::chrono::nanoseconds(result->duration_ns)});
    });
}

inline void on_sync(tallyport_exporter *exporter, const tallyport_call *raw,
                    const tallyport_sync_result *result) noexcept {
    if (result == nullptr || !TALLYPORT_HAS(result, tallyport_sync_result, strategy)) return;
    tell(exporter, "on_sync threw", [&](instance &self) {
        self.own->on_sync(call(raw), {result->syncs, result->series, result->bytes,
                                      std::chrono::nanoseconds(result->duration_ns),
                                      view(result->store), view(result->strategy)});
    });
}

inline const void *get_extension(tallyport_str id) noexcept {
    static constexpr tallyport_lifecycle_v1 lifecycle = {
        sizeof(tallyport_lifecycle_v1), 0, on_export_request, on_export_complete, on_sync};
    return view(id) == "tallyport.lifecycle/1" ? &lifecycle : nullptr;
}

/** Whether a class has its own of one of the calls around exports and syncs. */
template <class E> constexpr bool has_lifecycle() noexcept {
    using none = exporter;
    return !std::is_same_v<decltype(&E::on_export_request), void (none::*)(const call &)> ||
           !std::is_same_v<decltype(&E::on_export_complete),
                           void (none::*)(const call &, const completed &)> ||
           !std::is_same_v<decltype(&E::on_sync), void (none::*)(const call &, const synced &)>;
}

inline void cancel(tallyport_exporter *exporter) noexcept {
    if (exporter == nullptr) return;
    instance &self = *instance::of(exporter);
    try {
        self.own->cancel();
    } catch (...) {
        self.poisoned.store(true, std::memory_order_release);
        self.own_host.log(log_level::error, "cancel threw");
    }
}

inline void destroy(tallyport_exporter *exporter) noexcept {
    // Destructors are noexcept unless an author said otherwise; those are contained here.
    const std::unique_ptr<instance> self(instance::of(exporter));
    if (!self) return;
    try {
        delete self->own.release();
    } catch (...) {
        self->own_host.log(log_level::error, "the destructor threw");
    }
}

template <class E> constexpr tallyport_plugin_v1 table() noexcept {
    tallyport_plugin_v1 table = E::about.table();
    table.create = create<E>;
    table.export_snapshot = export_snapshot;
    table.flush = flush;
    table.cancel = cancel;
    table.shutdown = shutdown;
    table.destroy = destroy;
    if (has_lifecycle<E>()) table.get_extension = get_extension;
    return table;
}

template <class... E> const tallyport_plugin_set *query(uint32_t host_abi) noexcept {
    static constexpr tallyport_plugin_v1 tables[] = {table<E>()...};
    static constexpr tallyport_plugin_set set = {sizeof(tallyport_plugin_set), sizeof...(E),
                                                 sizeof(tallyport_plugin_v1), 0, tables};
    return TALLYPORT_PLUGIN_SERVES(host_abi) ? &set : nullptr;
}

} // namespace detail
} // namespace tallyport::plugin

/**
 * Exports exporters from a shared library, once, at namespace scope: the entry and the descriptor.
 *
 * TALLYPORT_EXPORT_PLUGINS("com.example.mine", "1.0.0", first_exporter, second_exporter);
 */
#define TALLYPORT_EXPORT_PLUGINS(file_id, file_version, ...)                                       \
    TALLYPORT_EXPORT const tallyport_plugin_set *tallyport_plugin_query_v1(uint32_t host_abi) {    \
        return ::tallyport::plugin::detail::query<__VA_ARGS__>(host_abi);                          \
    }                                                                                              \
    TALLYPORT_PLUGIN_FILE(file_id, file_version)

#endif /* TALLYPORT_PLUGIN_HPP */
