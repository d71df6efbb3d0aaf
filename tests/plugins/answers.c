/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Good: writes a text of its own, `answer 0001`, in which a test changes the digits to make another
 * version of the file. The create of a version from 9000 on fails.
 */
#include "good.h"

static const volatile char answer[] = "answer 0001\n";

static tallyport_status create(const tallyport_host *host, tallyport_str config_json,
                               tallyport_exporter **exporter, tallyport_error *error) {
    if (answer[7] == '9') return TALLYPORT_PLUGIN_FAILED;
    return good_create(host, config_json, exporter, error);
}

static tallyport_status export_snapshot(tallyport_exporter *self, const tallyport_call *call,
                                        const tallyport_snapshot *snapshot, tallyport_sink *sink,
                                        tallyport_error *error) {
    (void)call;
    (void)snapshot;
    (void)error;
    return self->host->sink_write(self->host, sink, (const uint8_t *)(uintptr_t)answer, sizeof answer - 1);
}

static const tallyport_plugin_v1 plugin = {GOOD_HEAD("com.example.answers"), .create = create,
                                           .export_snapshot = export_snapshot,
                                           .destroy = good_destroy};
TALLYPORT_PLUGIN_FILE("com.example.answers", "1.0.0");
GOOD_ENTRY(&plugin, 1)
