/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Good, and CONCURRENT: an export in the format `two`, `four` or `five` waits until as many run at the
 * same time, or until it is cancelled, and writes how many it saw. `waits` runs until a `hangs` began,
 * and then a while longer; `hangs` never returns. `cancels` writes how often `cancel` was called.
 */
#include "hang.h"

#include <stdio.h>

struct hall {
    tallyport_exporter base; /* first, so that good_destroy frees it */
    int inside, most, hanging, cancels;
};

#define LOAD(from) __atomic_load_n(&(from), __ATOMIC_SEQ_CST)
#define ADD(to, amount) __atomic_add_fetch(&(to), amount, __ATOMIC_SEQ_CST)

static tallyport_status create(const tallyport_host *host, tallyport_str config_json,
                               tallyport_exporter **exporter, tallyport_error *error) {
    (void)config_json;
    (void)error;
    struct hall *self = calloc(1, sizeof *self);
    if (self == NULL) return TALLYPORT_PLUGIN_FAILED;
    self->base.host = host;
    *exporter = &self->base;
    return TALLYPORT_OK;
}

static int is(tallyport_str text, const char *wanted) {
    return text.len == strlen(wanted) && memcmp(text.ptr, wanted, text.len) == 0;
}

static tallyport_status tell(struct hall *self, tallyport_sink *sink, int number) {
    char line[16];
    const int len = snprintf(line, sizeof line, "%d\n", number);
    return self->base.host->sink_write(self->base.host, sink, (const uint8_t *)line, (size_t)len);
}

static tallyport_status export_snapshot(tallyport_exporter *exporter, const tallyport_call *call,
                                        const tallyport_snapshot *snapshot, tallyport_sink *sink,
                                        tallyport_error *error) {
    struct hall *self = (struct hall *)exporter;
    const tallyport_str format = call->format;
    (void)snapshot;
    (void)error;
    if (is(format, "cancels")) return tell(self, sink, LOAD(self->cancels));
    if (is(format, "hangs")) {
        ADD(self->hanging, 1);
        hang();
    }
    if (is(format, "waits")) {
        ADD(self->inside, 1);
        while (LOAD(self->hanging) == 0) hang_a_moment();
        /* Longer than what hangs is waited for. */
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        for (const time_t end = now.tv_sec + 3; now.tv_sec < end; hang_a_moment())
            clock_gettime(CLOCK_MONOTONIC, &now);
        return tell(self, sink, LOAD(self->inside));
    }
    const int wanted = is(format, "two") ? 2 : is(format, "four") ? 4 : 5;
    const int inside = ADD(self->inside, 1);
    int most = LOAD(self->most);
    while (most < inside && !__atomic_compare_exchange_n(&self->most, &most, inside, 0,
                                                         __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    }
    while (LOAD(self->most) < wanted && !call->is_cancelled(call)) hang_a_moment();
    ADD(self->inside, -1);
    return LOAD(self->most) < wanted ? TALLYPORT_CANCELLED : tell(self, sink, LOAD(self->most));
}

static void cancel(tallyport_exporter *exporter) { ADD(((struct hall *)exporter)->cancels, 1); }

static const tallyport_format formats[] = {
    {TALLYPORT_STR_INIT("two"), TALLYPORT_STR_INIT("text/plain")},
    {TALLYPORT_STR_INIT("four"), TALLYPORT_STR_INIT("text/plain")},
    {TALLYPORT_STR_INIT("five"), TALLYPORT_STR_INIT("text/plain")},
    {TALLYPORT_STR_INIT("waits"), TALLYPORT_STR_INIT("text/plain")},
    {TALLYPORT_STR_INIT("hangs"), TALLYPORT_STR_INIT("text/plain")},
    {TALLYPORT_STR_INIT("cancels"), TALLYPORT_STR_INIT("text/plain")},
};
static const tallyport_plugin_v1 plugin = {
    .struct_size = sizeof(tallyport_plugin_v1),
    .abi = TALLYPORT_PLUGIN_ABI,
    .caps = TALLYPORT_CAP_WRITES_SINK | TALLYPORT_CAP_CONCURRENT | TALLYPORT_CAP_CANCEL,
    .id = TALLYPORT_STR_INIT("com.example.meets"),
    .version = TALLYPORT_STR_INIT("1.0.0"),
    .formats = formats,
    .format_count = sizeof formats / sizeof formats[0],
    .signals = TALLYPORT_SIGNAL_METRICS,
    .create = create,
    .export_snapshot = export_snapshot,
    .cancel = cancel,
    .destroy = good_destroy,
};
TALLYPORT_PLUGIN_FILE("com.example.meets", "1.0.0");
GOOD_ENTRY(&plugin, 1)
