/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Keeps a text of the snapshot and reads it in the next call. */
#include "unfit.h"

struct keeping {
    tallyport_exporter base;
    tallyport_str name;
};

static tallyport_status create(CREATE) {
    (void)config_json;
    (void)error;
    struct keeping *self = calloc(1, sizeof *self);
    if (self == NULL) return TALLYPORT_PLUGIN_FAILED;
    self->base.host = host;
    *exporter = &self->base;
    return TALLYPORT_OK;
}

static tallyport_status shutdown(OUTSIDE) {
    (void)call;
    (void)error;
    volatile char last = 0;
    const tallyport_str name = ((struct keeping *)self)->name;
    if (name.len != 0) last = name.ptr[0];
    (void)last;
    return TALLYPORT_OK;
}

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    ((struct keeping *)self)->name = text_at(snapshot, 1);
    return walk(&on, line);
}

UNFIT("com.example.keeps-borrowed", .create = create, .export_snapshot = export_snapshot, .shutdown = shutdown, .destroy = good_destroy)
