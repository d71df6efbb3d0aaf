/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Fails for a kind that it does not know. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    const column families = find(snapshot, TALLYPORT_COLUMN_FAMILIES);
    for (size_t at = 0; at < families.count; at++) {
        tallyport_family family;
        if (!family_at(families, at, &family))
            return refuse(self->host, error, TALLYPORT_UNSUPPORTED, "an unknown kind");
    }
    return walk(&on, line);
}

UNFIT("com.example.unknown-is-fatal", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
