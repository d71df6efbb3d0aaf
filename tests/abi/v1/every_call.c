/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A host that makes every call of tallyport.h once with good arguments, and looks at what it did.
 *
 * every_call PLUGIN_FILE FOLDER: a loadable exporter called good_minimal, and a folder to write in. */
#include "host.h"
#include "tallyport_plugin.h"

#include <math.h>

static int lines_logged = 0;

static void on_log(void *data, int32_t level, tallyport_str target, tallyport_str message) {
    CHECK(data == &lines_logged);
    CHECK(level >= TALLYPORT_LOG_ERROR && level <= TALLYPORT_LOG_TRACE);
    CHECK(target.len > 0 && message.len > 0);
    ++*(int *)data;
}

/* An exporter in the host program: it writes the number of series. */
static int live_exporters = 0;

static tallyport_status create(const tallyport_host *host, tallyport_str config_json,
                               tallyport_exporter **exporter, tallyport_error *error) {
    (void)error;
    CHECK(is(config_json, "{\"a\":1}"));
    live_exporters++;
    *exporter = (tallyport_exporter *)(void *)(uintptr_t)host;
    return TALLYPORT_OK;
}

static tallyport_status export_snapshot(tallyport_exporter *exporter, const tallyport_call *call,
                                        const tallyport_snapshot *snapshot, tallyport_sink *sink,
                                        tallyport_error *error) {
    const tallyport_host *host = (const tallyport_host *)(const void *)exporter;
    char text[32];
    const int len = snprintf(text, sizeof text, "%d series\n", (int)snapshot->series_count);
    (void)call;
    (void)error;
    return host->sink_write(host, sink, (const uint8_t *)text, (size_t)len);
}

static void destroy(tallyport_exporter *exporter) {
    (void)exporter;
    live_exporters--;
}

static const tallyport_format formats[] = {
    {TALLYPORT_STR_INIT("series"), TALLYPORT_STR_INIT("text/plain")}};
static const tallyport_plugin_v1 table = {
    sizeof(tallyport_plugin_v1), TALLYPORT_PLUGIN_ABI, TALLYPORT_CAP_WRITES_SINK,
    TALLYPORT_STR_INIT("host.series"), TALLYPORT_STR_INIT("1.0.0"), TALLYPORT_STR_INIT(""),
    TALLYPORT_STR_INIT(""), formats, 1, TALLYPORT_SIGNAL_METRICS, TALLYPORT_STR_INIT(""),
    create, export_snapshot, NULL, NULL, NULL, destroy, NULL, NULL};

static void versions(void) {
    CHECK(strcmp(tallyport_version(), TALLYPORT_VERSION_STRING) == 0);
    char text[64];
    snprintf(text, sizeof text, "%d.%d.%d", TALLYPORT_VERSION_MAJOR, TALLYPORT_VERSION_MINOR,
             TALLYPORT_VERSION_PATCH);
    CHECK(strncmp(text, tallyport_version(), strlen(text)) == 0);
    CHECK(tallyport_abi_check(TALLYPORT_ABI_VERSION) == TALLYPORT_OK);
    CHECK(tallyport_abi_check(TALLYPORT_ABI_VERSION + (1u << 16)) == TALLYPORT_UNSUPPORTED);
    tallyport_before_fork();
    tallyport_after_fork_parent();
    tallyport_after_fork_child();
    CHECK(strcmp(tallyport_status_name(TALLYPORT_OK), "OK") == 0);
    CHECK(strcmp(tallyport_status_name(TALLYPORT_PLUGIN_ABI_MISMATCH), "PLUGIN_ABI_MISMATCH") == 0);
    for (tallyport_status status = 0; status <= TALLYPORT_UNAVAILABLE; status++)
        CHECK(strcmp(tallyport_status_name(status), "UNKNOWN") != 0);
    CHECK(strcmp(tallyport_status_name(-1), "UNKNOWN") == 0);
}

static void errors(void) {
    tallyport_error *err = NULL;
    tallyport_engine *engine = (tallyport_engine *)8;
    CHECK(tallyport_engine_open(TALLYPORT_STR("/nowhere/at all.toml"), &engine, &err)
          == TALLYPORT_CONFIG);
    CHECK(engine == NULL);
    CHECK(tallyport_error_code(err) == TALLYPORT_CONFIG);
    const tallyport_str message = tallyport_error_message(err);
    CHECK(strlen(message.ptr) == message.len && strstr(message.ptr, "/nowhere/at all.toml"));
    tallyport_error_free(err);

    tallyport_snapshot_handle *snapshot = NULL;
    CHECK(tallyport_snapshot_load(TALLYPORT_STR("/nowhere"), &snapshot, &err) == TALLYPORT_IO);
    CHECK(is(tallyport_error_field(err), "path") && tallyport_error_os_error(err) == 2);
    tallyport_error_free(err);
    CHECK(tallyport_error_os_error(NULL) == 0 && tallyport_error_field(NULL).len == 0);
}

