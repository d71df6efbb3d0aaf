/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The entry point offers its exporters to a host of any major. */
#define tallyport_plugin_query_v1 own_query
#include "unfit.h"

UNFIT("com.example.serves-everyone", .create = good_create, .export_snapshot = fit_export, .destroy = good_destroy)
#undef tallyport_plugin_query_v1
TALLYPORT_EXPORT const tallyport_plugin_set *tallyport_plugin_query_v1(uint32_t host_abi);
TALLYPORT_EXPORT const tallyport_plugin_set *tallyport_plugin_query_v1(uint32_t host_abi) {
    (void)host_abi;
    return &plugins;
}
