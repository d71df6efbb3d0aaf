/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * plugin_driver.c: a host of a few lines, to run a plugin with nothing of the engine around it.
 *
 *     plugin_driver FILE [--options JSON] [--exports N] [--sink-limit BYTES]
 *
 * Loads FILE, and for each of its exporters: create, N exports (default 1) of one fixed snapshot,
 * shutdown, destroy. The exports go to stdout; every status, error and log line to stderr.
 * Exit code: 0 all calls answered OK, 1 one did not, 2 usage, 3 FILE could not be loaded.
 *
 * The snapshot is what is awkward, on purpose: rows with a stride, a column and a family of a later
 * version, two regions, signs, infinities, and text that no format likes.
 */
#define _POSIX_C_SOURCE 200809L

#include "tallyport_plugin.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- The snapshot. */

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A family row of a later version: longer than ours. */
typedef struct long_family {
    tallyport_family now;
    uint64_t later[2];
} long_family;

/* Strings by id; id 0 is the empty one. */
static const char *const strings[] = {
    "",             "requests_total", "Requests by method and status.", "method", "status",
    "GET",          "2xx",            "a|b,c:d#e@f\ng",                 "é",      "queue_length",
    "temperature",  "site",           "sum",                            "nan",    "zero",
    "far",          "above",          "in_flight",                      "big_total",
    "odd:name|x@y", "took_seconds",   "seconds",                        "fast",   "unbounded",
    "bytes_total",  "fraction",       "of_a_later_version",             "v1.2"};

static const tallyport_label_pair pairs[] = {
    {3, 5}, {4, 6},             /* method=GET, status=2xx */
    {3, 7}, {4, 8},             /* hostile text */
    {11, 12}, {11, 13}, {11, 14}, {11, 15}, {11, 16}, /* site=… */
    {3, 22},                    /* method=fast */
    {11, 27}};                  /* site=v1.2 */

/* Row by row: requests 2, queue 1, temperature 5, in_flight 1, big 1, odd 1, took 2, unbounded 1,
 * bytes 2, of a later version 1. */
static const tallyport_range ranges[] = {{0, 2}, {2, 2}, {0, 0}, {4, 1},  {5, 1}, {6, 1},
                                         {7, 1}, {8, 1}, {0, 0}, {0, 0},  {0, 0}, {0, 0},
                                         {9, 1}, {0, 0}, {0, 0}, {10, 1}, {0, 0}};

static const double bounds[] = {0.005, 0.5, 1, 1e15};
static const uint64_t hist_count[] = {7, 0, 3};
static const uint64_t hist_buckets[] = {1, 2, 0, 3, 1, 0, 0, 0, 0, 0, 3};

#define C TALLYPORT_KIND_COUNTER
#define G TALLYPORT_KIND_GAUGE
#define U TALLYPORT_KIND_UP_DOWN_COUNTER
#define H TALLYPORT_KIND_HISTOGRAM
#define F64 TALLYPORT_NUMBER_F64
#define U64 TALLYPORT_NUMBER_U64
#define I64 TALLYPORT_NUMBER_I64
/*   name, help, unit, kind, number, series, bounds, first count, first bucket */
static const long_family families[] = {
    {{1, 2, 0, C, U64, 0, 2, 0, 0, 0, 0}, {~UINT64_C(0), 1}},
    {{9, 0, 0, G, I64, 2, 1, 0, 0, 0, 0}, {0, 0}},
    {{10, 0, 0, G, F64, 3, 5, 0, 0, 0, 0}, {0, 0}},
    {{17, 0, 0, U, I64, 8, 1, 0, 0, 0, 0}, {0, 0}},
    {{18, 0, 0, C, U64, 9, 1, 0, 0, 0, 0}, {0, 0}},
    {{19, 0, 0, C, F64, 10, 1, 0, 0, 0, 0}, {0, 0}},
    {{26, 0, 0, 99, U64, 16, 1, 0, 0, 0, 0}, {0, 0}}, /* a kind that nobody knows yet */
    {{20, 0, 21, H, F64, 11, 2, 0, 4, 0, 0}, {0, 0}},
    {{23, 0, 0, H, F64, 13, 1, 0, 0, 2, 10}, {0, 0}},
    {{24, 0, 0, C, F64, 14, 2, 0, 0, 0, 0}, {0, 0}}};

static uint64_t bits(double number) {
    uint64_t out;
    memcpy(&out, &number, sizeof out);
    return out;
}

