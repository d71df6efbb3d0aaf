/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Calls a service that a host may lack. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    if (TALLYPORT_HAS(self->host, tallyport_host, mono_ns)) {
        volatile uint64_t now = self->host->mono_ns(self->host);
        (void)now;
    }
    return walk(&on, line);
}

UNFIT("com.example.calls-null", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