static tallyport_engine *opened(const char *folder) {
    const double bounds[] = {1, 2, 4};
    tallyport_engine_options options;
    tallyport_engine *engine = NULL;
    char path[1024];

    OK(tallyport_engine_open_z(NULL, &engine, &err));
    tallyport_engine_close(engine);
    OK(tallyport_engine_open(TALLYPORT_STR(""), &engine, &err));
    tallyport_engine_close(engine);
    snprintf(path, sizeof path, "%s/tallyport.toml", folder);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fputs("schema = 1\nplugins.lost.path = \"lost.so\"\n", file) >= 0);
    CHECK(fclose(file) == 0);
    OK(tallyport_engine_open_z(path, &engine, &err));
    tallyport_buf buf = {0, 0, 0};
    OK(tallyport_engine_status(engine, &buf, &err));
    CHECK(has(&buf, "\"load_failures\":[{") && has(&buf, "lost.so"));
    tallyport_buf_free(&buf);
    tallyport_engine_close(engine);

    /* Shared cells run wherever they are asked for; per-CPU ones where the system can. */
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.cells = TALLYPORT_CELLS_SHARED;
    OK(tallyport_engine_open_with(&options, &engine, &err));
    OK(tallyport_engine_status(engine, &buf, &err));
    CHECK(has(&buf, "\"cells\":\"shared\""));
    tallyport_buf_free(&buf);
    tallyport_engine_close(engine);

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.config_toml = TALLYPORT_STR("schema = 1\nservice_name = \"shop\"\n"
                                        /* Two exports in a row are to be the same. */
                                        "recording = { self_metrics = false }\n");
    options.base_dir = str(folder);
    options.service_name = TALLYPORT_STR("till");
    options.log_fn = on_log;
    options.log_data = &lines_logged;
    options.log_level = TALLYPORT_LOG_TRACE;
    options.max_series = 100;
    options.max_series_per_family = 3;
    options.max_cell_bytes = 1 << 20;
    options.default_bounds = bounds;
    options.default_bound_count = 3;
    OK(tallyport_engine_open_with(&options, &engine, &err));
    CHECK(lines_logged > 0);
    return engine;
}

static void recording(tallyport_engine *engine) {
    const tallyport_label labels[] = {{TALLYPORT_STR("b"), TALLYPORT_STR("2")},
                                      {TALLYPORT_STR("a"), TALLYPORT_STR("1")}};
    const char *const labels_z[] = {"a", "1", "b", "2", NULL};
    const double bounds[] = {0.5, 1};
    tallyport_family_options family;
    tallyport_counter *counter, *same;
    tallyport_counter_f64 *counter_f64;
    tallyport_up_down_counter *up_down, *up_down_z;
    tallyport_up_down_counter_f64 *up_down_f64;
    tallyport_gauge *gauge, *gauge_z;
    tallyport_histogram *histogram, *histogram_z;

    memset(&family, 0, sizeof family);
    family.size = sizeof family;
    family.name = TALLYPORT_STR("requests_total");
    family.kind = TALLYPORT_KIND_COUNTER;
    family.help = TALLYPORT_STR("Requests.");
    family.cells = TALLYPORT_CELLS_SHARED;
    OK(tallyport_family_describe(engine, &family, &err));

    OK(tallyport_counter_get(engine, family.name, labels, 2, &counter, &err));
    OK(tallyport_counter_get_z(engine, "requests_total", labels_z, &same, &err));
    CHECK(counter != same);
    tallyport_counter_add(counter, 2);
    tallyport_counter_add(same, 3);
    CHECK(tallyport_counter_value(counter) == 5 && tallyport_counter_value(same) == 5);

    OK(tallyport_counter_f64_get(engine, str("seconds_total"), NULL, 0, &counter_f64, &err));
    CHECK(tallyport_counter_f64_add(counter_f64, 0.5) == TALLYPORT_OK);
    CHECK(tallyport_counter_f64_add(counter_f64, -1) == TALLYPORT_INVALID_ARGUMENT);
    CHECK(tallyport_counter_f64_add(counter_f64, HUGE_VAL) == TALLYPORT_INVALID_ARGUMENT);
    CHECK(tallyport_counter_f64_value(counter_f64) == 0.5);

    OK(tallyport_up_down_counter_get(engine, str("in_flight"), NULL, 0, &up_down, &err));
    OK(tallyport_up_down_counter_get_z(engine, "in_flight", NULL, &up_down_z, &err));
    tallyport_up_down_counter_add(up_down, 2);
    tallyport_up_down_counter_sub(up_down_z, 5);
    CHECK(tallyport_up_down_counter_value(up_down) == -3);

    OK(tallyport_up_down_counter_f64_get(engine, str("litres"), NULL, 0, &up_down_f64, &err));
    CHECK(tallyport_up_down_counter_f64_add(up_down_f64, 1.5) == TALLYPORT_OK);
    CHECK(tallyport_up_down_counter_f64_sub(up_down_f64, 2) == TALLYPORT_OK);
    CHECK(tallyport_up_down_counter_f64_add(up_down_f64, (double)NAN) == TALLYPORT_INVALID_ARGUMENT);
    CHECK(tallyport_up_down_counter_f64_value(up_down_f64) == -0.5);

    OK(tallyport_gauge_get(engine, str("celsius"), NULL, 0, &gauge, &err));
    OK(tallyport_gauge_get_z(engine, "celsius", NULL, &gauge_z, &err));
    tallyport_gauge_set(gauge, 20);
    tallyport_gauge_add(gauge_z, 1.5);
    tallyport_gauge_sub(gauge_z, 0.5);
    CHECK(tallyport_gauge_value(gauge) == 21);

    OK(tallyport_histogram_get(engine, str("took"), bounds, 2, labels, 2, &histogram, &err));
    OK(tallyport_histogram_get_z(engine, "took", NULL, 0, labels_z, &histogram_z, &err));
    tallyport_histogram_observe(histogram, 0.25);
    tallyport_histogram_observe(histogram_z, 4);
    tallyport_histogram_observe(histogram, (double)NAN);
    CHECK(tallyport_histogram_count(histogram) == 2);
    CHECK(tallyport_histogram_sum(histogram) == 4.25);

    tallyport_counter_free(counter);
    tallyport_counter_free(same);
    tallyport_counter_f64_free(counter_f64);
    tallyport_up_down_counter_free(up_down);
    tallyport_up_down_counter_free(up_down_z);
    tallyport_up_down_counter_f64_free(up_down_f64);
    tallyport_gauge_free(gauge);
    tallyport_gauge_free(gauge_z);
    tallyport_histogram_free(histogram);
    tallyport_histogram_free(histogram_z);
}

