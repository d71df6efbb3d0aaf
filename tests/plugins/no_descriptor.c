/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The entry point is there and the section that describes the file is not. */
#include "good.h"

static const tallyport_plugin_v1 plugin = {GOOD_TABLE("com.example.no-descriptor")};
GOOD_ENTRY(&plugin, 1)
