/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Works on the thread that created it, and on no other. */
#include "unfit.h"

static __thread int here;

static tallyport_status create(CREATE) {
    here = 1;
    return good_create(host, config_json, exporter, error);
}

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    if (!here) return refuse(self->host, error, TALLYPORT_PLUGIN_FAILED, "who are you?");
    return walk(&on, line);
}

UNFIT("com.example.one-thread", .create = create, .export_snapshot = export_snapshot, .destroy = good_destroy)