/* Writes what it gets to a buffer of a fixed size, and stops the export when that is full. */
struct sink {
    char text[4096];
    size_t used, room;
};

static int32_t write_bytes(void *data, const uint8_t *bytes, size_t len) {
    struct sink *sink = data;
    if (len > sink->room - sink->used) return -7;
    memcpy(sink->text + sink->used, bytes, len);
    sink->used += len;
    return 0;
}

static void exports(tallyport_engine *engine, const char *folder) {
    static struct sink sink;
    tallyport_buf buf, again;
    tallyport_snapshot_handle *snapshot, *loaded;
    char path[1024];

    OK(tallyport_export(engine, TALLYPORT_STR("prometheus"), &buf, &err));
    CHECK(has(&buf, "# HELP requests_total Requests.\n"));
    CHECK(has(&buf, "requests_total{a=\"1\",b=\"2\"} 5\n"));
    CHECK(has(&buf, "took_bucket{a=\"1\",b=\"2\",le=\"+Inf\"} 2\n"));
    CHECK(has(&buf, "tallyport_dropped_samples_total{reason=\"nan\"} 1\n"));
    OK(tallyport_export_z(engine, "openmetrics", &again, &err));
    CHECK(has(&again, "# EOF\n"));
    tallyport_buf_free(&again);
    tallyport_buf_free(&again);

    sink.room = sizeof sink.text;
    OK(tallyport_export_cb(engine, TALLYPORT_STR("prometheus"), write_bytes, &sink, &err));
    CHECK(sink.used == buf.len && memcmp(sink.text, buf.ptr, buf.len) == 0);
    sink.used = 0;
    sink.room = 1;
    FAILS(TALLYPORT_CANCELLED, "write",
          tallyport_export_cb(engine, TALLYPORT_STR("prometheus"), write_bytes, &sink, &err));

    snprintf(path, sizeof path, "%s/export.txt", folder);
    FILE *file = fopen(path, "w+");
    CHECK(file != NULL);
    OK(tallyport_export_fd(engine, TALLYPORT_STR("prometheus"), fileno(file), &err));
    rewind(file);
    CHECK(fread(sink.text, 1, sizeof sink.text, file) == buf.len);
    CHECK(memcmp(sink.text, buf.ptr, buf.len) == 0);
    CHECK(fclose(file) == 0);
    FILE *full = fopen("/dev/full", "w");
    CHECK(full != NULL);
    FAILS(TALLYPORT_IO, "fd",
          tallyport_export_fd(engine, TALLYPORT_STR("prometheus"), fileno(full), &err));
    fclose(full);

    OK(tallyport_snapshot_take(engine, &snapshot, &err));
    snprintf(path, sizeof path, "%s/metrics.tlysnap", folder);
    OK(tallyport_snapshot_save(snapshot, str(path), &err));
    OK(tallyport_snapshot_save_z(snapshot, path, &err));
    OK(tallyport_snapshot_load_z(path, &loaded, &err));
    tallyport_snapshot_free(loaded);
    OK(tallyport_snapshot_load(str(path), &loaded, &err));
    CHECK(tallyport_snapshot_series_count(loaded) == tallyport_snapshot_series_count(snapshot));
    CHECK(tallyport_snapshot_series_count(loaded) == 7);
    OK(tallyport_export_snapshot(engine, loaded, TALLYPORT_STR("prometheus"), &again, &err));
    CHECK(again.len == buf.len && memcmp(again.ptr, buf.ptr, buf.len) == 0);
    tallyport_buf_free(&again);
    tallyport_snapshot_free(loaded);
    tallyport_snapshot_free(snapshot);
    tallyport_buf_free(&buf);
}

