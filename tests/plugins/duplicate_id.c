/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Two exporters of the file have one id. */
#include "good.h"

static const tallyport_plugin_v1 tables[] = {{GOOD_TABLE("com.example.twin")},
                                             {GOOD_TABLE("com.example.twin")}};
TALLYPORT_PLUGIN_FILE("com.example.duplicate-id", "1.0.0");
GOOD_ENTRY(tables, 2)
