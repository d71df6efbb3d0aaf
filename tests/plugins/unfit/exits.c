/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Ends the process in an export, as if all were well. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    (void)self;
    (void)call;
    (void)snapshot;
    (void)sink;
    (void)error;
    exit(0);
}

UNFIT("com.example.exits", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
