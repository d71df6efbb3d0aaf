/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * good_or_bad.h: a plugin whose format `good` works. Its format `bad` is the function `bad` that a
 * file defines: in a helper process it costs one export. Include it first.
 */
#ifndef GOOD_OR_BAD_H
#define GOOD_OR_BAD_H

#define _POSIX_C_SOURCE 200809L

#include "good.h"

static tallyport_status bad(tallyport_exporter *self, const tallyport_call *call,
                            tallyport_sink *sink, tallyport_error *error);

static tallyport_status good_or_bad(tallyport_exporter *self, const tallyport_call *call,
                                    const tallyport_snapshot *snapshot, tallyport_sink *sink,
                                    tallyport_error *error) {
    if (call->format.len == 3 && memcmp(call->format.ptr, "bad", 3) == 0) {
        return bad(self, call, sink, error);
    }
    return good_export(self, call, snapshot, sink, error);
}

static const tallyport_format good_and_bad[] = {
    {TALLYPORT_STR_INIT("good"), TALLYPORT_STR_INIT("text/plain; charset=utf-8")},
    {TALLYPORT_STR_INIT("bad"), TALLYPORT_STR_INIT("text/plain; charset=utf-8")},
};

/* Says why in words, and answers PLUGIN_FAILED. */
static inline tallyport_status good_failure(tallyport_exporter *self, tallyport_error *error,
                                            const char *why) {
    self->host->error_set(self->host, error, TALLYPORT_PLUGIN_FAILED, good_text(why));
    return TALLYPORT_PLUGIN_FAILED;
}

/* The whole file, but for `bad`. */
#define GOOD_OR_BAD(plugin_id)                                                                     \
    static const tallyport_plugin_v1 plugin = {                                                    \
        .struct_size = sizeof(tallyport_plugin_v1), .abi = TALLYPORT_PLUGIN_ABI,                   \
        .caps = TALLYPORT_CAP_WRITES_SINK | TALLYPORT_CAP_OUT_OF_PROC,                             \
        .id = TALLYPORT_STR_INIT(plugin_id), .version = TALLYPORT_STR_INIT("1.0.0"),               \
        .formats = good_and_bad, .format_count = 2, .signals = TALLYPORT_SIGNAL_METRICS,           \
        .create = good_create, .export_snapshot = good_or_bad, .destroy = good_destroy};           \
    TALLYPORT_PLUGIN_FILE(plugin_id, "1.0.0");                                                     \
    GOOD_ENTRY(&plugin, 1)

#endif /* GOOD_OR_BAD_H */
