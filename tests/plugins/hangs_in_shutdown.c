/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Never returns from shutdown. */
#include "hang.h"

static tallyport_status shutdown(tallyport_exporter *self, const tallyport_call *call,
                                 tallyport_error *error) {
    (void)self;
    (void)call;
    (void)error;
    hang();
    return TALLYPORT_OK;
}

static const tallyport_plugin_v1 plugin = {GOOD_HEAD("com.example.hangs-in-shutdown"),
                                           .create = good_create,
                                           .export_snapshot = good_export,
                                           .shutdown = shutdown,
                                           .destroy = good_destroy};
TALLYPORT_PLUGIN_FILE("com.example.hangs-in-shutdown", "1.0.0");
GOOD_ENTRY(&plugin, 1)
