/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* As hears_syncs.c, by the C++ wrapper: an override is all that it takes. */
#include "tallyport_plugin.hpp"

#include <string>

namespace {

namespace plugin = tallyport::plugin;

class hears_syncs final : public plugin::exporter {
public:
    static constexpr tallyport_format formats[] = {
        {TALLYPORT_STR("heard"), TALLYPORT_STR("text/plain; charset=utf-8")}};
    static constexpr auto about =
        plugin::about("com.example.hears-syncs-cpp", "1.0.0").formats(formats);

    hears_syncs(plugin::host, std::string_view options)
        : throws_(options.find("throws") != std::string_view::npos) {}

    void export_snapshot(const plugin::call &, const plugin::snapshot &,
                         plugin::sink &out) override {
        out.write("calls " + std::to_string(calls_) + " syncs " + std::to_string(syncs_) +
                  " series " + std::to_string(series_) + " bytes " + std::to_string(bytes_) +
                  " took " + (took_.count() > 0 ? "1 " : "0 ") + last_ + "\n");
    }

    void on_sync(const plugin::call &, const plugin::synced &done) override {
        if (throws_) throw 7;
        calls_++;
        syncs_ += done.syncs;
        series_ += done.series;
        bytes_ += done.bytes;
        took_ += done.duration;
        last_ = std::string(done.store) + " " + std::string(done.strategy);
    }

private:
    bool throws_;
    std::uint64_t calls_ = 0, syncs_ = 0, series_ = 0, bytes_ = 0;
    std::chrono::nanoseconds took_{0};
    std::string last_ = " ";
};

} // namespace

TALLYPORT_EXPORT_PLUGINS("com.example.hears-syncs-cpp", "1.0.0", hears_syncs);
