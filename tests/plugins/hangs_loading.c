/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Its constructor never returns: the system's loader would stay locked in a host. */
#include "good.h"

#include <unistd.h>

__attribute__((constructor)) static void hang(void) {
    for (;;) pause();
}

static const tallyport_plugin_v1 plugin = {GOOD_TABLE("com.example.hangs-loading")};
TALLYPORT_PLUGIN_FILE("com.example.hangs-loading", "1.0.0");
GOOD_ENTRY(&plugin, 1)
