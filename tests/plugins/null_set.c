/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Cannot serve the host, whatever its ABI: the entry returns NULL. */
#include "tallyport_plugin.h"

TALLYPORT_PLUGIN_FILE("com.example.null-set", "1.0.0");

TALLYPORT_EXPORT const tallyport_plugin_set *tallyport_plugin_query_v1(uint32_t host_abi) {
    (void)host_abi;
    return NULL;
}
