/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Leaves a process running after `destroy`. */
#define _POSIX_C_SOURCE 200809L
#include "unfit.h"

#include <unistd.h>

static tallyport_status create(CREATE) {
    static int started;
    if (!started && fork() == 0) {
        close(1);
        close(2);
        for (;;) pause();
    }
    started = 1;
    return good_create(host, config_json, exporter, error);
}

UNFIT("com.example.leaves-process", .create = create, .export_snapshot = fit_export, .destroy = good_destroy)
