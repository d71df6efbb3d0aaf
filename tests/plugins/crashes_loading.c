/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Its constructor writes to where nothing is, before any version was compared. */
#include "good.h"

__attribute__((constructor)) static void crash(void) { *(volatile int *)8 = 1; }

static const tallyport_plugin_v1 plugin = {GOOD_TABLE("com.example.crashes-loading")};
TALLYPORT_PLUGIN_FILE("com.example.crashes-loading", "1.0.0");
GOOD_ENTRY(&plugin, 1)
