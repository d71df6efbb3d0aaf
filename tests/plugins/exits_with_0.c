/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Ends the process as if all were well. */
#include "good_or_bad.h"

static tallyport_status bad(tallyport_exporter *self, const tallyport_call *call,
                            tallyport_sink *sink, tallyport_error *error) {
    exit(0);
    (void)call;
    (void)sink;
    return good_failure(self, error, "it lived");
}

GOOD_OR_BAD("com.example.exits-with-0")
