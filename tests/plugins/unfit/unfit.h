/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * unfit.h: an exporter that keeps every promise, in parts, so that each file here breaks just one.
 *
 * It writes a line per series: the family's name, the row, the bits of the value. fit.c is all of
 * it; the others replace a part.
 */
#ifndef UNFIT_H
#define UNFIT_H

#include "../good.h"

#include <stdio.h>

typedef struct column {
    const uint8_t *first;
    size_t size, count;
} column;

static inline column find(const tallyport_snapshot *snapshot, uint32_t id) {
    const column none = {NULL, 0, 0};
    for (uint32_t at = 0; at < snapshot->column_count; at++) {
        const tallyport_column *found = &snapshot->columns[at];
        if (found->id != id || found->region >= snapshot->region_count) continue;
        const column inside = {snapshot->regions[found->region].base + found->offset,
                               found->elem_size, found->count};
        return inside;
    }
    return none;
}

static inline uint64_t u64_at(column of, size_t at) {
    uint64_t word = 0;
    if (at < of.count) memcpy(&word, of.first + at * of.size, sizeof word);
    return word;
}

static inline tallyport_str text_at(const tallyport_snapshot *snapshot, uint32_t id) {
    const column offsets = find(snapshot, TALLYPORT_COLUMN_STR_OFF);
    const column bytes = find(snapshot, TALLYPORT_COLUMN_STR_BYTES);
    tallyport_str text = {"", 0};
    uint32_t range[2];
    if ((size_t)id + 1 >= offsets.count) return text;
    memcpy(range, offsets.first + id * sizeof range[0], sizeof range);
    text.ptr = (const char *)bytes.first + range[0];
    text.len = range[1] - range[0];
    return text;
}

/* The `at`-th family; 0 for one of a kind or number type that nobody knows. */
static inline int family_at(column families, size_t at, tallyport_family *family) {
    memcpy(family, families.first + at * families.size, sizeof *family);
    return family->kind >= TALLYPORT_KIND_COUNTER && family->kind <= TALLYPORT_KIND_HISTOGRAM &&
           family->number >= TALLYPORT_NUMBER_F64 && family->number <= TALLYPORT_NUMBER_I64;
}

/* What one export works with. */
typedef struct work {
    tallyport_exporter *self;
    const tallyport_call *call;
    const tallyport_snapshot *snapshot;
    tallyport_sink *sink;
    tallyport_error *error;
    int deaf; /* does not ask whether the call was withdrawn */
} work;

static inline tallyport_status put(const work *on, const char *text, size_t len) {
    const tallyport_host *host = on->self->host;
    return host->sink_write(host, on->sink, (const uint8_t *)text, len);
}

typedef tallyport_status (*each_series)(const work *on, tallyport_str name, uint32_t row,
                                        uint64_t bits);

static inline tallyport_status line(const work *on, tallyport_str name, uint32_t row,
                                    uint64_t bits) {
    char rest[64];
    const int len = snprintf(rest, sizeof rest, " %u %llu\n", (unsigned)row,
                             (unsigned long long)bits);
    const tallyport_status status = put(on, name.ptr, name.len);
    return status == TALLYPORT_OK ? put(on, rest, (size_t)len) : status;
}

/* Every series of every family that is known, until one does not answer OK. */
static inline tallyport_status walk(const work *on, each_series each) {
    const column families = find(on->snapshot, TALLYPORT_COLUMN_FAMILIES);
    const column values = find(on->snapshot, TALLYPORT_COLUMN_VALUE_BITS);
    for (size_t at = 0; at < families.count; at++) {
        tallyport_family family;
        if (!family_at(families, at, &family)) continue;
        const tallyport_str name = text_at(on->snapshot, family.name);
        for (uint32_t row = 0; row < family.series_count; row++) {
            const uint64_t bits = u64_at(values, family.series_start + (size_t)row);
            const tallyport_status status = each(on, name, row, bits);
            if (status != TALLYPORT_OK) return status;
            if (!on->deaf && on->call->is_cancelled(on->call)) return TALLYPORT_CANCELLED;
        }
    }
    return TALLYPORT_OK;
}

#define WORK                                                                                       \
    { self, call, snapshot, sink, error, 0 }

/* The parameters of `export_snapshot`. */
#define EXPORT                                                                                     \
    tallyport_exporter *self, const tallyport_call *call, const tallyport_snapshot *snapshot,      \
        tallyport_sink *sink, tallyport_error *error

/* The parameters of `create`, and of `flush` and `shutdown`. */
#define CREATE                                                                                     \
    const tallyport_host *host, tallyport_str config_json, tallyport_exporter **exporter,          \
        tallyport_error *error
#define OUTSIDE tallyport_exporter *self, const tallyport_call *call, tallyport_error *error

static inline tallyport_status fit_export(EXPORT) {
    const work on = WORK;
    return walk(&on, line);
}

static inline tallyport_status fit_outside(OUTSIDE) {
    (void)self;
    (void)call;
    (void)error;
    return TALLYPORT_OK;
}

static inline tallyport_status refuse(const tallyport_host *host, tallyport_error *error,
                                      tallyport_status status, const char *why) {
    host->error_set(host, error, status, good_text(why));
    return status;
}

/* The file: its id, and the fields of its table after the fixed ones. */
#define UNFIT(plugin_id, ...) UNFIT_CAPS(plugin_id, 0, __VA_ARGS__)
#define UNFIT_CAPS(plugin_id, more_caps, ...)                                                      \
    static const tallyport_plugin_v1 plugin = {                                                    \
        .struct_size = sizeof(tallyport_plugin_v1),                                                \
        .abi = TALLYPORT_PLUGIN_ABI,                                                               \
        .caps = TALLYPORT_CAP_WRITES_SINK | (more_caps),                                           \
        .id = TALLYPORT_STR_INIT(plugin_id),                                                       \
        .version = TALLYPORT_STR_INIT("1.0.0"),                                                    \
        .formats = &good_format,                                                                   \
        .format_count = 1,                                                                         \
        .signals = TALLYPORT_SIGNAL_METRICS,                                                       \
        __VA_ARGS__};                                                                              \
    TALLYPORT_PLUGIN_FILE(plugin_id, "1.0.0");                                                     \
    GOOD_ENTRY(&plugin, 1)

#endif /* UNFIT_H */
