/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Stops where the sink refuses, and says that all is well. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    const tallyport_status status = walk(&on, line);
    return status == TALLYPORT_CANCELLED && call->is_cancelled(call) ? status : TALLYPORT_OK;
}

UNFIT("com.example.ignores-sink", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
