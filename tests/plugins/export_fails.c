/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Every export fails, after some bytes were written. */
#include "good.h"

static tallyport_status export_snapshot(tallyport_exporter *self, const tallyport_call *call,
                                        const tallyport_snapshot *snapshot, tallyport_sink *sink,
                                        tallyport_error *error) {
    (void)good_export(self, call, snapshot, sink, error);
    self->host->error_set(self->host, error, TALLYPORT_PLUGIN_FAILED,
                          good_text("the peer hung up"));
    return TALLYPORT_PLUGIN_FAILED;
}

static const tallyport_plugin_v1 plugin = {GOOD_HEAD("com.example.export-fails"),
                                           .create = good_create,
                                           .export_snapshot = export_snapshot,
                                           .destroy = good_destroy};
TALLYPORT_PLUGIN_FILE("com.example.export-fails", "1.0.0");
GOOD_ENTRY(&plugin, 1)
