/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A log function that calls back into the engine that logs, whatever the engine is doing. */
#include "host.h"

static tallyport_engine *engine;
static int lines, depth, overflowed;

static void on_log(void *data, int32_t level, tallyport_str target, tallyport_str message) {
    tallyport_counter *counter = NULL;
    tallyport_buf buf = {0, 0, 0};
    char text[512];

    (void)data;
    (void)level;
    (void)target;
    snprintf(text, sizeof text, "%.*s", (int)message.len, message.ptr);
    if (strstr(text, "fold into")) overflowed++;
    lines++;
    CHECK(++depth == 1); /* never from inside itself */
    if (engine != NULL) {
        /* New label sets of the very family that is over its limit, and calls that log again. */
        const char *const labels[] = {"from", "log", NULL};
        CHECK(tallyport_counter_get_z(engine, "requests_total", labels, &counter, NULL) == 0);
        tallyport_counter_add(counter, 1);
        tallyport_counter_free(counter);
        CHECK(tallyport_export_z(engine, "prometheus", &buf, NULL) == 0);
        tallyport_buf_free(&buf);
        CHECK(tallyport_export_z(engine, "csv/xml", &buf, NULL) == TALLYPORT_UNSUPPORTED);
        CHECK(tallyport_engine_status(engine, &buf, NULL) == 0);
        tallyport_buf_free(&buf);
        /* Two more messages for each, which must not go on for ever. */
        tallyport_plugin_options plugin;
        memset(&plugin, 0, sizeof plugin);
        plugin.size = sizeof plugin;
        plugin.name = TALLYPORT_STR("again");
        plugin.exporter = TALLYPORT_STR("csv");
        CHECK(tallyport_plugin_load(engine, &plugin, NULL) == 0);
        CHECK(tallyport_plugin_unregister(engine, plugin.name, NULL) == 0);
    }
    depth--;
}

static int32_t write_and_call(void *data, const uint8_t *bytes, size_t len) {
    tallyport_buf buf = {0, 0, 0};
    (void)data;
    (void)bytes;
    (void)len;
    CHECK(tallyport_export_z(engine, "csv", &buf, NULL) == TALLYPORT_OK);
    tallyport_buf_free(&buf);
    return 0;
}

int main(void) {
    tallyport_engine_options options;
    tallyport_engine *opened;
    tallyport_buf buf;
    char value[16];

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.log_fn = on_log;
    options.log_level = TALLYPORT_LOG_TRACE;
    options.max_series_per_family = 2;
    OK(tallyport_engine_open_with(&options, &opened, &err));
    engine = opened;
    for (int i = 0; i < 10; i++) {
        const char *const labels[] = {"i", value, NULL};
        tallyport_counter *counter;
        snprintf(value, sizeof value, "%d", i);
        OK(tallyport_counter_get_z(engine, "requests_total", labels, &counter, &err));
        tallyport_counter_add(counter, 1);
        tallyport_counter_free(counter);
    }
    CHECK(overflowed == 1);
    const int before = lines;
    FAILS(TALLYPORT_NOT_FOUND, "name",
          tallyport_plugin_unregister(engine, TALLYPORT_STR("none"), &err));
    OK(tallyport_plugin_unregister(engine, TALLYPORT_STR("json"), &err));
    CHECK(lines > before && lines < before + 100);
    OK(tallyport_export_cb(engine, TALLYPORT_STR("prometheus"), write_and_call, NULL, &err));
    OK(tallyport_export_z(engine, "prometheus", &buf, &err));
    /* 2 series, and what was past them, the log's own included, in the overflow. */
    CHECK(has(&buf, "tallyport_overflow=\"true\""));
    tallyport_buf_free(&buf);
    engine = NULL; /* the last lines come while it closes */
    tallyport_engine_close(opened);
    return 0;
}
