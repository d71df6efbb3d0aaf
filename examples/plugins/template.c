/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * template.c: the smallest whole exporter in C. Copy it and change what is marked CHANGE.
 *
 *     cc -std=c99 -fPIC -shared -fvisibility=hidden -Iinclude \
 *        -Wl,-Bsymbolic,-z,defs,-z,now,-z,nodelete -o template.so template.c
 *
 * It writes one line per family: its name and how many series it has. statsd_lines.c beside it is
 * the next thing to read: labels, values, histograms, options.
 */
#include "tallyport_plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* CHANGE: what one configured instance needs. The host only ever sees a pointer to it. */
struct tallyport_exporter {
    const tallyport_host *host; /* valid until destroy returned */
};

/*
 * A column of the snapshot: `count` elements of `size` bytes. A column that is absent has none.
 *
 * Columns are found by id and may come in any order; ids that this file does not ask for are
 * skipped, so a newer host may add some.
 */
typedef struct column {
    const uint8_t *first;
    size_t size, count;
} column;

static column find(const tallyport_snapshot *snapshot, uint32_t id) {
    const column none = {NULL, 0, 0};
    for (uint32_t at = 0; at < snapshot->column_count; at++) {
        const tallyport_column *found = &snapshot->columns[at];
        if (found->id != id || found->region >= snapshot->region_count) continue;
        const tallyport_region *region = &snapshot->regions[found->region];
        /* The host promises this; checking it costs nothing and turns a bug into no output. */
        if (region->base == NULL || found->elem_size == 0 || found->offset > region->len ||
            found->count > (region->len - found->offset) / found->elem_size)
            return none;
        const column inside = {region->base + found->offset, found->elem_size, found->count};
        return inside;
    }
    return none;
}

/* String `id`: the bytes between two offsets. Not NUL-terminated. */
static tallyport_str string(column offsets, column bytes, uint32_t id) {
    const tallyport_str empty = TALLYPORT_STR("");
    uint32_t range[2];
    if (offsets.size != sizeof range[0] || (size_t)id + 1 >= offsets.count) return empty;
    memcpy(range, offsets.first + id * sizeof range[0], sizeof range);
    if (range[0] > range[1] || range[1] > bytes.count) return empty;
    const tallyport_str text = {(const char *)bytes.first + range[0], range[1] - range[0]};
    return text;
}

/*
 * [any thread] Makes an instance. `config_json` is a JSON object or empty.
 *
 * On failure: say why with error_set (and error_detail), return the status, leave *exporter alone.
 */
static tallyport_status create(const tallyport_host *host, tallyport_str config_json,
                               tallyport_exporter **exporter, tallyport_error *error) {
    (void)config_json; /* CHANGE: read your options; see flat_json.h */
    tallyport_exporter *self = malloc(sizeof *self);
    if (self == NULL) {
        host->error_set(host, error, TALLYPORT_PLUGIN_FAILED, TALLYPORT_STR("out of memory"));
        return TALLYPORT_PLUGIN_FAILED;
    }
    self->host = host;
    *exporter = self;
    return TALLYPORT_OK;
}

/*
 * [one call at a time] Writes the snapshot to the sink.
 *
 * Everything that the host lends, among it each string, is gone when this function returns.
 */
static tallyport_status export_snapshot(tallyport_exporter *self, const tallyport_call *call,
                                        const tallyport_snapshot *snapshot, tallyport_sink *sink,
                                        tallyport_error *error) {
    (void)error; /* a status from the sink needs no words of ours */
    const column offsets = find(snapshot, TALLYPORT_COLUMN_STR_OFF);
    const column bytes = find(snapshot, TALLYPORT_COLUMN_STR_BYTES);
    const column families = find(snapshot, TALLYPORT_COLUMN_FAMILIES);
    for (size_t at = 0; at < families.count && families.size >= sizeof(tallyport_family); at++) {
        tallyport_family family;
        /* families.size is the stride: rows may be longer than the struct of this header. */
        memcpy(&family, families.first + at * families.size, sizeof family);
        const tallyport_str name = string(offsets, bytes, family.name);

        /* CHANGE: what is written per family. A status from the sink ends the export. */
        char rest[32];
        const int length = snprintf(rest, sizeof rest, " %u\n", (unsigned)family.series_count);
        tallyport_status status =
            self->host->sink_write(self->host, sink, (const uint8_t *)name.ptr, name.len);
        if (status == TALLYPORT_OK)
            status = self->host->sink_write(self->host, sink, (const uint8_t *)rest, (size_t)length);
        if (status != TALLYPORT_OK) return status;

        if (call->is_cancelled != NULL && call->is_cancelled(call)) return TALLYPORT_CANCELLED;
    }
    return TALLYPORT_OK;
}

/* [any thread] Frees the instance; no call runs or follows. */
static void destroy(tallyport_exporter *self) { free(self); }

/* What the file offers. Tables are static: the host keeps pointers to them. */
static const tallyport_format formats[] = {
    {TALLYPORT_STR_INIT("template"), TALLYPORT_STR_INIT("text/plain; charset=utf-8")}, /* CHANGE */
};

static const tallyport_plugin_v1 plugin = {
    .struct_size = sizeof(tallyport_plugin_v1),
    .abi = TALLYPORT_PLUGIN_ABI,
    .caps = TALLYPORT_CAP_WRITES_SINK,
    .id = TALLYPORT_STR_INIT("com.example.template"), /* CHANGE */
    .version = TALLYPORT_STR_INIT("1.0.0"),
    .vendor = TALLYPORT_STR_INIT("Example Ltd"),
    .description = TALLYPORT_STR_INIT("The name and size of each family"),
    .formats = formats,
    .format_count = sizeof formats / sizeof formats[0],
    .signals = TALLYPORT_SIGNAL_METRICS,
    .create = create,
    .export_snapshot = export_snapshot,
    .destroy = destroy,
    /* flush, cancel, shutdown, after_fork_child and get_extension may stay NULL. */
};

static const tallyport_plugin_set plugins = {
    .struct_size = sizeof(tallyport_plugin_set),
    .count = 1,
    .stride = sizeof(tallyport_plugin_v1),
    .plugins = &plugin,
};

/* Read by the host before any code of this file runs. */
TALLYPORT_PLUGIN_FILE("com.example.template", "1.0.0"); /* CHANGE */

/* The one exported symbol. */
TALLYPORT_EXPORT const tallyport_plugin_set *tallyport_plugin_query_v1(uint32_t host_abi) {
    return TALLYPORT_PLUGIN_SERVES(host_abi) ? &plugins : NULL;
}
