/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * good.h: the parts of an exporter that works, so that each file here shows its one defect only.
 *
 * GOOD_HEAD starts the table; a file names its functions itself (a field that is given twice is an
 * error with -Wextra).
 */
#ifndef GOOD_H
#define GOOD_H

#include "tallyport_plugin.h"

#include <stdlib.h>
#include <string.h>

struct tallyport_exporter {
    const tallyport_host *host;
};

static inline tallyport_status good_create(const tallyport_host *host, tallyport_str config_json,
                                           tallyport_exporter **exporter, tallyport_error *error) {
    (void)config_json;
    (void)error;
    tallyport_exporter *self = malloc(sizeof *self);
    if (self == NULL) return TALLYPORT_PLUGIN_FAILED;
    self->host = host;
    *exporter = self;
    return TALLYPORT_OK;
}

static inline tallyport_status good_export(tallyport_exporter *self, const tallyport_call *call,
                                           const tallyport_snapshot *snapshot,
                                           tallyport_sink *sink, tallyport_error *error) {
    (void)call;
    (void)snapshot;
    (void)error;
    return self->host->sink_write(self->host, sink, (const uint8_t *)"good\n", 5);
}

static inline void good_destroy(tallyport_exporter *self) { free(self); }

static const tallyport_format good_format = {TALLYPORT_STR_INIT("good"),
                                             TALLYPORT_STR_INIT("text/plain; charset=utf-8")};

#define GOOD_HEAD(plugin_id)                                                                       \
    .struct_size = sizeof(tallyport_plugin_v1), .abi = TALLYPORT_PLUGIN_ABI,                       \
    .caps = TALLYPORT_CAP_WRITES_SINK | TALLYPORT_CAP_OUT_OF_PROC,                                 \
    .id = TALLYPORT_STR_INIT(plugin_id),                                                           \
    .version = TALLYPORT_STR_INIT("1.0.0"), .formats = &good_format, .format_count = 1,            \
    .signals = TALLYPORT_SIGNAL_METRICS

/* The whole table of a plugin that is good but for what its file adds. */
#define GOOD_TABLE(plugin_id)                                                                      \
    GOOD_HEAD(plugin_id), .create = good_create, .export_snapshot = good_export,                   \
                          .destroy = good_destroy

/* The entry of a file with one exporter, or with an array of them. */
#define GOOD_ENTRY(tables, table_count)                                                            \
    static const tallyport_plugin_set plugins = {sizeof(tallyport_plugin_set), table_count,        \
                                                 sizeof(tallyport_plugin_v1), 0, tables};          \
    TALLYPORT_EXPORT const tallyport_plugin_set *tallyport_plugin_query_v1(uint32_t host_abi) {    \
        return TALLYPORT_PLUGIN_SERVES(host_abi) ? &plugins : NULL;                                \
    }

/* Text of the plugin's own as ABI text. */
static inline tallyport_str good_text(const char *text) {
    const tallyport_str out = {text, strlen(text)};
    return out;
}

#endif /* GOOD_H */
