/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Its format is text in UTF-8, and what it writes is not. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    const tallyport_status status = walk(&on, line);
    return status == TALLYPORT_OK ? put(&on, "\xe4\n", 2) : status;
}

UNFIT("com.example.not-utf8", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
