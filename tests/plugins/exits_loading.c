/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Its constructor ends the process, and says that all is well. */
#include "good.h"

#include <stdio.h>

__attribute__((constructor)) static void leave(void) {
    printf("no newline at the end of this line");
    exit(0);
}

static const tallyport_plugin_v1 plugin = {GOOD_TABLE("com.example.exits-loading")};
TALLYPORT_PLUGIN_FILE("com.example.exits-loading", "1.0.0");
GOOD_ENTRY(&plugin, 1)
