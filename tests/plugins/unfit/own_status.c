/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Answers a status of its own where the sink said LIMIT or CANCELLED. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    const tallyport_status status = walk(&on, line);
    if (status == TALLYPORT_OK || call->is_cancelled(call)) return status;
    return refuse(self->host, error, TALLYPORT_PLUGIN_FAILED, "the sink refused");
}

UNFIT("com.example.own-status", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
