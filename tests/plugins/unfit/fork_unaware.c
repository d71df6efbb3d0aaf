/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Declares FORK_AWARE, and is lost after `after_fork_child`. */
#include "unfit.h"

static int forked;

static void after_fork_child(tallyport_exporter *self) {
    (void)self;
    forked = 1;
}

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    if (forked) return refuse(self->host, error, TALLYPORT_CLOSED, "my connection is gone");
    return walk(&on, line);
}

UNFIT_CAPS("com.example.fork-unaware", TALLYPORT_CAP_FORK_AWARE, .create = good_create, .export_snapshot = export_snapshot, .after_fork_child = after_fork_child, .destroy = good_destroy)
