/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Writes to the sink of an export that returned, in `flush`. */
#include "unfit.h"

static tallyport_sink *last;

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    last = sink;
    return walk(&on, line);
}

static tallyport_status flush(OUTSIDE) {
    (void)call;
    (void)error;
    if (last != NULL) self->host->sink_write(self->host, last, (const uint8_t *)"late\n", 5);
    return TALLYPORT_OK;
}

UNFIT("com.example.stale-sink", .create = good_create, .export_snapshot = export_snapshot, .flush = flush, .destroy = good_destroy)
