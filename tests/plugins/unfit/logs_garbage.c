/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Logs text that is not UTF-8. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    self->host->log(self->host, TALLYPORT_LOG_INFO, good_text("caf\xe9"));
    return walk(&on, line);
}

UNFIT("com.example.logs-garbage", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
