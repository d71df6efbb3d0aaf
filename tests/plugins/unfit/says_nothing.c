/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Refuses options without a word. */
#include "unfit.h"

static tallyport_status create(CREATE) {
    if (config_json.len > 2) return TALLYPORT_INVALID_ARGUMENT;
    return good_create(host, config_json, exporter, error);
}

UNFIT("com.example.says-nothing", .create = create, .export_snapshot = fit_export, .destroy = good_destroy)
