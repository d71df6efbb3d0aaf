/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Good: an export goes on until it is cancelled. The format `asks` looks at the call, `told` waits
 * for `cancel`; `quick` is done at once, and says how often `cancel` was called.
 */
#include "hang.h"

#include <stdio.h>

struct told {
    tallyport_exporter base; /* first, so that good_destroy frees it */
    volatile int cancels;
};

static tallyport_status create(const tallyport_host *host, tallyport_str config_json,
                               tallyport_exporter **exporter, tallyport_error *error) {
    (void)config_json;
    (void)error;
    struct told *self = calloc(1, sizeof *self);
    if (self == NULL) return TALLYPORT_PLUGIN_FAILED;
    self->base.host = host;
    *exporter = &self->base;
    return TALLYPORT_OK;
}

static tallyport_status export_snapshot(tallyport_exporter *exporter, const tallyport_call *call,
                                        const tallyport_snapshot *snapshot, tallyport_sink *sink,
                                        tallyport_error *error) {
    struct told *self = (struct told *)exporter;
    const int before = __atomic_load_n(&self->cancels, __ATOMIC_SEQ_CST);
    (void)snapshot;
    if (memcmp(call->format.ptr, "quick", 5) == 0) {
        char line[32];
        const int len = snprintf(line, sizeof line, "cancels %d\n", before);
        return self->base.host->sink_write(self->base.host, sink, (const uint8_t *)line,
                                           (size_t)len);
    }
    if (memcmp(call->format.ptr, "asks", 4) == 0) {
        while (!call->is_cancelled(call)) hang_a_moment();
    } else {
        while (__atomic_load_n(&self->cancels, __ATOMIC_SEQ_CST) == before) hang_a_moment();
    }
    self->base.host->error_set(self->base.host, error, TALLYPORT_CANCELLED, good_text("as told"));
    return TALLYPORT_CANCELLED;
}

static void cancel(tallyport_exporter *exporter) {
    __atomic_add_fetch(&((struct told *)exporter)->cancels, 1, __ATOMIC_SEQ_CST);
}

static const tallyport_format formats[] = {
    {TALLYPORT_STR_INIT("asks"), TALLYPORT_STR_INIT("text/plain; charset=utf-8")},
    {TALLYPORT_STR_INIT("told"), TALLYPORT_STR_INIT("text/plain; charset=utf-8")},
    {TALLYPORT_STR_INIT("quick"), TALLYPORT_STR_INIT("text/plain; charset=utf-8")},
};
static const tallyport_plugin_v1 plugin = {
    .struct_size = sizeof(tallyport_plugin_v1),
    .abi = TALLYPORT_PLUGIN_ABI,
    .caps = TALLYPORT_CAP_WRITES_SINK | TALLYPORT_CAP_CANCEL | TALLYPORT_CAP_OUT_OF_PROC,
    .id = TALLYPORT_STR_INIT("com.example.honours-cancel"),
    .version = TALLYPORT_STR_INIT("1.0.0"),
    .formats = formats,
    .format_count = 3,
    .signals = TALLYPORT_SIGNAL_METRICS,
    .create = create,
    .export_snapshot = export_snapshot,
    .cancel = cancel,
    .destroy = good_destroy,
};
TALLYPORT_PLUGIN_FILE("com.example.honours-cancel", "1.0.0");
GOOD_ENTRY(&plugin, 1)
