// SPDX-License-Identifier: MIT OR Apache-2.0
// What tallyport.hpp's engine is opened from, loads and describes: plain structs whose zero is the
// default. Included by tallyport.hpp; it has no use alone.
#ifndef TALLYPORT_OPTIONS_HPP
#define TALLYPORT_OPTIONS_HPP

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
};

/// An exporter to load; see tallyport_plugin_options.
struct plugin_options {
    std::string_view name;
    std::string_view path;
    std::string_view exporter;
    std::string_view options_json;
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
};

} // namespace tallyport

#endif // TALLYPORT_OPTIONS_HPP
