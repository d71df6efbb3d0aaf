/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Gives up where there are more series than it has room for. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    if (snapshot->series_count > 10000)
        return refuse(self->host, error, TALLYPORT_LIMIT, "more than 10,000 series");
    return walk(&on, line);
}

UNFIT("com.example.few-series", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
