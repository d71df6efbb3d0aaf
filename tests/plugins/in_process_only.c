/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Good, but does not say that it can run in another process. */
#include "good.h"

static const tallyport_plugin_v1 plugin = {
    .struct_size = sizeof(tallyport_plugin_v1),
    .abi = TALLYPORT_PLUGIN_ABI,
    .caps = TALLYPORT_CAP_WRITES_SINK,
    .id = TALLYPORT_STR_INIT("com.example.in-process-only"),
    .version = TALLYPORT_STR_INIT("1.0.0"),
    .formats = &good_format,
    .format_count = 1,
    .signals = TALLYPORT_SIGNAL_METRICS,
    .create = good_create,
    .export_snapshot = good_export,
    .destroy = good_destroy,
};
TALLYPORT_PLUGIN_FILE("com.example.in-process-only", "1.0.0");
GOOD_ENTRY(&plugin, 1)
