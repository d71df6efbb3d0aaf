/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Has tallyport.lifecycle/1 and flush: each export writes which calls came before it. */
#include "good.h"

#include <stdio.h>

struct seen {
    tallyport_exporter base; /* first, so that good_destroy frees it */
    unsigned requests, completes, flushes;
    int status;
    unsigned long long bytes;
};

static tallyport_status create(const tallyport_host *host, tallyport_str config_json,
                               tallyport_exporter **exporter, tallyport_error *error) {
    (void)config_json;
    (void)error;
    struct seen *self = calloc(1, sizeof *self);
    if (self == NULL) return TALLYPORT_PLUGIN_FAILED;
    self->base.host = host;
    *exporter = &self->base;
    return TALLYPORT_OK;
}

static tallyport_status export_snapshot(tallyport_exporter *exporter, const tallyport_call *call,
                                        const tallyport_snapshot *snapshot, tallyport_sink *sink,
                                        tallyport_error *error) {
    const struct seen *self = (const struct seen *)exporter;
    char line[128];
    (void)call;
    (void)snapshot;
    (void)error;
    const int len = snprintf(line, sizeof line,
                             "requests %u completes %u status %d bytes %llu flushes %u\n",
                             self->requests, self->completes, self->status, self->bytes,
                             self->flushes);
    return self->base.host->sink_write(self->base.host, sink, (const uint8_t *)line, (size_t)len);
}

static tallyport_status flush(tallyport_exporter *exporter, const tallyport_call *call,
                              tallyport_error *error) {
    (void)call;
    (void)error;
    ((struct seen *)exporter)->flushes++;
    return TALLYPORT_OK;
}

static tallyport_status on_export_request(tallyport_exporter *exporter, const tallyport_call *call,
                                          tallyport_error *error) {
    struct seen *self = (struct seen *)exporter;
    self->requests++;
    if (call->format.len != 7 || memcmp(call->format.ptr, "refused", 7) != 0) return TALLYPORT_OK;
    self->base.host->error_set(self->base.host, error, TALLYPORT_LIMIT, good_text("not now"));
    return TALLYPORT_LIMIT;
}

static void on_export_complete(tallyport_exporter *exporter, const tallyport_call *call,
                               const tallyport_export_result *result) {
    struct seen *self = (struct seen *)exporter;
    (void)call;
    self->completes++;
    self->status = result->status;
    self->bytes = result->bytes;
}

static const void *get_extension(tallyport_str id) {
    static const tallyport_lifecycle_v1 lifecycle = {
        .struct_size = sizeof(tallyport_lifecycle_v1),
        .on_export_request = on_export_request,
        .on_export_complete = on_export_complete,
    };
    const tallyport_str known = good_text("tallyport.lifecycle/1");
    return id.len == known.len && memcmp(id.ptr, known.ptr, id.len) == 0 ? &lifecycle : NULL;
}

static const tallyport_format formats[] = {
    {TALLYPORT_STR_INIT("seen"), TALLYPORT_STR_INIT("text/plain; charset=utf-8")},
    {TALLYPORT_STR_INIT("refused"), TALLYPORT_STR_INIT("text/plain; charset=utf-8")},
};
static const tallyport_plugin_v1 plugin = {
    .struct_size = sizeof(tallyport_plugin_v1),
    .abi = TALLYPORT_PLUGIN_ABI,
    .caps = TALLYPORT_CAP_WRITES_SINK | TALLYPORT_CAP_OUT_OF_PROC,
    .id = TALLYPORT_STR_INIT("com.example.lifecycle"),
    .version = TALLYPORT_STR_INIT("1.0.0"),
    .formats = formats,
    .format_count = 2,
    .signals = TALLYPORT_SIGNAL_METRICS,
    .create = create,
    .export_snapshot = export_snapshot,
    .flush = flush,
    .destroy = good_destroy,
    .get_extension = get_extension,
};
TALLYPORT_PLUGIN_FILE("com.example.lifecycle", "1.0.0");
GOOD_ENTRY(&plugin, 1)
