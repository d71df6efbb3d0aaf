/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Writes to the snapshot. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    const column bytes = find(snapshot, TALLYPORT_COLUMN_STR_BYTES);
    volatile uint8_t *text = (volatile uint8_t *)(uintptr_t)bytes.first;
    if (bytes.count != 0) text[0] = text[0];
    return walk(&on, line);
}

UNFIT("com.example.writes-snapshot", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
