/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Wants to know of syncs: each export writes what it has heard of since it was made; in its second
 * format so much that its caller takes some of it while the export goes on.
 */
#include "good.h"

#include <stdio.h>

struct heard {
    tallyport_exporter base; /* first, so that good_destroy frees it */
    unsigned calls;
    unsigned long long syncs, series, bytes, duration_ns;
    char store[16], strategy[32];
};

static tallyport_status create(const tallyport_host *host, tallyport_str config_json,
                               tallyport_exporter **exporter, tallyport_error *error) {
    (void)config_json;
    (void)error;
    struct heard *self = calloc(1, sizeof *self);
    if (self == NULL) return TALLYPORT_PLUGIN_FAILED;
    self->base.host = host;
    *exporter = &self->base;
    return TALLYPORT_OK;
}

static tallyport_status export_snapshot(tallyport_exporter *exporter, const tallyport_call *call,
                                        const tallyport_snapshot *snapshot, tallyport_sink *sink,
                                        tallyport_error *error) {
    const struct heard *self = (const struct heard *)exporter;
    const tallyport_host *host = self->base.host;
    static const uint8_t much[1 << 16];
    char line[256];
    (void)snapshot;
    (void)error;
    for (int i = 0; i < 64 && call->format.ptr[0] == 'l'; i++) {
        const tallyport_status status = host->sink_write(host, sink, much, sizeof much);
        if (status != TALLYPORT_OK) return status;
    }
    const int len =
        snprintf(line, sizeof line, "calls %u syncs %llu series %llu bytes %llu took %d %s %s\n",
                 self->calls, self->syncs, self->series, self->bytes, self->duration_ns > 0,
                 self->store, self->strategy);
    return host->sink_write(host, sink, (const uint8_t *)line, (size_t)len);
}

/* Texts are borrowed: they are copied, and cut where there is no room. */
static void keep(char *to, size_t room, tallyport_str text) {
    const size_t len = text.len < room ? text.len : room - 1;
    memcpy(to, text.ptr, len);
    to[len] = '\0';
}

static void on_sync(tallyport_exporter *exporter, const tallyport_call *call,
                    const tallyport_sync_result *result) {
    struct heard *self = (struct heard *)exporter;
    (void)call;
    self->calls++;
    self->syncs += result->syncs;
    self->series += result->series;
    self->bytes += result->bytes;
    self->duration_ns += result->duration_ns;
    keep(self->store, sizeof self->store, result->store);
    keep(self->strategy, sizeof self->strategy, result->strategy);
}

static const void *get_extension(tallyport_str id) {
    static const tallyport_lifecycle_v1 lifecycle = {.struct_size = sizeof(tallyport_lifecycle_v1),
                                                     .on_sync = on_sync};
    const tallyport_str known = good_text("tallyport.lifecycle/1");
    return id.len == known.len && memcmp(id.ptr, known.ptr, id.len) == 0 ? &lifecycle : NULL;
}

static const tallyport_format formats[] = {
    {TALLYPORT_STR_INIT("heard"), TALLYPORT_STR_INIT("text/plain; charset=utf-8")},
    {TALLYPORT_STR_INIT("large"), TALLYPORT_STR_INIT("application/octet-stream")},
};
static const tallyport_plugin_v1 plugin = {
    .struct_size = sizeof(tallyport_plugin_v1),
    .abi = TALLYPORT_PLUGIN_ABI,
    .caps = TALLYPORT_CAP_WRITES_SINK | TALLYPORT_CAP_OUT_OF_PROC,
    .id = TALLYPORT_STR_INIT("com.example.hears-syncs"),
    .version = TALLYPORT_STR_INIT("1.0.0"),
    .formats = formats,
    .format_count = 2,
    .signals = TALLYPORT_SIGNAL_METRICS,
    .create = create,
    .export_snapshot = export_snapshot,
    .destroy = good_destroy,
    .get_extension = get_extension,
};
TALLYPORT_PLUGIN_FILE("com.example.hears-syncs", "1.0.0");
GOOD_ENTRY(&plugin, 1)
