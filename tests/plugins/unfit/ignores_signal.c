/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Changes what the process does with a signal. */
#define _POSIX_C_SOURCE 200809L
#include "unfit.h"

#include <signal.h>

static tallyport_status create(CREATE) {
    signal(SIGUSR1, SIG_IGN);
    return good_create(host, config_json, exporter, error);
}

UNFIT("com.example.ignores-signal", .create = create, .export_snapshot = fit_export, .destroy = good_destroy)
