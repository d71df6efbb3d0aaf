/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The file's descriptor has the host's ABI, the table inside has another major. */
#include "good.h"

static const tallyport_plugin_v1 plugin = {
    .struct_size = sizeof(tallyport_plugin_v1),
    .abi = TALLYPORT_PLUGIN_ABI + (1u << 16),
    .id = TALLYPORT_STR_INIT("com.example.wrong-abi-table"),
    .version = TALLYPORT_STR_INIT("1.0.0"),
    .formats = &good_format,
    .format_count = 1,
    .create = good_create,
    .export_snapshot = good_export,
    .destroy = good_destroy,
};
TALLYPORT_PLUGIN_FILE("com.example.wrong-abi-table", "1.0.0");
GOOD_ENTRY(&plugin, 1)
