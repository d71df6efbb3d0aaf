/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Nothing is wrong: it writes through sink_reserve and sink_commit. */
#include "unfit.h"

static tallyport_status window(const work *on, const char *text, size_t len, size_t more,
                               size_t beyond) {
    const tallyport_host *host = on->self->host;
    if (!TALLYPORT_HAS(host, tallyport_host, sink_commit) || host->sink_reserve == NULL ||
        host->sink_commit == NULL)
        return put(on, text, len + more);
    uint8_t *bytes;
    size_t room;
    const tallyport_status status = host->sink_reserve(host, on->sink, len, &bytes, &room);
    if (status != TALLYPORT_OK) return status;
    memcpy(bytes, text, len);
    if (beyond != 0) bytes[len + beyond - 1] = 0;
    return host->sink_commit(host, on->sink, len + more);
}

static tallyport_status in_window(const work *on, tallyport_str name, uint32_t row,
                                  uint64_t bits) {
    (void)row;
    (void)bits;
    return name.len == 0 ? TALLYPORT_OK : window(on, name.ptr, name.len, 0, 0);
}

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    return walk(&on, in_window);
}

UNFIT("com.example.sink-windows", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
