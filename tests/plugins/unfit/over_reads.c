/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reads one value past the end of the column. */
#include "unfit.h"

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    const column values = find(snapshot, TALLYPORT_COLUMN_VALUE_BITS);
    volatile uint64_t sum = 0;
    for (size_t at = 0; values.first != NULL && at <= values.count; at++) {
        uint64_t word;
        memcpy(&word, values.first + at * values.size, sizeof word);
        sum += word;
    }
    return walk(&on, line);
}

UNFIT("com.example.over-reads", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
