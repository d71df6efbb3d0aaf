/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Closes every descriptor of the process while it is loaded. */
#include "good.h"

#include <unistd.h>

__attribute__((constructor)) static void close_all(void) {
    for (int fd = 0; fd < 1024; fd++) close(fd);
}

static const tallyport_plugin_v1 plugin = {GOOD_TABLE("com.example.closes-descriptors")};
TALLYPORT_PLUGIN_FILE("com.example.closes-descriptors", "1.0.0");
GOOD_ENTRY(&plugin, 1)
