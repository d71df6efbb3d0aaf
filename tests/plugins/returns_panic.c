/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reports that its own code panicked, as an SDK in another language does. */
#include "good.h"

static tallyport_status export_snapshot(tallyport_exporter *self, const tallyport_call *call,
                                        const tallyport_snapshot *snapshot, tallyport_sink *sink,
                                        tallyport_error *error) {
    (void)call;
    (void)snapshot;
    (void)sink;
    self->host->error_set(self->host, error, TALLYPORT_PANIC, good_text("panic: contained"));
    return TALLYPORT_PANIC;
}

static const tallyport_plugin_v1 plugin = {GOOD_HEAD("com.example.returns-panic"),
                                           .create = good_create,
                                           .export_snapshot = export_snapshot,
                                           .destroy = good_destroy};
TALLYPORT_PLUGIN_FILE("com.example.returns-panic", "1.0.0");
GOOD_ENTRY(&plugin, 1)
