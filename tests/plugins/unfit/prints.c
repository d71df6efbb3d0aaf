/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Prints to stderr. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    fputs("exporting\n", stderr);
    return walk(&on, line);
}

UNFIT("com.example.prints", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
