// SPDX-License-Identifier: MIT OR Apache-2.0
// A host in C++ that uses everything in tallyport.hpp. every_call PLUGIN_FILE FOLDER
#include "tallyport.hpp"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <stdexcept>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                   \
            std::exit(1);                                                                          \
        }                                                                                          \
    } while (0)

namespace {

bool contains(const std::string &text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

template <class Call> tallyport::error failure(Call call) {
    try {
        call();
    } catch (const tallyport::error &why) {
        return why;
    }
    CHECK(!"it did not throw");
    std::exit(1);
}

void recording(const tallyport::engine &engine) {
    auto hits = engine.counter("http_requests_total", {{"method", "GET"}, {"status", "200"}});
    const std::vector<tallyport::label> list = {{"status", "200"}, {"method", "GET"}};
    auto same = engine.counter("http_requests_total", list);
    hits.add(2);
    same.inc();
    CHECK(hits.value() == 3);

    auto moved = std::move(hits);
    const auto misuse = tallyport::misuse_count();
    hits.add(1);
    CHECK(tallyport::misuse_count() == misuse + 1);
    moved.add(1);
    CHECK(same.value() == 4);

    auto seconds = engine.counter_f64("seconds_total");
    CHECK(seconds.add(0.5) == TALLYPORT_OK && seconds.add(-1) == TALLYPORT_INVALID_ARGUMENT);
    CHECK(seconds.value() == 0.5);
    auto flying = engine.up_down_counter("in_flight");
    flying.add(3);
    flying.sub(1);
    CHECK(flying.value() == 2);
    auto litres = engine.up_down_counter_f64("litres");
    CHECK(litres.add(1) == TALLYPORT_OK && litres.sub(3) == TALLYPORT_OK);
    CHECK(litres.value() == -2);
    auto level = engine.gauge("level", {{"where", "left"}});
    level.set(5);
    level.add(1);
    level.sub(2);
    CHECK(level.value() == 4);

    auto took = engine.histogram("took_seconds", {}, {0.5, 1});
    took.observe(2);
    {
        auto timer = took.start_timer();
        auto other = std::move(timer);
        CHECK(other.seconds() >= 0);
    }
    {
        auto timer = took.start_timer();
        timer.stop();
        timer.stop();
        auto cancelled = took.start_timer();
        cancelled.cancel();
    }
    CHECK(took.count() == 3 && took.sum() >= 2);
}

void families(const tallyport::engine &engine) {
    const auto hits = engine.counter_family("page_hits_total", {"method", "code"});
    hits.add({"GET", "200"}, 2);
    const std::vector<std::string_view> same = {"GET", "200"};
    hits.inc(same);
    CHECK(engine.counter("page_hits_total", {{"code", "200"}, {"method", "GET"}}).value() == 3);
    const auto why = failure([&] { hits.inc({"GET"}); });
    CHECK(why.code() == TALLYPORT_INVALID_ARGUMENT && why.field() == "values");
    engine.counter_f64_family("spent_total", {"who"}).add({"me"}, 0.5);
    CHECK(engine.counter_f64("spent_total", {{"who", "me"}}).value() == 0.5);
    engine.up_down_counter_family("open_files", {"who"}).add({"me"}, -2);
    CHECK(engine.up_down_counter("open_files", {{"who", "me"}}).value() == -2);
    engine.up_down_counter_f64_family("tank", {}).add({}, 1.5);
    CHECK(engine.up_down_counter_f64("tank").value() == 1.5);
    const auto heat = engine.gauge_family("heat", {"where"});
    heat.set({"left"}, 5);
    heat.add({"left"}, -1);
    CHECK(engine.gauge("heat", {{"where", "left"}}).value() == 4);
    engine.histogram_family("spans", {"where"}, {1, 2}).observe({"left"}, 1.5);
    CHECK(engine.histogram("spans", {{"where", "left"}}).sum() == 1.5);
    const std::vector<std::string_view> many(70, "x");
    CHECK(failure([&] { engine.gauge_family("many", many); }).field() == "label_names");
}

void collecting(const tallyport::engine &engine) {
    double degrees = 20.5;
    std::uint64_t bytes = 7;
    auto attic = engine.gauge_function("degrees", [&] { return degrees; }, {{"room", "attic"}});
    auto read = engine.counter_function("read_bytes_total", [&] { return bytes; });
    auto busy = engine.counter_f64_function("busy_seconds_total", [] { return 1.5; });
    auto level = engine.gauge("measured");
    auto measures = engine.collect_function("measures", [&] { level.set(degrees * 2); });
    const auto any = tallyport::collector_options{TALLYPORT_THREADS_ANY};
    auto fails = engine.gauge_function("broken", []() -> double { throw 1; }, {}, any);
    std::string text = engine.export_to_string("prometheus");
    CHECK(contains(text, "degrees{room=\"attic\"} 20.5\n"));
    CHECK(contains(text, "read_bytes_total 7\n") && contains(text, "busy_seconds_total 1.5\n"));
    CHECK(contains(text, "measured 41\n"));
    CHECK(contains(text, "tallyport_collect_failures_total{collector=\"broken\"} 1\n"));
    bytes = 9;
    { auto ended = std::move(attic); }
    degrees = 1;
    text = engine.export_to_string("prometheus");
    CHECK(contains(text, "degrees{room=\"attic\"} 20.5\n"));
    CHECK(contains(text, "read_bytes_total 9\n") && contains(text, "measured 2\n"));
    CHECK(contains(engine.collectors(), "\"last_error\":\"the function answered 1\""));
    auto twice = failure([&] { (void)engine.gauge_function("broken", [] { return 1.0; }); });
    CHECK(twice.code() == TALLYPORT_ALREADY_EXISTS && twice.field() == "options.name");
    auto none = failure([&] { (void)engine.gauge_function("none", nullptr); });
    CHECK(none.code() == TALLYPORT_NULL_ARGUMENT);
}

void log_rings() {
    auto ring = tallyport::log_ring::make(2);
    tallyport::engine_options options;
    options.log_ring = &ring;
    options.log_level = TALLYPORT_LOG_INFO;
    { tallyport::engine talks{options}; }
    CHECK(ring.dropped() >= 1);
    int lines = 0;
    try {
        ring.drain([](const tallyport::log_line &) { throw std::runtime_error("enough"); });
        CHECK(!"it did not throw");
    } catch (const std::runtime_error &) {
    }
    ring.drain([&](const tallyport::log_line &line) {
        CHECK(line.level == TALLYPORT_LOG_INFO && line.timestamp_ns > 0);
        CHECK(!line.target.empty() && contains(std::string(line.message), "registered"));
        lines++;
    });
    CHECK(lines == 1 && ring.next().empty());
    options.log = [](int, std::string_view, std::string_view) {};
    CHECK(failure([&] { tallyport::engine both{options}; }).field() == "options.log_ring");
}

void exporting(const tallyport::engine &engine, const std::string &folder) {
    const std::string text = engine.export_to_string("openmetrics");
    CHECK(contains(text, "http_requests_total{method=\"GET\",status=\"200\"} 4"));
    std::string pieces;
    engine.export_to([&](std::string_view piece) { pieces += piece; }, "prometheus");
    CHECK(pieces == engine.export_to_string("prometheus"));

    try {
        engine.export_to([](std::string_view) { throw std::runtime_error("enough"); }, "json");
        CHECK(!"it did not throw");
    } catch (const std::runtime_error &why) {
        CHECK(std::string(why.what()) == "enough");
    }
    std::FILE *file = std::fopen((folder + "/export.txt").c_str(), "w");
    CHECK(file != nullptr);
    engine.export_to(fileno(file), "json");
    CHECK(std::fclose(file) == 0);

    engine.sync();
    engine.start_sync();
    engine.stop_sync(std::chrono::minutes(1));
    engine.leave();
    engine.start_serving("127.0.0.1:0");
    CHECK(engine.serve_address().rfind("127.0.0.1:", 0) == 0);
    engine.stop_serving(std::chrono::seconds(1));
    static_cast<void>(engine.shared_snapshot());
    auto snapshot = engine.snapshot();
    snapshot.save(folder + "/metrics.tlysnap");
    auto loaded = tallyport::snapshot::load(folder + "/metrics.tlysnap");
    CHECK(loaded.series_count() == snapshot.series_count() && loaded.series_count() > 0);
    CHECK(engine.export_to_string(loaded, "prometheus") == pieces);
    CHECK(contains(engine.status(), "\"families\""));
}

void plugins(const tallyport::engine &engine, const std::string &file) {
    tallyport::plugin_options options;
    options.name = "vendor";
    options.path = file;
    options.sha256 = "abc";
    CHECK(failure([&] { engine.load_plugin(options); }).field() == "options.sha256");
    options.sha256 = "";
    options.libraries = {{"libextra", "x.so", "abc"}};
    CHECK(failure([&] { engine.load_plugin(options); }).field() == "options.libraries");
    options.libraries.clear();
    options.queue = 5000;
    CHECK(failure([&] { engine.load_plugin(options); }).field() == "options.queue");
    options.queue = 4;
    options.deadline_ms = 60000;
    engine.load_plugin(options);
    engine.replace_plugin(options);
    engine.reload_plugin("vendor");
    CHECK(contains(engine.plugins(), "\"vendor\""));
    CHECK(!engine.export_to_string("vendor").empty());
    CHECK(contains(engine.registry_statistics(), "\"vendor\""));
    CHECK(contains(engine.check_registries(), "\"healthy\":true"));
    engine.flush_plugins();
    engine.unregister_plugin("vendor");
    const auto why = failure([&] { engine.unregister_plugin("vendor"); });
    CHECK(why.code() == TALLYPORT_NOT_FOUND && why.field() == "name");
}

void events(const tallyport::engine &engine) {
    engine.define_event("order.paid", "The money is there.", R"({"type":"object"})");
    CHECK(contains(engine.events("order"), "order.paid"));
    CHECK(contains(engine.events(), "task.completed"));
    CHECK(contains(engine.search_events("money"), "order.paid"));

    int calls = 0;
    auto kept = std::make_shared<int>(0);
    std::weak_ptr<int> watched = kept;
    {
        tallyport::subscribe_options named;
        named.name = "listener";
        const auto told = engine.subscribe(
            "order.* task.failed",
            [&calls, kept](const tallyport::event &event) {
                calls++;
                if (event.name() == "task.failed") throw std::runtime_error("counted");
                CHECK(event.category() == "custom" && event.timestamp_ns() > 0);
                CHECK(event.correlation_id() == "req-1");
                CHECK(event.number("yes") == std::nullopt && event.find("yes")->integer == 1);
                CHECK(event.number("seven") == 7.0 && event.number("big") == 18446744073709551615.0);
                CHECK(event.number("half") == 0.5 && event.text("word") == "text");
                CHECK(event.text("more") == R"({"a":1})" && event.find("none") == nullptr);
                CHECK(event.find("nothing")->type == TALLYPORT_FIELD_NULL);
                CHECK(event.end() - event.begin() == 9 && event.text("string") == "s");
            },
            named);
        kept.reset();
        const auto topic = engine.topic("order.paid");
        const std::string string = "s";
        CHECK(topic.is_heard());
        topic.publish({{"yes", true}, {"seven", 7}, {"big", UINT64_MAX}, {"half", 0.5},
                       {"word", "text"}, {"string", string}, {"view", std::string_view("v")},
                       {"nothing", nullptr}, tallyport::field::json("more", R"({"a": 1})")},
                      "req-1");
        engine.publish("task.failed");
        CHECK(calls == 2 && !watched.expired());
        CHECK(contains(told.status(), "\"failures\":1"));
        CHECK(contains(engine.subscribers(), "\"listener\""));
    }
    engine.publish("order.paid");
    CHECK(calls == 2 && watched.expired());

    tallyport::subscribe_options small;
    small.queue_events = 3;
    auto queue = engine.subscribe_queued("order.*", small);
    for (int i = 0; i < 5; i++) engine.publish("order.paid", {{"i", i}});
    CHECK(contains(queue.status(), "\"dropped\":2"));
    CHECK(contains(queue.next(), "\"payload\":{\"i\":0}"));
    double sum = 0;
    CHECK(queue.drain([&](const tallyport::event &event) { sum += *event.number("i"); }, 0, 1));
    CHECK(sum == 1);
    bool thrown = false;
    try {
        queue.drain([](const tallyport::event &) { throw std::out_of_range("on"); });
    } catch (const std::out_of_range &) {
        thrown = true;
    }
    CHECK(thrown && !queue.drain([](const tallyport::event &) {}, 1) && queue.next().empty());
    const auto called = engine.subscribe("task.*", [](const tallyport::event &) {});
    CHECK(failure([&] { called.next(); }).field() == "subscription");
    const auto bad = failure([&] { engine.subscribe("task", [](const tallyport::event &) {}); });
    CHECK(bad.code() == TALLYPORT_INVALID_ARGUMENT && bad.field() == "options.events");

    engine.register_handler("bill", "order.*", [&](const tallyport::event &) { calls = 10; });
    engine.publish("order.paid");
    CHECK(calls == 10);
    engine.replace_handler("bill", "order.*", [&](const tallyport::event &) { calls = 20; });
    engine.publish("order.paid");
    CHECK(calls == 20 && contains(engine.handlers(), "\"bill\""));
    engine.unregister_handler("bill");
    const auto gone = failure([&] { engine.unregister_handler("bill"); });
    CHECK(gone.code() == TALLYPORT_NOT_FOUND);
}

class table : public tallyport::store {
public:
    std::string name() const override { return "a map"; }
    bool has_cas() const override { return true; }
    std::optional<item> get(std::string_view key) override {
        if (broken) throw std::runtime_error("out of order");
        const auto found = items_.find(std::string(key));
        if (found == items_.end()) return std::nullopt;
        return found->second;
    }
    void set(std::string_view key, std::string_view value, time ttl) override {
        CHECK(ttl.count() > 0);
        items_[std::string(key)] = {std::string(value), ++token_};
    }
    bool add(std::string_view key, std::string_view value, time ttl) override {
        if (items_.count(std::string(key)) > 0) return false;
        set(key, value, ttl);
        return true;
    }
    bool cas(std::string_view key, std::string_view value, time ttl, std::uint64_t token) override {
        const auto found = items_.find(std::string(key));
        if (found == items_.end() || found->second.token != token) return false;
        set(key, value, ttl);
        return true;
    }
    void remove(std::string_view key) override { items_.erase(std::string(key)); }

    bool broken = false;

private:
    std::map<std::string, item> items_;
    std::uint64_t token_ = 0;
};

void own_store() {
    const auto shared = std::make_shared<table>();
    {
        tallyport::engine a, b;
        a.share_through(shared);
        b.share_through(shared);
        a.counter("shared_total").add(2);
        b.counter("shared_total").add(3);
        a.sync();
        const auto everyone = b.shared_snapshot();
        CHECK(contains(b.export_to_string(everyone, "prometheus"), "shared_total 5"));
        CHECK(contains(a.status(), "distributed_basic"));
        shared->broken = true;
        const auto why = failure([&] { a.sync(); });
        CHECK(why.code() == TALLYPORT_IO && contains(why.what(), "a map"));
        CHECK(contains(why.what(), "out of order"));
    }
    CHECK(shared.use_count() == 1);
}

} // namespace

int main(int argc, char **argv) {
    CHECK(argc == 3);
    CHECK(tallyport::version() == TALLYPORT_VERSION_STRING);
    CHECK(tallyport_abi_check(TALLYPORT_ABI_VERSION) == TALLYPORT_OK);
    tallyport_before_fork();
    tallyport_after_fork_parent();
    tallyport_after_fork_child();

    int lines = 0;
    tallyport::engine_options options;
    options.log = [&](int level, std::string_view target, std::string_view message) {
        CHECK(level > 0 && !target.empty() && !message.empty());
        lines++;
        throw std::runtime_error("dropped");
    };
    options.log_level = TALLYPORT_LOG_DEBUG;
    // Two exports in a row are to be the same.
    options.config_toml = "schema = 1\nrecording = { self_metrics = false }\n";
    options.service_name = "shop";
    options.default_bounds = {1, 2};
    options.max_label_bytes = 1 << 20;
    options.series_idle_timeout_s = TALLYPORT_NONE;
    options.share = TALLYPORT_SHARE_AUTO;
    tallyport::engine engine(options);
    CHECK(lines > 0);

    tallyport::family_options family;
    family.name = "http_requests_total";
    family.kind = TALLYPORT_KIND_COUNTER;
    family.help = "Requests.";
    engine.describe(family);
    tallyport::family_options level;
    level.name = "level";
    level.kind = TALLYPORT_KIND_GAUGE;
    level.gauge_mode = TALLYPORT_GAUGE_MODE_SUM;
    engine.describe(level);
    recording(engine);
    families(engine);
    collecting(engine);
    log_rings();
    exporting(engine, argv[2]);
    plugins(engine, argv[1]);
    events(engine);
    own_store();
    engine.remove("level", {{"where", "left"}});
    engine.clear("took_seconds");

    const auto why = failure([&] { engine.gauge("http_requests_total"); });
    CHECK(why.code() == TALLYPORT_CONFLICT && why.field() == "name");
    const auto lost = failure([] { tallyport::snapshot::load("/nowhere"); });
    CHECK(lost.code() == TALLYPORT_IO && lost.os_error() == 2);
    const auto config = failure([] { tallyport::engine("/nowhere.toml"); });
    CHECK(config.code() == TALLYPORT_CONFIG && contains(config.what(), "/nowhere.toml"));

    tallyport::engine plain;
    auto kept = engine.counter("kept_total");
    engine = std::move(plain);
    kept.inc();
    CHECK(engine.export_to_string("prometheus").empty() && plain.get() != nullptr);
    return 0;
}
