/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Dies when it is created in a forked child. */
#define _POSIX_C_SOURCE 200809L
#include "unfit.h"

#include <unistd.h>

static pid_t first;

static tallyport_status create(CREATE) {
    if (first == 0) first = getpid();
    if (first != getpid()) abort();
    return good_create(host, config_json, exporter, error);
}

UNFIT("com.example.breaks-in-fork", .create = create, .export_snapshot = fit_export, .destroy = good_destroy)
