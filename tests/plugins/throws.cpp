/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Throws in export; the C++ wrapper contains it and poisons the exporter. */
#include "tallyport_plugin.hpp"

#include <stdexcept>

namespace {

class throws final : public tallyport::plugin::exporter {
public:
    static constexpr tallyport_format formats[] = {
        {TALLYPORT_STR("throws"), TALLYPORT_STR("text/plain; charset=utf-8")}};
    static constexpr auto about =
        tallyport::plugin::about("com.example.throws", "1.0.0").formats(formats);

    throws(tallyport::plugin::host, std::string_view) {}

    void export_snapshot(const tallyport::plugin::call &, const tallyport::plugin::snapshot &,
                         tallyport::plugin::sink &) override {
        throw std::out_of_range("thrown on purpose");
    }
};

} // namespace

TALLYPORT_EXPORT_PLUGINS("com.example.throws", "1.0.0", throws);