/* Everything that a snapshot points to. */
typedef struct built {
    tallyport_snapshot snapshot;
    tallyport_region regions[2];
    tallyport_column columns[16];
    uint64_t schema[512], values[64]; /* the two regions; u64 for their alignment */
    size_t schema_used, values_used;  /* in bytes */
} built;

static void add_column(built *to, uint32_t id, const void *elements, size_t size, size_t count) {
    const uint32_t region = id >= TALLYPORT_COLUMN_VALUE_BITS;
    char *const base = region ? (char *)to->values : (char *)to->schema;
    size_t *const used = region ? &to->values_used : &to->schema_used;
    const size_t room = region ? sizeof to->values : sizeof to->schema;
    if (count * size > room - *used) abort();
    memcpy(base + *used, elements, count * size);
    const tallyport_column column = {id, (uint32_t)size, region, 0, count, *used};
    to->columns[to->snapshot.column_count++] = column;
    *used = (*used + count * size + 7) / 8 * 8;
}

static void build(built *out) {
    memset(out, 0, sizeof *out);
    uint32_t offsets[COUNT(strings) + 1] = {0};
    char text[1024];
    for (size_t at = 0; at < COUNT(strings); at++) {
        const size_t length = strlen(strings[at]);
        memcpy(text + offsets[at], strings[at], length);
        offsets[at + 1] = offsets[at] + (uint32_t)length;
    }
    const uint64_t values[] = {
        7, UINT64_C(18446744073709551615), (uint64_t)-5,
        bits(0.1 + 0.2), bits(NAN), bits(-0.0), bits(1e300), bits(INFINITY),
        (uint64_t)-3, UINT64_C(9007199254740993), bits(2.5),
        bits(123456.789), bits(0), bits(-NAN), bits(1e15), bits(1.0 / 3), 1};
    add_column(out, 31, "of a later version", 1, 18);
    add_column(out, TALLYPORT_COLUMN_STR_OFF, offsets, sizeof offsets[0], COUNT(offsets));
    add_column(out, TALLYPORT_COLUMN_STR_BYTES, text, 1, offsets[COUNT(strings)]);
    add_column(out, TALLYPORT_COLUMN_FAMILIES, families, sizeof families[0], COUNT(families));
    add_column(out, TALLYPORT_COLUMN_LABEL_RANGES, ranges, sizeof ranges[0], COUNT(ranges));
    add_column(out, TALLYPORT_COLUMN_LABEL_PAIRS, pairs, sizeof pairs[0], COUNT(pairs));
    add_column(out, TALLYPORT_COLUMN_HIST_BOUNDS, bounds, sizeof bounds[0], COUNT(bounds));
    add_column(out, TALLYPORT_COLUMN_VALUE_BITS, values, sizeof values[0], COUNT(values));
    add_column(out, TALLYPORT_COLUMN_HIST_COUNT, hist_count, 8, COUNT(hist_count));
    add_column(out, TALLYPORT_COLUMN_HIST_BUCKETS, hist_buckets, 8, COUNT(hist_buckets));
    out->regions[0].base = (const uint8_t *)out->schema;
    out->regions[0].len = out->schema_used;
    out->regions[1].base = (const uint8_t *)out->values;
    out->regions[1].len = out->values_used;
    out->snapshot.struct_size = sizeof out->snapshot;
    out->snapshot.schema_id = 1;
    out->snapshot.time_unix_ns = UINT64_C(1700000000000000000);
    out->snapshot.series_count = COUNT(ranges);
    out->snapshot.region_count = COUNT(out->regions);
    out->snapshot.regions = out->regions;
    out->snapshot.columns = out->columns;
}

/* --- The host's services. */

struct tallyport_sink {
    size_t written, limit;
    uint8_t lent[4096];
};

struct tallyport_error {
    int unused;
};

static void host_log(const tallyport_host *host, int32_t level, tallyport_str message) {
    (void)host;
    fprintf(stderr, "log %d: %.*s\n", (int)level, (int)message.len, message.ptr);
}

static void host_error_set(const tallyport_host *host, tallyport_error *error,
                           tallyport_status code, tallyport_str message) {
    (void)host;
    (void)error;
    fprintf(stderr, "error %d: %.*s\n", (int)code, (int)message.len, message.ptr);
}

static void host_error_detail(const tallyport_host *host, tallyport_error *error,
                              tallyport_str key, tallyport_str value) {
    (void)host;
    (void)error;
    fprintf(stderr, "detail %.*s=%.*s\n", (int)key.len, key.ptr, (int)value.len, value.ptr);
}

