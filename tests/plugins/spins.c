/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Uses CPU time without end. */
#include "good_or_bad.h"

static tallyport_status bad(tallyport_exporter *self, const tallyport_call *call,
                            tallyport_sink *sink, tallyport_error *error) {
    volatile unsigned long turns = 0;
    while (turns + 1 != 0) turns++;
    (void)call;
    (void)sink;
    return good_failure(self, error, "it ended");
}

GOOD_OR_BAD("com.example.spins")
