/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The table says that it is 16 bytes long: its id and its functions lie behind its end. */
#include "good.h"

static const tallyport_plugin_v1 plugin = {
    .struct_size = 16,
    .abi = TALLYPORT_PLUGIN_ABI,
    .id = TALLYPORT_STR_INIT("com.example.short-struct"),
    .version = TALLYPORT_STR_INIT("1.0.0"),
    .formats = &good_format,
    .format_count = 1,
    .create = good_create,
    .export_snapshot = good_export,
    .destroy = good_destroy,
};
TALLYPORT_PLUGIN_FILE("com.example.short-struct", "1.0.0");
GOOD_ENTRY(&plugin, 1)
