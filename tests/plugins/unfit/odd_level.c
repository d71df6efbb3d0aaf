/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Logs with a level that does not exist. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    self->host->log(self->host, 7, good_text("seven"));
    return walk(&on, line);
}

UNFIT("com.example.odd-level", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
