/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What C and Go share: the exporter, and the host's functions, as Go calls no pointer to one. */
#ifndef PLUGIN_H
#define PLUGIN_H

#include "tallyport_plugin.h"

struct tallyport_exporter {
    const tallyport_host *host;
    uintptr_t state; /* a handle of Go's: C keeps no pointer into its memory */
};

static inline tallyport_status sink_write(const tallyport_host *host, tallyport_sink *sink,
                                          const uint8_t *bytes, size_t len) {
    return host->sink_write(host, sink, bytes, len);
}

static inline int32_t is_cancelled(const tallyport_call *call) { return call->is_cancelled(call); }

static inline void error_set(const tallyport_host *host, tallyport_error *error,
                             tallyport_status status, const char *text, size_t len) {
    const tallyport_str message = {text, len};
    host->error_set(host, error, status, message);
}

static inline void log_line(const tallyport_host *host, int32_t level, const char *text,
                            size_t len) {
    const tallyport_str message = {text, len};
    host->log(host, level, message);
}

#endif