static void plugins(tallyport_engine *engine, const char *file) {
    tallyport_plugin_options options;
    tallyport_buf buf;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.name = TALLYPORT_STR("vendor");
    options.path = str(file);
    OK(tallyport_plugin_load(engine, &options, &err));
    FAILS(TALLYPORT_ALREADY_EXISTS, "name", tallyport_plugin_load(engine, &options, &err));
    OK(tallyport_plugin_replace(engine, &options, &err));
    OK(tallyport_plugin_reload(engine, options.name, &err));
    FAILS(TALLYPORT_UNSUPPORTED, "name",
          tallyport_plugin_reload(engine, TALLYPORT_STR("csv"), &err));
    options.path = TALLYPORT_STR("/nowhere.so");
    FAILS(TALLYPORT_PLUGIN_REFUSED, "path", tallyport_plugin_replace(engine, &options, &err));
    OK(tallyport_plugin_register(engine, TALLYPORT_STR("mine"), &table,
                                 TALLYPORT_STR("{\"a\":1}"), &err));
    CHECK(live_exporters == 1);
    OK(tallyport_export_z(engine, "mine", &buf, &err));
    CHECK(has(&buf, "7 series\n"));
    tallyport_buf_free(&buf);
    OK(tallyport_export_z(engine, "vendor", &buf, &err));
    tallyport_buf_free(&buf);
    OK(tallyport_plugins_flush(engine, &err));
    OK(tallyport_plugins_list(engine, &buf, &err));
    CHECK(has(&buf, "\"name\":\"mine\"") && has(&buf, "\"name\":\"vendor\""));
    tallyport_buf_free(&buf);
    OK(tallyport_registries_statistics(engine, &buf, &err));
    CHECK(has(&buf, "\"name\":\"mine\"") && has(&buf, "\"handlers\":[]"));
    tallyport_buf_free(&buf);
    OK(tallyport_plugin_unregister(engine, TALLYPORT_STR("mine"), &err));
    CHECK(live_exporters == 0);
    FAILS(TALLYPORT_NOT_FOUND, "name",
          tallyport_plugin_unregister(engine, TALLYPORT_STR("mine"), &err));
    OK(tallyport_plugin_register(engine, TALLYPORT_STR("mine"), &table,
                                 TALLYPORT_STR("{\"a\":1}"), &err));
}

/* What a function of this host saw. */
struct seen {
    int calls, freed;
    char last[256];
};

static int32_t on_event(void *data, const tallyport_event *event) {
    struct seen *seen = data;
    CHECK(event->size == sizeof *event && event->flags == 0);
    CHECK(event->timestamp_ns > 0 && event->correlation_id.len > 0);
    snprintf(seen->last, sizeof seen->last, "%.*s", (int)event->name.len, event->name.ptr);
    seen->calls++;
    return event->field_count == 0 ? 7 : 0;
}

static void free_seen(void *data) { ((struct seen *)data)->freed++; }

static int32_t on_drained(void *data, const tallyport_event *event) {
    const tallyport_event_field *fields = event->fields;
    CHECK(is(event->name, "order.paid") && is(event->category, "custom"));
    CHECK(is(event->correlation_id, "req-1") && event->field_count == 8);
    CHECK(is(fields[0].name, "null") && fields[0].type == TALLYPORT_FIELD_NULL);
    CHECK(fields[1].type == TALLYPORT_FIELD_BOOL && fields[1].integer == 1);
    CHECK(fields[2].type == TALLYPORT_FIELD_I64 && fields[2].integer == -7);
    CHECK(fields[3].type == TALLYPORT_FIELD_U64 && (uint64_t)fields[3].integer == UINT64_MAX);
    CHECK(fields[4].type == TALLYPORT_FIELD_F64 && fields[4].number == 0.5);
    CHECK(fields[5].type == TALLYPORT_FIELD_STR && is(fields[5].text, "text"));
    CHECK(fields[6].type == TALLYPORT_FIELD_JSON && is(fields[6].text, "{\"a\":[1]}"));
    /* JSON that is not nested is what it is. */
    CHECK(fields[7].type == TALLYPORT_FIELD_I64 && fields[7].integer == 3);
    ++*(int *)data;
    return *(int *)data == 2 ? -1 : 0;
}

