/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Hands a copy of the host table to its functions, not the table. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    tallyport_host copy = *self->host;
    self->host->log(&copy, TALLYPORT_LOG_INFO, good_text("hello"));
    return walk(&on, line);
}

UNFIT("com.example.copies-host", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
