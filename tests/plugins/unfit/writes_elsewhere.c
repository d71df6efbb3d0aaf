/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Writes to the sink from a thread of its own. */
#include "unfit.h"

#include <pthread.h>

struct job {
    const work *on;
    tallyport_status status;
};

static void *run(void *argument) {
    struct job *job = argument;
    job->status = walk(job->on, line);
    return NULL;
}

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    struct job job = {&on, TALLYPORT_PLUGIN_FAILED};
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, &job) == 0) pthread_join(thread, NULL);
    return job.status;
}

UNFIT("com.example.writes-elsewhere", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