static void events(tallyport_engine *engine) {
    static const tallyport_event_field fields[] = {
        {TALLYPORT_STR_INIT("null"), TALLYPORT_FIELD_NULL, 0, 0, 0, TALLYPORT_STR_INIT("")},
        {TALLYPORT_STR_INIT("bool"), TALLYPORT_FIELD_BOOL, 0, 5, 0, TALLYPORT_STR_INIT("")},
        {TALLYPORT_STR_INIT("i64"), TALLYPORT_FIELD_I64, 0, -7, 0, TALLYPORT_STR_INIT("")},
        {TALLYPORT_STR_INIT("u64"), TALLYPORT_FIELD_U64, 0, -1, 0, TALLYPORT_STR_INIT("")},
        {TALLYPORT_STR_INIT("f64"), TALLYPORT_FIELD_F64, 0, 0, 0.5, TALLYPORT_STR_INIT("")},
        {TALLYPORT_STR_INIT("str"), TALLYPORT_FIELD_STR, 0, 0, 0, TALLYPORT_STR_INIT("text")},
        {TALLYPORT_STR_INIT("json"), TALLYPORT_FIELD_JSON, 0, 0, 0,
         TALLYPORT_STR_INIT("{\"a\": [1]}")},
        {TALLYPORT_STR_INIT("plain"), TALLYPORT_FIELD_JSON, 0, 0, 0, TALLYPORT_STR_INIT("3")}};
    const tallyport_str paid = TALLYPORT_STR("order.paid"), none = TALLYPORT_STR("");
    struct seen seen, handled, replaced;
    tallyport_listener_options options;
    tallyport_subscription *called, *queue;
    tallyport_topic *topic;
    tallyport_buf buf;
    int drained = 0;

    OK(tallyport_event_define(engine, paid, TALLYPORT_STR("The money is there."),
                              TALLYPORT_STR("{\"type\":\"object\"}"), &err));
    FAILS(TALLYPORT_ALREADY_EXISTS, "name",
          tallyport_event_define(engine, paid, none, none, &err));
    OK(tallyport_events_list(engine, TALLYPORT_STR("order"), &buf, &err));
    CHECK(has(&buf, "\"name\":\"order.paid\"") && has(&buf, "\"category\":\"custom\""));
    CHECK(!has(&buf, "task.completed"));
    tallyport_buf_free(&buf);
    OK(tallyport_events_search(engine, TALLYPORT_STR("MONEY order"), &buf, &err));
    CHECK(has(&buf, "order.paid"));
    tallyport_buf_free(&buf);

    memset(&seen, 0, sizeof seen);
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.name = TALLYPORT_STR("called");
    options.events = TALLYPORT_STR("order.* task.completed");
    options.function = on_event;
    options.data = &seen;
    options.free_data = free_seen;
    OK(tallyport_event_subscribe(engine, &options, &called, &err));
    options.name = none;
    options.events = TALLYPORT_STR("order.*");
    options.function = NULL;
    options.queue_events = 3;
    options.queue_bytes = 1 << 20;
    OK(tallyport_event_subscribe(engine, &options, &queue, &err));

    OK(tallyport_topic_get(engine, paid, &topic, &err));
    CHECK(tallyport_topic_is_heard(topic) == 1);
    OK(tallyport_event_publish(engine, paid, TALLYPORT_STR("req-1"), fields, 8, &err));
    OK(tallyport_topic_publish(topic, TALLYPORT_STR("req-1"), fields, 8, &err));
    OK(tallyport_event_publish_json(engine, TALLYPORT_STR("order.lost"), none,
                                    TALLYPORT_STR("{\"why\":\"rain\"}"), &err));
    OK(tallyport_event_publish(engine, TALLYPORT_STR("order.lost"), none, NULL, 0, &err));
    CHECK(seen.calls == 4 && strcmp(seen.last, "order.lost") == 0);
    OK(tallyport_subscription_status(queue, &buf, &err));
    CHECK(has(&buf, "\"queued\":3") && has(&buf, "\"dropped\":1"));
    tallyport_buf_free(&buf);
    OK(tallyport_registries_check(engine, &buf, &err));
    CHECK(has(&buf, "\"healthy\":false") && has(&buf, "dropped 1 events; drain it faster"));
    tallyport_buf_free(&buf);
    OK(tallyport_subscription_drain(queue, on_drained, &drained, 1, 0, &err));
    CHECK(drained == 1);
    FAILS(TALLYPORT_CANCELLED, "function",
          tallyport_subscription_drain(queue, on_drained, &drained, 0, 0, &err));
    OK(tallyport_subscription_next(queue, 0, &buf, &err));
    CHECK(has(&buf, "\"event\":\"order.lost\"") && has(&buf, "\"payload\":{\"why\":\"rain\"}"));
    tallyport_buf_free(&buf);
    FAILS(TALLYPORT_TIMEOUT, "", tallyport_subscription_next(queue, 1, &buf, &err));
    FAILS(TALLYPORT_INVALID_ARGUMENT, "subscription",
          tallyport_subscription_next(called, 0, &buf, &err));
    OK(tallyport_subscribers_list(engine, &buf, &err));
    CHECK(has(&buf, "\"name\":\"called\"") && has(&buf, "\"failures\":1"));
    CHECK(has(&buf, "the function answered 7"));
    tallyport_buf_free(&buf);
    tallyport_subscription_free(called);
    CHECK(seen.freed == 1);
    tallyport_subscription_free(queue);
    tallyport_topic_free(topic);

    memset(&handled, 0, sizeof handled);
    memset(&replaced, 0, sizeof replaced);
    options.name = TALLYPORT_STR("bill");
    options.function = on_event;
    options.data = &handled;
    options.queue_events = options.queue_bytes = 0;
    OK(tallyport_handler_register(engine, &options, &err));
    OK(tallyport_event_publish(engine, paid, none, fields, 8, &err));
    options.data = &replaced;
    FAILS(TALLYPORT_ALREADY_EXISTS, "options.name",
          tallyport_handler_register(engine, &options, &err));
    CHECK(replaced.freed == 1); /* what is refused is freed too */
    OK(tallyport_handler_replace(engine, &options, &err));
    CHECK(handled.calls == 1 && handled.freed == 1);
    OK(tallyport_event_publish(engine, paid, none, fields, 8, &err));
    CHECK(handled.calls == 1 && replaced.calls == 1);
    OK(tallyport_handlers_list(engine, &buf, &err));
    CHECK(has(&buf, "\"name\":\"bill\"") && has(&buf, "\"delivered\":1"));
    tallyport_buf_free(&buf);
    OK(tallyport_handler_unregister(engine, options.name, &err));
    CHECK(replaced.freed == 2);
    FAILS(TALLYPORT_NOT_FOUND, "name",
          tallyport_handler_unregister(engine, options.name, &err));
}

