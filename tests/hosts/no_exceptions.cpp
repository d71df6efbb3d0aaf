// SPDX-License-Identifier: MIT OR Apache-2.0
// A host in C++ without exceptions: what would throw returns a result.
#define TALLYPORT_NO_EXCEPTIONS
#include "tallyport.hpp"

#include <cstdio>

int main() {
    auto lost = tallyport::engine::open("/nowhere.toml");
    if (lost || lost.failure().code() != TALLYPORT_CONFIG) return 2;

    tallyport::engine_options options;
    // Two exports in a row are to be the same.
    options.config_toml = "schema = 1\nrecording = { self_metrics = false }\n";
    auto engine = tallyport::engine::open(options);
    if (!engine) return 3;
    auto hits = engine->counter("hits_total", {{"a", "1"}});
    if (!hits) return 4;
    hits->add(2);
    auto again = engine->gauge("hits_total");
    if (again || again.failure().field() != "name") return 5;
    std::string pieces;
    if (!engine->export_to([&](std::string_view piece) { pieces += piece; }, "prometheus"))
        return 6;
    auto text = engine->export_to_string("prometheus");
    if (!text || *text != pieces || pieces.find("hits_total{a=\"1\"} 2") == std::string::npos)
        return 7;
    int told = 0;
    {
        auto heard = engine->subscribe("task.*", [&](const tallyport::event &) { told++; });
        if (!heard || !engine->publish("task.failed", {{"task_id", 7}})) return 9;
    }
    if (!engine->publish("task.failed") || told != 1) return 10;
    if (engine->subscribe("task", nullptr) || engine->publish("task")) return 11;
    auto queue = engine->subscribe_queued("task.*");
    if (!queue || !engine->publish("task.failed")) return 12;
    auto drained = queue->drain([&](const tallyport::event &) { told++; });
    auto none = queue->drain([&](const tallyport::event &) { told++; });
    if (!drained || !*drained || !none || *none || told != 2) return 13;
    auto ring = tallyport::log_ring::make();
    double level = 2;
    auto asked = engine->gauge_function("level", [&] { return level; }, {{"a", "1"}});
    auto twice = engine->gauge_function("level", [&] { return level; }, {{"a", "1"}});
    if (!ring || !asked || twice || twice.failure().code() != TALLYPORT_ALREADY_EXISTS) return 14;
    level = 3;
    text = engine->export_to_string("prometheus");
    if (!text || text->find("level{a=\"1\"} 3\n") == std::string::npos) return 15;
    const tallyport::result<void> cleared = engine->clear("nothing");
    if (cleared || cleared.failure().code() != TALLYPORT_NOT_FOUND) return 8;
    return 0;
}
