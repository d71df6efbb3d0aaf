/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Calls a function that nobody defines; linked without `-z defs`, which would have said so. */
#include "good.h"

void tallyport_nobody_defines_this(void);

static tallyport_status export_snapshot(tallyport_exporter *self, const tallyport_call *call,
                                        const tallyport_snapshot *snapshot, tallyport_sink *sink,
                                        tallyport_error *error) {
    tallyport_nobody_defines_this();
    return good_export(self, call, snapshot, sink, error);
}

static const tallyport_plugin_v1 plugin = {GOOD_HEAD("com.example.unresolved-symbol"),
                                           .create = good_create,
                                           .export_snapshot = export_snapshot,
                                           .destroy = good_destroy};
TALLYPORT_PLUGIN_FILE("com.example.unresolved-symbol", "1.0.0");
GOOD_ENTRY(&plugin, 1)
