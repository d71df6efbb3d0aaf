// SPDX-License-Identifier: MIT OR Apache-2.0
// What tallyport.hpp's engine is opened from, loads and describes: plain structs whose zero is the
// default. Included by tallyport.hpp; it has no use alone.
#ifndef TALLYPORT_OPTIONS_HPP
#define TALLYPORT_OPTIONS_HPP

#include "tallyport_base.hpp"
#include "tallyport_log_ring.hpp"

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace tallyport {

/// What an engine is opened from; see tallyport_engine_options.
struct engine_options {
    std::string_view config_path;
    std::string_view config_toml;
    std::string_view base_dir;
    std::string_view service_name;
    /// Gets level (TALLYPORT_LOG_*), target and message.
    std::function<void(int, std::string_view, std::string_view)> log;
    int log_level = 0;
    std::uint64_t max_series = 0;
    std::uint64_t max_series_per_family = 0;
    std::uint64_t max_cell_bytes = 0;
    /// TALLYPORT_CELLS_*; 0: the configuration's.
    std::uint32_t cells = 0;
    std::vector<double> default_bounds;
    std::uint64_t max_label_bytes = 0;
    /// TALLYPORT_NONE: never.
    std::uint64_t series_idle_timeout_s = 0;
    /// The file of TALLYPORT_SHARE_FILE.
    std::string_view arena;
    /// TALLYPORT_SHARE_*; 0: the configuration's, or the file's where `arena` names one.
    std::uint32_t share = 0;
    /// Keeps the messages instead of `log`; borrowed until the engine is open.
    const tallyport::log_ring *log_ring = nullptr;
};

/// A library that a pinned plugin needs; see tallyport_library.
struct library {
    std::string_view name;
    std::string_view path;
    std::string_view sha256;
};

/// An exporter to load; see tallyport_plugin_options.
struct plugin_options {
    std::string_view name;
    std::string_view path;
    std::string_view exporter;
    std::string_view options_json;
    /// The pin: 64 hexadecimal digits.
    std::string_view sha256;
    std::vector<library> libraries;
    /// TALLYPORT_PROBE_*; 0: the configuration's.
    std::uint32_t probe = 0;
    /// TALLYPORT_ISOLATION_PROCESS: in a helper process.
    std::uint32_t isolation = 0;
    /// Starts a thread for the exporter.
    std::uint64_t deadline_ms = 0;
    std::uint64_t grace_ms = 0;
    std::uint64_t drain_ms = 0;
    std::uint64_t backoff_ms = 0;
    std::uint64_t max_backoff_ms = 0;
    std::uint64_t max_output_bytes = 0;
    std::uint32_t queue = 0;
    std::uint32_t max_zombies = 0;
    /// TALLYPORT_NONE: never.
    std::uint32_t breaker_failures = 0;
    /// TALLYPORT_NONE: never.
    std::uint32_t max_restarts = 0;
    /// Of the helper process.
    std::uint64_t address_space_bytes = 0;
    std::uint64_t cpu_seconds = 0;
    std::uint64_t open_files = 0;
};

/// What a family is; see tallyport_family_options.
struct family_options {
    std::string_view name;
    std::uint32_t kind = 0;
    std::uint32_t number = 0;
    std::string_view help;
    std::string_view unit;
    std::vector<double> bounds;
    /// TALLYPORT_CELLS_*; 0: the engine decides.
    std::uint32_t cells = 0;
    /// TALLYPORT_GAUGE_MODE_*; 0: none.
    std::uint32_t gauge_mode = 0;
};

namespace detail {

/// The options of a plugin as C has them; borrows them.
class plugin_entry {
public:
    explicit plugin_entry(const plugin_options &options) {
        libraries_.reserve(options.libraries.size());
        for (const library &one : options.libraries)
            libraries_.push_back({str(one.name), str(one.path), str(one.sha256)});
        raw_.size = sizeof raw_;
        raw_.name = str(options.name);
        raw_.path = str(options.path);
        raw_.exporter = str(options.exporter);
        raw_.options_json = str(options.options_json);
        raw_.sha256 = str(options.sha256);
        raw_.libraries = libraries_.data();
        raw_.library_count = libraries_.size();
        raw_.probe = options.probe;
        raw_.isolation = options.isolation;
        raw_.deadline_ms = options.deadline_ms;
        raw_.grace_ms = options.grace_ms;
        raw_.drain_ms = options.drain_ms;
        raw_.backoff_ms = options.backoff_ms;
        raw_.max_backoff_ms = options.max_backoff_ms;
        raw_.max_output_bytes = options.max_output_bytes;
        raw_.queue = options.queue;
        raw_.max_zombies = options.max_zombies;
        raw_.breaker_failures = options.breaker_failures;
        raw_.max_restarts = options.max_restarts;
        raw_.address_space_bytes = options.address_space_bytes;
        raw_.cpu_seconds = options.cpu_seconds;
        raw_.open_files = options.open_files;
    }
    plugin_entry(const plugin_entry &) = delete;
    plugin_entry &operator=(const plugin_entry &) = delete;

    const tallyport_plugin_options *raw() const noexcept { return &raw_; }

private:
    std::vector<tallyport_library> libraries_;
    tallyport_plugin_options raw_ = {};
};

} // namespace detail

} // namespace tallyport

#endif // TALLYPORT_OPTIONS_HPP
