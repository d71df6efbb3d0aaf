/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Does not come back from an export. */
#define _POSIX_C_SOURCE 200809L
#include "unfit.h"

#include <unistd.h>

static tallyport_status export_snapshot(EXPORT) {
    (void)self;
    (void)call;
    (void)snapshot;
    (void)sink;
    (void)error;
    while (pause() != 0) continue;
    return TALLYPORT_OK;
}

UNFIT("com.example.hangs", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
