/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Writes through a wild pointer, after some bytes. */
#include "good_or_bad.h"

static tallyport_status bad(tallyport_exporter *self, const tallyport_call *call,
                            tallyport_sink *sink, tallyport_error *error) {
    (void)self->host->sink_write(self->host, sink, (const uint8_t *)"before", 6);
    volatile int *volatile nowhere = NULL;
    *nowhere = 1;
    (void)call;
    return good_failure(self, error, "it lived");
}

GOOD_OR_BAD("com.example.segfaults")
