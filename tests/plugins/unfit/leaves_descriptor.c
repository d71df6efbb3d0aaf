/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Leaves a file open after `destroy`. */
#define _POSIX_C_SOURCE 200809L
#include "unfit.h"

#include <fcntl.h>

static tallyport_status create(CREATE) {
    const int file = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (file < 0) return refuse(host, error, TALLYPORT_IO, "/dev/null");
    return good_create(host, config_json, exporter, error);
}

UNFIT("com.example.leaves-descriptor", .create = create, .export_snapshot = fit_export, .destroy = good_destroy)
