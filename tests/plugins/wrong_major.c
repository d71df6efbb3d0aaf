/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Built against another major version of the ABI, and its file says so. */
#include "good.h"

#undef TALLYPORT_PLUGIN_ABI
#define TALLYPORT_PLUGIN_ABI ((9u << 16) | 0u)

static const tallyport_plugin_v1 plugin = {GOOD_TABLE("com.example.wrong-major")};
TALLYPORT_PLUGIN_FILE("com.example.wrong-major", "1.0.0");
GOOD_ENTRY(&plugin, 1)
