/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Answers OK with half of the output where the call was withdrawn. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    const tallyport_status status = walk(&on, line);
    return status == TALLYPORT_CANCELLED && call->is_cancelled(call) ? TALLYPORT_OK : status;
}

UNFIT("com.example.half-is-whole", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