static void families(tallyport_engine *engine) {
    const tallyport_str names[] = {TALLYPORT_STR("method"), TALLYPORT_STR("code")};
    const tallyport_str get[] = {TALLYPORT_STR("GET"), TALLYPORT_STR("200")};
    const tallyport_str no_code[] = {TALLYPORT_STR("GET"), TALLYPORT_STR("")};
    const tallyport_str broken[] = {TALLYPORT_STR("GET"), TALLYPORT_STR("\xff")};
    const tallyport_str twice[] = {TALLYPORT_STR("a"), TALLYPORT_STR("a")};
    const double bounds[] = {0.5, 1};
    tallyport_counter_family *hits, *again;
    tallyport_counter_f64_family *seconds;
    tallyport_up_down_counter_family *flying;
    tallyport_up_down_counter_f64_family *litres;
    tallyport_gauge_family *level;
    tallyport_histogram_family *took;
    tallyport_label label = {TALLYPORT_STR("method"), TALLYPORT_STR("GET")};
    tallyport_counter *counter;
    tallyport_buf buf;

    OK(tallyport_counter_family_get(engine, str("hits_total"), names, 2, &hits, &err));
    OK(tallyport_counter_family_add(hits, get, 2, 2, &err));
    OK(tallyport_counter_family_add(hits, get, 2, 3, &err));
    /* An empty value is no label: this is the series that the handle has. */
    OK(tallyport_counter_family_add(hits, no_code, 2, 7, &err));
    OK(tallyport_counter_get(engine, str("hits_total"), &label, 1, &counter, &err));
    CHECK(tallyport_counter_value(counter) == 7);
    tallyport_counter_free(counter);
    FAILS(TALLYPORT_INVALID_ARGUMENT, "values",
          tallyport_counter_family_add(hits, get, 1, 1, &err));
    FAILS(TALLYPORT_INVALID_ARGUMENT, "values",
          tallyport_counter_family_add(hits, get, SIZE_MAX, 1, &err));
    FAILS(TALLYPORT_INVALID_UTF8, "values[1]",
          tallyport_counter_family_add(hits, broken, 2, 1, &err));
    FAILS(TALLYPORT_INVALID_ARGUMENT, "label_names",
          tallyport_counter_family_get(engine, str("hits_total"), twice, 2, &again, &err));
    FAILS(TALLYPORT_CONFLICT, "name",
          tallyport_counter_family_get(engine, str("celsius"), names, 2, &again, &err));

    /* Past the limit of three series, values fold; the host is told of that, once. */
    const int lines = lines_logged;
    char text[2] = "a";
    const tallyport_str other[] = {{text, 1}, TALLYPORT_STR("500")};
    for (; text[0] < 'g'; text[0]++) OK(tallyport_counter_family_add(hits, other, 2, 1, &err));
    CHECK(lines_logged > lines);
    /* Nine labels: more than a call reads without memory of its own. */
    static const char letters[] = "abcdefghi";
    tallyport_str many[9];
    for (int i = 0; i < 9; i++) many[i] = (tallyport_str){&letters[i], 1};
    OK(tallyport_counter_f64_family_get(engine, str("spent_seconds_total"), many, 9, &seconds, &err));
    OK(tallyport_counter_f64_family_add(seconds, many, 9, 0.5, &err));
    FAILS(TALLYPORT_INVALID_ARGUMENT, "amount",
          tallyport_counter_f64_family_add(seconds, many, 9, -1, &err));
    OK(tallyport_up_down_counter_family_get(engine, str("flying"), names, 2, &flying, &err));
    OK(tallyport_up_down_counter_family_add(flying, get, 2, -3, &err));
    OK(tallyport_up_down_counter_f64_family_get(engine, str("tank_litres"), NULL, 0, &litres, &err));
    OK(tallyport_up_down_counter_f64_family_add(litres, NULL, 0, -0.5, &err));
    FAILS(TALLYPORT_INVALID_ARGUMENT, "amount",
          tallyport_up_down_counter_f64_family_add(litres, NULL, 0, (double)NAN, &err));
    OK(tallyport_gauge_family_get(engine, str("level"), names, 2, &level, &err));
    OK(tallyport_gauge_family_set(level, get, 2, 20, &err));
    OK(tallyport_gauge_family_add(level, get, 2, 1.5, &err));
    for (text[0] = 'a'; text[0] < 'c'; text[0]++)
        OK(tallyport_gauge_family_set(level, other, 2, 1, &err));
    FAILS(TALLYPORT_LIMIT, "values", tallyport_gauge_family_set(level, other, 2, 1, &err));
    OK(tallyport_histogram_family_get(engine, str("spans"), bounds, 2, names, 2, &took, &err));
    OK(tallyport_histogram_family_observe(took, get, 2, 0.75, &err));
    OK(tallyport_histogram_family_observe(took, get, 2, (double)NAN, &err));

    OK(tallyport_export_z(engine, "prometheus", &buf, &err));
    CHECK(has(&buf, "hits_total{code=\"200\",method=\"GET\"} 5\n"));
    CHECK(has(&buf, "hits_total{tallyport_overflow=\"true\"} 5\n"));
    CHECK(has(&buf, "spent_seconds_total{a=\"a\",") && has(&buf, ",i=\"i\"} 0.5\n"));
    CHECK(has(&buf, "flying{code=\"200\",method=\"GET\"} -3\n"));
    CHECK(has(&buf, "tank_litres -0.5\n"));
    CHECK(has(&buf, "level{code=\"200\",method=\"GET\"} 21.5\n"));
    CHECK(has(&buf, "spans_bucket{code=\"200\",method=\"GET\",le=\"1.0\"} 1\n")
          || has(&buf, "spans_bucket{code=\"200\",method=\"GET\",le=\"1\"} 1\n"));
    tallyport_buf_free(&buf);
    tallyport_counter_family_free(hits);
    tallyport_counter_f64_family_free(seconds);
    tallyport_up_down_counter_family_free(flying);
    tallyport_up_down_counter_f64_family_free(litres);
    tallyport_gauge_family_free(level);
    tallyport_histogram_family_free(took);
}

