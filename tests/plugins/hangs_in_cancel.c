/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Never returns from an export, nor from cancel. */
#include "hang.h"

static tallyport_status export_snapshot(tallyport_exporter *self, const tallyport_call *call,
                                        const tallyport_snapshot *snapshot, tallyport_sink *sink,
                                        tallyport_error *error) {
    const tallyport_status status = good_export(self, call, snapshot, sink, error);
    hang();
    return status;
}

static void cancel(tallyport_exporter *self) {
    (void)self;
    hang();
}

static const tallyport_plugin_v1 plugin = {GOOD_HEAD("com.example.hangs-in-cancel"),
                                           .create = good_create,
                                           .export_snapshot = export_snapshot,
                                           .cancel = cancel,
                                           .destroy = good_destroy};
TALLYPORT_PLUGIN_FILE("com.example.hangs-in-cancel", "1.0.0");
GOOD_ENTRY(&plugin, 1)
