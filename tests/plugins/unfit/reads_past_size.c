/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reads a field of the call without asking `struct_size` for it. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    volatile size_t length = call->traceparent.len;
    (void)length;
    return walk(&on, line);
}

UNFIT("com.example.reads-past-size", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