static int32_t answer(void *data, double *value) {
    *value = *(const double *)data;
    return 0;
}

static int32_t count_line(void *data, const tallyport_log_line *line) {
    CHECK(line->size == sizeof *line && line->level >= TALLYPORT_LOG_ERROR);
    CHECK(line->timestamp_ns > 0 && line->target.len > 0 && line->message.len > 0);
    ++*(int *)data;
    return 0;
}

static void collecting(tallyport_engine *engine) {
    static double degrees = 21.5;
    const tallyport_label labels[] = {{TALLYPORT_STR("room"), TALLYPORT_STR("attic")}};
    tallyport_collector *collector;
    tallyport_collector_options options;
    tallyport_buf buf;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.name = TALLYPORT_STR("temperature_celsius");
    options.labels = labels;
    options.label_count = 1;
    options.gauge = answer;
    options.data = &degrees;
    OK(tallyport_collector_register(engine, &options, &collector, &err));
    OK(tallyport_export_z(engine, "prometheus", &buf, &err));
    CHECK(has(&buf, "temperature_celsius{room=\"attic\"} 21.5\n"));
    tallyport_buf_free(&buf);
    OK(tallyport_collectors_list(engine, &buf, &err));
    CHECK(has(&buf, "\"kind\":\"gauge\"") && has(&buf, "\"calls\":1"));
    tallyport_buf_free(&buf);
    tallyport_collector_free(collector);
}

static void log_rings(const char *folder) {
    tallyport_log_ring *ring;
    tallyport_log_ring_options kept;
    tallyport_engine_options options;
    tallyport_engine *engine;
    tallyport_buf buf;
    int lines = 0;

    memset(&kept, 0, sizeof kept);
    kept.size = sizeof kept;
    kept.lines = 100;
    OK(tallyport_log_ring_new(&kept, &ring, &err));
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.base_dir = str(folder);
    options.log_ring = ring;
    options.log_level = TALLYPORT_LOG_TRACE;
    OK(tallyport_engine_open_with(&options, &engine, &err));
    tallyport_engine_close(engine);
    OK(tallyport_log_ring_next(ring, &buf, &err));
    CHECK(has(&buf, "\"level\":\"info\"") && has(&buf, "\"message\":\"registered plugin="));
    tallyport_buf_free(&buf);
    OK(tallyport_log_ring_drain(ring, count_line, &lines, 0, &err));
    CHECK(lines > 0 && tallyport_log_ring_dropped(ring) == 0);
    OK(tallyport_log_ring_next(ring, &buf, &err));
    CHECK(buf.ptr == NULL && buf.len == 0);
    tallyport_log_ring_free(ring);
}

static int32_t find_nothing(void *data, tallyport_store_call *call, tallyport_str key) {
    CHECK(key.len > 0);
    ++*(int *)data;
    OK(tallyport_store_call_value(call, TALLYPORT_STR("not used"), 1, &err));
    OK(tallyport_store_call_fail(call, TALLYPORT_STR("not used"), &err));
    return TALLYPORT_STORE_NOT_DONE;
}

