/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A second `shutdown` frees what the first one freed. */
#include "unfit.h"

struct holding {
    tallyport_exporter base;
    char *buffer;
};

static tallyport_status create(CREATE) {
    (void)config_json;
    (void)error;
    struct holding *self = calloc(1, sizeof *self);
    if (self == NULL) return TALLYPORT_PLUGIN_FAILED;
    self->base.host = host;
    self->buffer = malloc(100000);
    *exporter = &self->base;
    return TALLYPORT_OK;
}

static tallyport_status shutdown(OUTSIDE) {
    (void)call;
    (void)error;
    free(((struct holding *)self)->buffer);
    return TALLYPORT_OK;
}

UNFIT("com.example.frees-twice", .create = create, .export_snapshot = fit_export, .shutdown = shutdown, .destroy = good_destroy)
