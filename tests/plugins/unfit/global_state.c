/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Keeps what belongs to an exporter in a global of the file. */
#include "unfit.h"

static int alive;

static tallyport_status create(CREATE) {
    alive = 1;
    return good_create(host, config_json, exporter, error);
}

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    if (!alive) return refuse(self->host, error, TALLYPORT_CLOSED, "nobody is here");
    return walk(&on, line);
}

static void destroy(tallyport_exporter *self) {
    alive = 0;
    free(self);
}

UNFIT("com.example.global-state", .create = create, .export_snapshot = export_snapshot, .destroy = destroy)
