/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Refuses an export for a value that is not a number. */
#include "unfit.h"

static tallyport_status strict(const work *on, tallyport_str name, uint32_t row, uint64_t bits) {
    if ((bits & UINT64_C(0x7fffffffffffffff)) > UINT64_C(0x7ff0000000000000) &&
        bits != UINT64_MAX && bits != (uint64_t)INT64_MAX && (int64_t)bits > -1)
        return refuse(on->self->host, on->error, TALLYPORT_PLUGIN_FAILED, "not a number");
    return line(on, name, row, bits);
}

static tallyport_status export_snapshot(EXPORT) {
    const work on = WORK;
    return walk(&on, strict);
}

UNFIT("com.example.refuses-nan", .create = good_create, .export_snapshot = export_snapshot, .destroy = good_destroy)
