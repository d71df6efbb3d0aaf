/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Exports nothing more once it was flushed. */
#include "unfit.h"

struct holding {
    tallyport_exporter base;
    int flushed;
};

static tallyport_status create(CREATE) {
    (void)config_json;
    (void)error;
    struct holding *self = calloc(1, sizeof *self);
    if (self == NULL) return TALLYPORT_PLUGIN_FAILED;
    self->base.host = host;
    *exporter = &self->base;
    return TALLYPORT_OK;
}

static tallyport_status flush(OUTSIDE) {
    (void)call;
    (void)error;
    ((struct holding *)self)->flushed = 1;
    return TALLYPORT_OK;
}

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    if (((struct holding *)self)->flushed)
        return refuse(self->host, error, TALLYPORT_CLOSED, "flushed");
    return walk(&on, line);
}

UNFIT("com.example.flush-ends-it", .create = create, .export_snapshot = export_snapshot, .flush = flush, .destroy = good_destroy)
