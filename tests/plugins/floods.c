/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Writes until the sink refuses. Gives up at 1 GiB, so that a host without a limit lives too. */
#include "good.h"

static tallyport_status export_snapshot(tallyport_exporter *self, const tallyport_call *call,
                                        const tallyport_snapshot *snapshot, tallyport_sink *sink,
                                        tallyport_error *error) {
    (void)call;
    (void)snapshot;
    uint8_t flood[4096];
    memset(flood, '~', sizeof flood);
    for (uint64_t written = 0; written < UINT64_C(1) << 30; written += sizeof flood) {
        const tallyport_status status =
            self->host->sink_write(self->host, sink, flood, sizeof flood);
        if (status != TALLYPORT_OK) return status;
    }
    self->host->error_set(self->host, error, TALLYPORT_PLUGIN_FAILED,
                          good_text("nobody stopped the flood"));
    return TALLYPORT_PLUGIN_FAILED;
}

static const tallyport_plugin_v1 plugin = {GOOD_HEAD("com.example.floods"),
                                           .create = good_create,
                                           .export_snapshot = export_snapshot,
                                           .destroy = good_destroy};
TALLYPORT_PLUGIN_FILE("com.example.floods", "1.0.0");
GOOD_ENTRY(&plugin, 1)
