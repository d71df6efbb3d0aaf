/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Leaves a thread running after `destroy`. */
#define _POSIX_C_SOURCE 200809L
#include "unfit.h"

#include <pthread.h>
#include <unistd.h>

static void *run(void *argument) {
    for (;;) pause();
    return argument;
}

static tallyport_status create(CREATE) {
    static int started;
    pthread_t thread;
    if (!started && pthread_create(&thread, NULL, run, NULL) == 0) pthread_detach(thread);
    started = 1;
    return good_create(host, config_json, exporter, error);
}

UNFIT("com.example.leaves-thread", .create = create, .export_snapshot = fit_export, .destroy = good_destroy)
