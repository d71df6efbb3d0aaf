/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Keeps the number of families of the first snapshot for all that follow. */
#include "unfit.h"

struct keeping {
    tallyport_exporter base;
    int known;
    size_t families;
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

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    struct keeping *own = (struct keeping *)self;
    if (!own->known) own->families = find(snapshot, TALLYPORT_COLUMN_FAMILIES).count;
    own->known = 1;
    char text[32];
    const int len = snprintf(text, sizeof text, "# %zu families\n", own->families);
    const tallyport_status status = put(&on, text, (size_t)len);
    return status == TALLYPORT_OK ? walk(&on, line) : status;
}

UNFIT("com.example.keeps-first-schema", .create = create, .export_snapshot = export_snapshot, .destroy = good_destroy)
