/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The exporter's id is not UTF-8. */
#include "good.h"

static const tallyport_plugin_v1 plugin = {GOOD_TABLE("com.example.\xff\xfe")};
TALLYPORT_PLUGIN_FILE("com.example.bad-id", "1.0.0");
GOOD_ENTRY(&plugin, 1)
