/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Divides by the number of families. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    volatile size_t count = find(snapshot, TALLYPORT_COLUMN_FAMILIES).count;
    volatile size_t each = 100 / count;
    (void)each;
    return walk(&on, line);
}

UNFIT("com.example.divides-by-none", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
