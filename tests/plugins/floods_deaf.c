/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Writes without end, whatever the sink says. */
#include "good_or_bad.h"

static tallyport_status bad(tallyport_exporter *self, const tallyport_call *call,
                            tallyport_sink *sink, tallyport_error *error) {
    static uint8_t flood[4096];
    for (;;) (void)self->host->sink_write(self->host, sink, flood, sizeof flood);
    (void)call;
    return good_failure(self, error, "it ended");
}

GOOD_OR_BAD("com.example.floods-deaf")
