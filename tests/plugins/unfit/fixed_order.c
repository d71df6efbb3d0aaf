/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Takes columns by their place in the table, not by their id. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    if (snapshot->column_count < 3 || snapshot->columns[2].id != TALLYPORT_COLUMN_FAMILIES)
        return refuse(self->host, error, TALLYPORT_DAMAGED, "where are the families?");
    return walk(&on, line);
}

UNFIT("com.example.fixed-order", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
