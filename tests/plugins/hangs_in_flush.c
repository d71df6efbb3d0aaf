/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Never returns from flush. */
#include "hang.h"

static tallyport_status flush(tallyport_exporter *self, const tallyport_call *call,
                              tallyport_error *error) {
    (void)self;
    (void)call;
    (void)error;
    hang();
    return TALLYPORT_OK;
}

static const tallyport_plugin_v1 plugin = {GOOD_HEAD("com.example.hangs-in-flush"),
                                           .create = good_create,
                                           .export_snapshot = good_export,
                                           .flush = flush,
                                           .destroy = good_destroy};
TALLYPORT_PLUGIN_FILE("com.example.hangs-in-flush", "1.0.0");
GOOD_ENTRY(&plugin, 1)
