/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Allocates without end, and takes no NULL for an answer. */
#include "good_or_bad.h"

static tallyport_status bad(tallyport_exporter *self, const tallyport_call *call,
                            tallyport_sink *sink, tallyport_error *error) {
    for (;;) memset(malloc(1 << 20), 1, 1 << 20);
    (void)call;
    (void)sink;
    return good_failure(self, error, "it lived");
}

GOOD_OR_BAD("com.example.dies-of-hunger")
