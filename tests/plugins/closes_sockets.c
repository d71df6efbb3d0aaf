/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Closes every descriptor during an export. */
#include "good_or_bad.h"

#include <unistd.h>

static tallyport_status bad(tallyport_exporter *self, const tallyport_call *call,
                            tallyport_sink *sink, tallyport_error *error) {
    for (int fd = 0; fd < 1024; fd++) close(fd);
    (void)call;
    (void)sink;
    return good_failure(self, error, "all are closed");
}

GOOD_OR_BAD("com.example.closes-sockets")
