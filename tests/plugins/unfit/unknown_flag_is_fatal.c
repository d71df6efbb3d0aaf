/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Fails for a flag that it does not know. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    if (snapshot->flags != 0 || call->flags != 0)
        return refuse(self->host, error, TALLYPORT_UNSUPPORTED, "an unknown flag");
    return walk(&on, line);
}

UNFIT("com.example.unknown-flag-is-fatal", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
