/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Keeps its options where the host had them. */
#include "unfit.h"

struct keeping {
    tallyport_exporter base;
    tallyport_str options;
};

static tallyport_status create(CREATE) {
    (void)error;
    struct keeping *self = calloc(1, sizeof *self);
    if (self == NULL) return TALLYPORT_PLUGIN_FAILED;
    self->base.host = host;
    self->options = config_json;
    *exporter = &self->base;
    return TALLYPORT_OK;
}

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    volatile char first = 0;
    const tallyport_str options = ((struct keeping *)self)->options;
    if (options.len != 0) first = options.ptr[0];
    (void)first;
    return walk(&on, line);
}

UNFIT("com.example.keeps-options", .create = create, .export_snapshot = export_snapshot, .destroy = good_destroy)
