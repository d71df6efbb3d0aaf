/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Declares CONCURRENT, and shares a buffer between calls. */
#include "unfit.h"

#include <sched.h>

static const tallyport_snapshot *volatile current;

static tallyport_status shared(const work *on, tallyport_str name, uint32_t row, uint64_t bits) {
    sched_yield();
    if (current != on->snapshot)
        return refuse(on->self->host, on->error, TALLYPORT_PLUGIN_FAILED, "that is not mine");
    return line(on, name, row, bits);
}

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    current = snapshot;
    return walk(&on, shared);
}

UNFIT_CAPS("com.example.not-concurrent", TALLYPORT_CAP_CONCURRENT, .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
