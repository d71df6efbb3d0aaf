/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Aborts in export, with words on stderr. */
#include "good.h"

#include <stdio.h>

static tallyport_status aborts(tallyport_exporter *self, const tallyport_call *call,
                               const tallyport_snapshot *snapshot, tallyport_sink *sink,
                               tallyport_error *error) {
    fputs("a bug of the plugin's own\n", stderr);
    abort();
    return good_export(self, call, snapshot, sink, error);
}

static const tallyport_plugin_v1 plugin = {GOOD_HEAD("com.example.aborts-exporting"),
                                           .create = good_create, .export_snapshot = aborts,
                                           .destroy = good_destroy};
TALLYPORT_PLUGIN_FILE("com.example.aborts-exporting", "1.0.0");
GOOD_ENTRY(&plugin, 1)
