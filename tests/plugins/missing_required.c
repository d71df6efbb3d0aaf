/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The table has no export_snapshot, which every exporter needs. */
#include "good.h"

static const tallyport_plugin_v1 plugin = {GOOD_HEAD("com.example.missing-required"),
                                           .create = good_create, .destroy = good_destroy};
TALLYPORT_PLUGIN_FILE("com.example.missing-required", "1.0.0");
GOOD_ENTRY(&plugin, 1)
