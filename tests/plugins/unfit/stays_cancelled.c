/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* `cancel` withdraws every later call too. */
#include "unfit.h"

static volatile int cancelled;

static void cancel(tallyport_exporter *self) {
    (void)self;
    cancelled = 1;
}

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    return cancelled ? TALLYPORT_CANCELLED : walk(&on, line);
}

UNFIT_CAPS("com.example.stays-cancelled", TALLYPORT_CAP_CANCEL, .create = good_create, .export_snapshot = export_snapshot, .cancel = cancel, .destroy = good_destroy)
