/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Refuses the very default that its schema names. */
#include "unfit.h"

static tallyport_status create(CREATE) {
    if (config_json.len <= 2) return good_create(host, config_json, exporter, error);
    return refuse(host, error, TALLYPORT_INVALID_ARGUMENT, "no options, please");
}

UNFIT("com.example.refuses-default", .create = create, .export_snapshot = fit_export, .destroy = good_destroy, .config_schema_json = TALLYPORT_STR_INIT(
          "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
          "\"level\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":9,\"default\":3}}}"))
