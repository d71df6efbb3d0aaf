/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Copies texts into a buffer that is long enough for what it was tried with. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    const column offsets = find(snapshot, TALLYPORT_COLUMN_STR_OFF);
    for (uint32_t id = 0; id + 1 < offsets.count; id++) {
        const tallyport_str text = text_at(snapshot, id);
        volatile char copy[4096];
        for (size_t at = 0; at < text.len; at++) copy[at] = text.ptr[at];
        if (text.len != 0 && copy[0] != text.ptr[0]) return TALLYPORT_PLUGIN_FAILED;
    }
    return walk(&on, line);
}

UNFIT("com.example.short-buffer", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
