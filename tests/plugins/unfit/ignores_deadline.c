/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Declares CANCEL, and an export goes on past its deadline. */
#include "unfit.h"

static void cancel(tallyport_exporter *self) { (void)self; }

static tallyport_status buffered(const work *on, tallyport_str name, uint32_t row, uint64_t bits) {
    return row % 100 == 0 ? line(on, name, row, bits) : TALLYPORT_OK;
}

static tallyport_status export_snapshot(EXPORT) {
    const work on = {self, call, snapshot, sink, error, 1};
    return walk(&on, buffered);
}

UNFIT_CAPS("com.example.ignores-deadline", TALLYPORT_CAP_CANCEL, .create = good_create, .export_snapshot = export_snapshot, .cancel = cancel, .destroy = good_destroy)
