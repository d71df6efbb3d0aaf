/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the consumers in C have in common: a host that counts, is asked, and exports.
 *
 *     consumer [EXPORTERS_FILE]
 *
 * It writes what it recorded, as Prometheus text, and once more through the exporters' file. With
 * PLANTED_BUG it reads memory that it freed, so that who looks for such bugs is seen to look. */
#include <tallyport.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed(const char *what, tallyport_error *err) {
    fprintf(stderr, "%s: %s\n", what, tallyport_error_message(err).ptr);
    tallyport_error_free(err);
    return 1;
}

static int32_t depth(void *data, double *value) {
    *value = *(const int *)data;
    return 0;
}

static int print(tallyport_engine *engine, const char *selector) {
    tallyport_error *err = NULL;
    tallyport_buf text = {0, 0, 0};
    if (tallyport_export_z(engine, selector, &text, &err)) return failed(selector, err);
    fwrite(text.ptr, 1, text.len, stdout);
    tallyport_buf_free(&text);
    return 0;
}

int main(int argc, char **argv) {
    const char *const labels[] = {"method", "GET", NULL};
    int waiting = 3, bad = 1;
    tallyport_error *err = NULL;
    tallyport_engine *engine = NULL;
    tallyport_counter *hits = NULL;
    tallyport_collector *collector = NULL;
    tallyport_collector_options asked;
    tallyport_plugin_options plugin;

    if (tallyport_abi_check(TALLYPORT_ABI_VERSION) != TALLYPORT_OK) return 2;
    if (strcmp(tallyport_version(), TALLYPORT_VERSION_STRING) != 0) return 3;
    if (tallyport_engine_open_z(NULL, &engine, &err)) return failed("open", err);
    if (tallyport_counter_get_z(engine, "http_requests_total", labels, &hits, &err)) goto fail;
    tallyport_counter_add(hits, 2);

    memset(&asked, 0, sizeof asked);
    asked.size = sizeof asked;
    asked.name = TALLYPORT_STR("queue_depth");
    asked.gauge = depth;
    asked.data = &waiting;
    if (tallyport_collector_register(engine, &asked, &collector, &err)) goto fail;
    bad = print(engine, "prometheus");

    if (!bad && argc > 1) {
        memset(&plugin, 0, sizeof plugin);
        plugin.size = sizeof plugin;
        plugin.name = TALLYPORT_STR("file");
        plugin.path.ptr = argv[1];
        plugin.path.len = strlen(argv[1]);
        plugin.exporter = TALLYPORT_STR("prometheus");
        if (tallyport_plugin_load(engine, &plugin, &err)) goto fail;
        bad = print(engine, "file");
    }
#ifdef PLANTED_BUG
    char *gone = malloc(8);
    memset(gone, 0, 8);
    free(gone);
    bad += *(volatile char *)gone;
#endif
    goto done;
fail:
    bad = failed("call", err);
done:
    tallyport_collector_free(collector);
    tallyport_counter_free(hits);
    tallyport_engine_close(engine);
    return bad;
}
