/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Nothing is wrong: it declares FORK_AWARE, and writes how many exports and forks this very instance
 * has seen. An export takes a while when the file that its options name, as bare text, is there.
 */
#define _POSIX_C_SOURCE 200809L /* nanosleep */
#include "good.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

struct instance {
    struct tallyport_exporter base;
    int exports, forks;
    char slow[256];
};

static tallyport_status create(const tallyport_host *host, tallyport_str config_json,
                               tallyport_exporter **exporter, tallyport_error *error) {
    struct instance *self = calloc(1, sizeof *self);
    (void)error;
    if (self == NULL) return TALLYPORT_PLUGIN_FAILED;
    self->base.host = host;
    /* {"slow":"/path"} */
    const char *path = memchr(config_json.ptr, '/', config_json.len);
    if (path != NULL) {
        for (size_t at = 0; path[at] != '"' && at + 1 < sizeof self->slow; at++)
            self->slow[at] = path[at];
    }
    *exporter = &self->base;
    return TALLYPORT_OK;
}

static tallyport_status export_snapshot(tallyport_exporter *exporter, const tallyport_call *call,
                                        const tallyport_snapshot *snapshot, tallyport_sink *sink,
                                        tallyport_error *error) {
    struct instance *self = (struct instance *)exporter;
    char text[64];
    (void)call;
    (void)snapshot;
    (void)error;
    self->exports++;
    while (self->slow[0] != 0 && access(self->slow, F_OK) == 0) {
        const struct timespec moment = {0, 1000000};
        nanosleep(&moment, NULL);
    }
    const int len = snprintf(text, sizeof text, "%d exports %d forks\n", self->exports, self->forks);
    return self->base.host->sink_write(self->base.host, sink, (const uint8_t *)text, (size_t)len);
}

static void after_fork_child(tallyport_exporter *exporter) {
    ((struct instance *)exporter)->forks++;
}

static const tallyport_plugin_v1 plugin = {
    .struct_size = sizeof(tallyport_plugin_v1),
    .abi = TALLYPORT_PLUGIN_ABI,
    .caps = TALLYPORT_CAP_WRITES_SINK | TALLYPORT_CAP_FORK_AWARE,
    .id = TALLYPORT_STR_INIT("com.example.fork-aware"),
    .version = TALLYPORT_STR_INIT("1.0.0"),
    .formats = &good_format,
    .format_count = 1,
    .signals = TALLYPORT_SIGNAL_METRICS,
    .create = create,
    .export_snapshot = export_snapshot,
    .destroy = good_destroy,
    .after_fork_child = after_fork_child,
};
TALLYPORT_PLUGIN_FILE("com.example.fork-aware", "1.0.0");
GOOD_ENTRY(&plugin, 1)
