/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Follows nested options as deep as they go. */
#include "unfit.h"

static size_t depth(const char *at, const char *end) {
    volatile char room[4096];
    while (at < end && *at != '[') at++;
    if (at == end) return 0;
    room[0] = *at;
    return 1 + depth(at + 1, end) + (size_t)(room[0] == 0);
}

static tallyport_status create(CREATE) {
    if (config_json.len != 0 && depth(config_json.ptr, config_json.ptr + config_json.len) > 64)
        return refuse(host, error, TALLYPORT_INVALID_ARGUMENT, "too deep");
    return good_create(host, config_json, exporter, error);
}

UNFIT("com.example.deep-recursion", .create = create, .export_snapshot = fit_export, .destroy = good_destroy)
