/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Throws where its option says, by default in export; the C++ wrapper contains it. */
#include "tallyport_plugin.hpp"

#include <chrono>
#include <stdexcept>
#include <thread>

namespace {

namespace plugin = tallyport::plugin;

class throws final : public plugin::exporter {
public:
    static constexpr tallyport_format formats[] = {
        {TALLYPORT_STR("throws"), TALLYPORT_STR("text/plain; charset=utf-8")}};
    static constexpr auto about = plugin::about("com.example.throws", "1.0.0").formats(formats);

    throws(plugin::host, std::string_view options) : options_(options) { enter("create"); }

    void export_snapshot(const plugin::call &call, const plugin::snapshot &,
                         plugin::sink &out) override {
        if (options_.find("throw_in") == std::string::npos) options_ = "export";
        enter("export");
        // Only what is cancelled can throw in cancel.
        while (has("cancel") && !call.is_cancelled())
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
        if (has("cancel")) throw tallyport::plugin::error(TALLYPORT_CANCELLED, "as told");
        out.write("fine\n");
    }
    void flush(const plugin::call &) override { enter("flush"); }
    void cancel() override { enter("cancel"); }
    void shutdown(const plugin::call &) override { enter("shutdown"); }

private:
    bool has(std::string_view place) const { return options_.find(place) != std::string::npos; }
    void enter(const char *place) const {
        if (has(place)) throw std::out_of_range(std::string("thrown on purpose in ") + place);
    }

    std::string options_;
};

} // namespace

TALLYPORT_EXPORT_PLUGINS("com.example.throws", "1.0.0", throws);
