/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Sets an environment variable. */
#define _POSIX_C_SOURCE 200809L
#include "unfit.h"

static tallyport_status create(CREATE) {
    setenv("MY_EXPORTER", "was here", 1);
    return good_create(host, config_json, exporter, error);
}

UNFIT("com.example.sets-environment", .create = create, .export_snapshot = fit_export, .destroy = good_destroy)
