/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Writes until the sink refuses. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    char flood[65536];
    memset(flood, '~', sizeof flood);
    for (;;) {
        const tallyport_status status = put(&on, flood, sizeof flood);
        if (status != TALLYPORT_OK) return status;
        if (call->is_cancelled(call)) return TALLYPORT_CANCELLED;
    }
}

UNFIT("com.example.floods", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