static int32_t write_nothing(void *data, tallyport_store_call *call, tallyport_str key,
                             tallyport_str value, uint64_t ttl_ms) {
    CHECK(call != NULL && key.len > 0 && value.len > 0 && ttl_ms > 0);
    ++*(int *)data;
    return TALLYPORT_STORE_DONE;
}

/* A store of the host's own that keeps nothing is found out: an engine has its own totals then. */
static void own_store(void) {
    tallyport_engine *engine;
    tallyport_store store;
    tallyport_buf buf;
    int called = 0;
    memset(&store, 0, sizeof store);
    store.size = sizeof store;
    store.data = &called;
    store.get = store.remove = find_nothing;
    store.set = store.add = write_nothing;
    OK(tallyport_engine_open_z(NULL, &engine, &err));
    OK(tallyport_store_attach(engine, &store, &err));
    OK(tallyport_sync(engine, &err));
    CHECK(called == 3);
    OK(tallyport_sync(engine, &err));
    CHECK(called == 3);
    OK(tallyport_engine_status(engine, &buf, &err));
    CHECK(has(&buf, "\"store\":\"host\"") && has(&buf, "\"strategy\":\"local_only\""));
    tallyport_buf_free(&buf);
    tallyport_engine_close(engine);
}

static void taking_out(tallyport_engine *engine) {
    const tallyport_str kept_name = TALLYPORT_STR("kept");
    tallyport_counter_family *kept;
    const tallyport_label labels[] = {{TALLYPORT_STR("a"), TALLYPORT_STR("1")},
                                      {TALLYPORT_STR("b"), TALLYPORT_STR("2")}};
    const tallyport_str name = TALLYPORT_STR("requests_total");
    tallyport_counter *counter;
    tallyport_buf buf;

    OK(tallyport_counter_get(engine, name, labels, 2, &counter, &err));
    OK(tallyport_series_remove(engine, name, labels, 2, &err));
    FAILS(TALLYPORT_NOT_FOUND, "labels", tallyport_series_remove(engine, name, labels, 2, &err));
    tallyport_counter_add(counter, 1);
    OK(tallyport_family_clear(engine, TALLYPORT_STR("took"), &err));
    OK(tallyport_export_z(engine, "prometheus", &buf, &err));
    CHECK(!has(&buf, "requests_total{") && !has(&buf, "took_bucket"));
    tallyport_buf_free(&buf);
    OK(tallyport_engine_status(engine, &buf, &err));
    CHECK(has(&buf, "\"service_name\":\"till\"") && has(&buf, "\"nan\":2"));
    CHECK(has(&buf, "\"strategy\":\"local_only\""));
    tallyport_buf_free(&buf);

    /* Without a store an engine has its own totals. */
    tallyport_snapshot_handle *own;
    OK(tallyport_sync(engine, &err));
    OK(tallyport_sync_start(engine, &err));
    OK(tallyport_sync_stop(engine, 60000, &err));
    OK(tallyport_sync_leave(engine, &err));
    FAILS(TALLYPORT_NOT_FOUND, "target", tallyport_target_export(engine, str("x"), 0, &buf, &err));
    FAILS(TALLYPORT_NOT_FOUND, "target", tallyport_target_export_z(engine, "x", 0, &buf, &err));
    FAILS(TALLYPORT_NOT_FOUND, "targets", tallyport_schedule_start(engine, &err));
    OK(tallyport_schedule_stop(engine, 0, &err));
    OK(tallyport_snapshot_take_shared(engine, &own, &err));
    tallyport_snapshot_free(own);

    OK(tallyport_serve_start(engine, TALLYPORT_STR("127.0.0.1:0"), &err));
    OK(tallyport_serve_address(engine, &buf, &err));
    CHECK(buf.len > 10 && memcmp(buf.ptr, "127.0.0.1:", 10) == 0);
    tallyport_buf_free(&buf);
    OK(tallyport_serve_stop(engine, 1000, &err));

    /* A handle outlives its engine and records where nobody looks. */
    OK(tallyport_counter_family_get(engine, str("kept_total"), &kept_name, 1, &kept, &err));
    tallyport_engine_close(engine);
    CHECK(live_exporters == 0);
    const int lines = lines_logged;
    char value[2] = "a";
    const tallyport_str values = {value, 1};
    for (; value[0] < 'g'; value[0]++) OK(tallyport_counter_family_add(kept, &values, 1, 1, &err));
    CHECK(lines_logged == lines); /* nor does it log to a function that may be gone */
    tallyport_counter_family_free(kept);
    tallyport_counter_add(counter, 1);
    CHECK(tallyport_counter_value(counter) == 7);
    tallyport_counter_free(counter);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    versions();
    errors();
    tallyport_engine *engine = opened(argv[2]);
    recording(engine);
    exports(engine, argv[2]);
    plugins(engine, argv[1]);
    events(engine);
    families(engine);
    collecting(engine);
    log_rings(argv[2]);
    own_store();
    taking_out(engine);
    CHECK(tallyport_misuse_count() == 0);
    return 0;
}
