/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Nothing is wrong: what the others differ from. Writes "good\n". */
#include "good.h"

static const tallyport_plugin_v1 plugin = {GOOD_TABLE("com.example.good-minimal")};
TALLYPORT_PLUGIN_FILE("com.example.good-minimal", "1.0.0");
GOOD_ENTRY(&plugin, 1)
