/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Refuses structs that are longer than its own. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    if (call->struct_size > sizeof *call || snapshot->struct_size > sizeof *snapshot)
        return refuse(self->host, error, TALLYPORT_PLUGIN_ABI_MISMATCH, "too long");
    return walk(&on, line);
}

UNFIT("com.example.exact-size", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
