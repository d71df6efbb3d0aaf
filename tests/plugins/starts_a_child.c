/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Starts a process that would outlive it, and dies. */
#include "good_or_bad.h"

#include <signal.h>
#include <unistd.h>

static tallyport_status bad(tallyport_exporter *self, const tallyport_call *call,
                            tallyport_sink *sink, tallyport_error *error) {
    if (fork() == 0) {
        sleep(600);
        _exit(0);
    }
    raise(SIGKILL);
    (void)call;
    (void)sink;
    return good_failure(self, error, "it lived");
}

GOOD_OR_BAD("com.example.starts-a-child")
