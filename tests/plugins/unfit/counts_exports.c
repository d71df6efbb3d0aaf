/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Two exports of one snapshot differ: each has a number. */
#include "unfit.h"

static int number;

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    char text[32];
    const int len = snprintf(text, sizeof text, "# %d\n", number++);
    const tallyport_status status = put(&on, text, (size_t)len);
    return status == TALLYPORT_OK ? walk(&on, line) : status;
}

UNFIT("com.example.counts-exports", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
