/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Good: logs three lines, and fails with details. */
#include "good_or_bad.h"

static tallyport_status bad(tallyport_exporter *self, const tallyport_call *call,
                            tallyport_sink *sink, tallyport_error *error) {
    self->host->log(self->host, TALLYPORT_LOG_INFO, good_text("a line"));
    self->host->log(self->host, TALLYPORT_LOG_WARN, good_text("a warning"));
    self->host->log(self->host, TALLYPORT_LOG_DEBUG, good_text("a detail"));
    (void)call;
    (void)sink;
    self->host->error_detail(self->host, error, good_text("peer"), good_text("192.0.2.1"));
    self->host->error_detail(self->host, error, good_text("option"), good_text("endpoint"));
    return good_failure(self, error, "the peer hung up");
}

GOOD_OR_BAD("com.example.logs")
