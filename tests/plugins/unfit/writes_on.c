/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Writes a last line after the sink refused. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    const tallyport_status status = walk(&on, line);
    if (status != TALLYPORT_OK) put(&on, "# incomplete\n", 13);
    return status;
}

UNFIT("com.example.writes-on", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
