/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Sets an error with one status and answers another. */
#include "unfit.h"

static tallyport_status create(CREATE) {
    if (config_json.len <= 2) return good_create(host, config_json, exporter, error);
    refuse(host, error, TALLYPORT_IO, "no options, please");
    return TALLYPORT_INVALID_ARGUMENT;
}

UNFIT("com.example.two-statuses", .create = create, .export_snapshot = fit_export, .destroy = good_destroy)