static tallyport_status host_sink_write(const tallyport_host *host, tallyport_sink *sink,
                                        const uint8_t *bytes, size_t len) {
    (void)host;
    if (len > sink->limit - sink->written) return TALLYPORT_LIMIT;
    sink->written += len;
    return fwrite(bytes, 1, len, stdout) == len ? TALLYPORT_OK : TALLYPORT_IO;
}

static tallyport_status host_sink_reserve(const tallyport_host *host, tallyport_sink *sink,
                                          size_t min_len, uint8_t **bytes, size_t *len) {
    (void)host;
    if (min_len > sizeof sink->lent) return TALLYPORT_LIMIT;
    *bytes = sink->lent;
    *len = sizeof sink->lent;
    return TALLYPORT_OK;
}

static tallyport_status host_sink_commit(const tallyport_host *host, tallyport_sink *sink,
                                         size_t len) {
    return host_sink_write(host, sink, sink->lent, len);
}

static uint64_t host_mono_ns(const tallyport_host *host) {
    (void)host;
    return 1;
}

static const void *host_get_service(const tallyport_host *host, tallyport_str id) {
    (void)host;
    (void)id;
    return NULL;
}

static const tallyport_host host = {
    sizeof(tallyport_host), TALLYPORT_PLUGIN_ABI, NULL,
    host_log,               host_error_set,       host_error_detail,
    host_sink_write,        host_sink_reserve,    host_sink_commit,
    host_mono_ns,           host_get_service};

static int32_t is_cancelled(const tallyport_call *call) {
    (void)call;
    return 0;
}

/* --- One run. */

static int report(const char *step, tallyport_status status) {
    fprintf(stderr, "%s %d\n", step, (int)status);
    return status != TALLYPORT_OK;
}

/* Returns 1 when a call did not answer OK. */
static int run(const tallyport_plugin_v1 *plugin, const char *options, long exports, size_t limit) {
    static built fixed; /* static: large, and one run follows the other */
    build(&fixed);
    tallyport_error error = {0};
    tallyport_exporter *exporter = NULL;
    const tallyport_str config = {options, strlen(options)};
    int failed = report("create", plugin->create(&host, config, &exporter, &error));
    if (failed) return 1;
    tallyport_call call = {sizeof call, 0, 1, 0, NULL, is_cancelled, plugin->formats[0].name,
                           TALLYPORT_STR("")};
    for (; exports > 0; exports--, call.call_id++) {
        tallyport_sink sink = {0, limit, {0}};
        const tallyport_status status =
            plugin->export_snapshot(exporter, &call, &fixed.snapshot, &sink, &error);
        failed |= report("export", status);
    }
    if (plugin->shutdown != NULL)
        failed |= report("shutdown", plugin->shutdown(exporter, &call, &error));
    plugin->destroy(exporter);
    return failed;
}

int main(int argc, char **argv) {
    const char *options = "";
    long exports = 1;
    size_t limit = SIZE_MAX;
    for (int at = 2; at < argc; at += 2) {
        const char *value = at + 1 < argc ? argv[at + 1] : NULL;
        if (value != NULL && strcmp(argv[at], "--options") == 0)
            options = value;
        else if (value != NULL && strcmp(argv[at], "--exports") == 0)
            exports = strtol(value, NULL, 10);
        else if (value != NULL && strcmp(argv[at], "--sink-limit") == 0)
            limit = strtoul(value, NULL, 10);
        else
            argc = 0; /* usage */
    }
    if (argc < 2) {
        fputs("plugin_driver FILE [--options JSON] [--exports N] [--sink-limit BYTES]\n", stderr);
        return 2;
    }
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library == NULL) {
        fprintf(stderr, "dlopen: %s\n", dlerror());
        return 3;
    }
    const tallyport_plugin_set *(*query)(uint32_t) = NULL;
    /* ISO C has no cast from an object pointer to a function pointer; POSIX says copy it. */
    void *const symbol = dlsym(library, "tallyport_plugin_query_v1");
    memcpy(&query, &symbol, sizeof query);
    const tallyport_plugin_set *plugins = query == NULL ? NULL : query(TALLYPORT_PLUGIN_ABI);
    if (plugins == NULL) {
        fprintf(stderr, "%s: no exporters for this ABI\n", argv[1]);
        return 3;
    }
    int failed = 0;
    for (uint32_t at = 0; at < plugins->count; at++) {
        const char *const table = (const char *)plugins->plugins + (size_t)at * plugins->stride;
        failed |= run((const tallyport_plugin_v1 *)(const void *)table, options, exports, limit);
    }
    fflush(stdout);
    return failed;
}
