/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Nothing is wrong in the source: linked without care, a host could take its helper's place. */
#include "good.h"

size_t helper_of_this_plugin(const char *text);
size_t helper_of_this_plugin(const char *text) { return strlen(text); }

static tallyport_status export_snapshot(tallyport_exporter *self, const tallyport_call *call,
                                        const tallyport_snapshot *snapshot, tallyport_sink *sink,
                                        tallyport_error *error) {
    (void)call;
    (void)snapshot;
    (void)error;
    return self->host->sink_write(self->host, sink, (const uint8_t *)"good\n",
                                  helper_of_this_plugin("good\n"));
}

static const tallyport_plugin_v1 plugin = {GOOD_HEAD("com.example.interposable"),
                                           .create = good_create,
                                           .export_snapshot = export_snapshot,
                                           .destroy = good_destroy};
TALLYPORT_PLUGIN_FILE("com.example.interposable", "1.0.0");
GOOD_ENTRY(&plugin, 1)
