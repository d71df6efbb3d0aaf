/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reads family rows with the size of its own struct. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    const column families = find(snapshot, TALLYPORT_COLUMN_FAMILIES);
    for (size_t at = 0; at < families.count; at++) {
        tallyport_family family;
        memcpy(&family, families.first + at * sizeof family, sizeof family);
        const tallyport_str name = text_at(snapshot, family.name);
        tallyport_status status = put(&on, name.ptr, name.len);
        if (status == TALLYPORT_OK) status = put(&on, "\n", 1);
        if (status != TALLYPORT_OK) return status;
    }
    return TALLYPORT_OK;
}

UNFIT("com.example.fixed-stride", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
