/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * statsd_lines.c: a vendor's exporter in plain C99: the snapshot as StatsD lines.
 *
 *     requests_total:7|c|#method:GET,status:2xx       counters
 *     queue_length:3|g                                gauges and up-down counters
 *     took_count:4|c   took_sum:1.5|c                 histograms: how many, how much,
 *     took_bucket:3|c|#le:0.5   …|#le:+Inf            and how many up to each bound
 *
 * Values are totals since the series began. A StatsD server adds up what it gets, so feeding it
 * these lines again and again counts twice: they are for files, tests and pipelines that take the
 * difference. Deltas are left out on purpose: an exporter that hands bytes to a sink does not learn
 * whether they arrived, and a delta that was lost is lost for good.
 *
 * Options (a JSON object):
 *   "prefix"  text before each name; default none
 *   "tags"    true: DogStatsD tags (the default). false: plain StatsD, which has no tags and would
 *             mix up the series of a family, so labels go into the name: requests_total.method.GET
 *
 * In plain StatsD a gauge with a sign is a change, so a negative one is sent as 0 and then as
 * itself. NaN and infinities have no spelling: such a value is left out and reported to the log.
 */
#include "tallyport_plugin.h"

#include "flat_json.h"

#include <math.h>
#include <stdlib.h>

struct tallyport_exporter {
    const tallyport_host *host;
    int tags;
    char prefix[FLAT_JSON_TEXT_BYTES];
};

/* --- Output: gathered, handed to the sink in pieces; after a refusal nothing more is written. */

typedef struct output {
    const tallyport_host *host;
    tallyport_sink *sink;
    tallyport_status status;
    size_t used;
    char bytes[8192];
} output;

static void hand_over(output *out) {
    if (out->used != 0 && out->status == TALLYPORT_OK)
        out->status =
            out->host->sink_write(out->host, out->sink, (const uint8_t *)out->bytes, out->used);
    out->used = 0;
}

static void put(output *out, const char *text, size_t len) {
    while (len > 0) {
        if (out->used == sizeof out->bytes) hand_over(out);
        const size_t room = sizeof out->bytes - out->used;
        const size_t some = len < room ? len : room;
        memcpy(out->bytes + out->used, text, some);
        out->used += some;
        text += some;
        len -= some;
    }
}

static void put_z(output *out, const char *text) { put(out, text, strlen(text)); }

/* What would end a name, or a tag's key and value. In plain StatsD labels are parts of the name. */
static const char name_ends[] = ":|@#", label_ends[] = ":|@#.", tag_ends[] = ":|#,";

/* Text with what would end it replaced, and control characters. */
static void put_clean(output *out, tallyport_str text, const char *ends) {
    for (size_t at = 0; at < text.len; at++) {
        const char c = text.ptr[at];
        const int control = (unsigned char)c < 0x20 || c == 0x7f;
        put(out, control || strchr(ends, c) != NULL ? "_" : &c, 1);
    }
}

/* --- Numbers, as text that reads back as the same number, with a point in every locale. */

typedef char number_text[32];

static void f64_text(double number, number_text out) {
    if (number == 0) number = 0; /* -0 would read as a change of a gauge */
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out, sizeof(number_text), "%.*g", digits, number);
        if (strtod(out, NULL) == number) break;
    }
    /* A locale's decimal point may be a comma, or several bytes. */
    size_t kept = 0;
    for (const char *from = out; *from != '\0'; from++) {
        if (strchr("0123456789+-e", *from) != NULL)
            out[kept++] = *from;
        else if (kept == 0 || out[kept - 1] != '.')
            out[kept++] = '.';
    }
    out[kept] = '\0';
}

/* Returns 0 for a value that StatsD cannot spell. */
static int value_text(uint32_t number, uint64_t bits, number_text out) {
    double real;
    memcpy(&real, &bits, sizeof real);
    if (number == TALLYPORT_NUMBER_U64) {
        snprintf(out, sizeof(number_text), "%llu", (unsigned long long)bits);
    } else if (number == TALLYPORT_NUMBER_I64) {
        int64_t whole;
        memcpy(&whole, &bits, sizeof whole);
        snprintf(out, sizeof(number_text), "%lld", (long long)whole);
    } else if (isfinite(real)) {
        f64_text(real, out);
    } else {
        return 0;
    }
    return 1;
}

/* --- The snapshot's columns, checked before anything is read. */

typedef struct view {
    const uint32_t *offsets;
    const char *bytes;
    const uint8_t *families;
    const tallyport_range *label_ranges;
    const tallyport_label_pair *label_pairs;
    const double *bounds;
    const uint64_t *values, *hist_count, *hist_buckets;
    uint64_t offset_count, byte_count, family_count, range_count, pair_count, bound_count;
    uint64_t value_count, hist_count_count, bucket_count;
    size_t family_size;
} view;

/* The first element of a column, or NULL when it is absent or not what its id says. */
static const void *find(const tallyport_snapshot *snapshot, uint32_t id, size_t size,
                        uint64_t *count, size_t *stride) {
    *count = 0;
    for (uint32_t at = 0; at < snapshot->column_count; at++) {
        const tallyport_column *column = &snapshot->columns[at];
        if (column->id != id || column->region >= snapshot->region_count) continue;
        const tallyport_region *region = &snapshot->regions[column->region];
        /* Family rows may have grown, and have a stride; other elements are of one size for ever. */
        if (column->elem_size < size || (stride == NULL && column->elem_size != size)) return NULL;
        if (region->base == NULL || column->offset > region->len ||
            column->count > (region->len - column->offset) / column->elem_size)
            return NULL;
        *count = column->count;
        if (stride != NULL) *stride = column->elem_size;
        return region->base + column->offset;
    }
    return NULL;
}

static view view_of(const tallyport_snapshot *from) {
    view all;
    all.family_size = sizeof(tallyport_family);
    all.offsets = find(from, TALLYPORT_COLUMN_STR_OFF, 4, &all.offset_count, NULL);
    all.bytes = find(from, TALLYPORT_COLUMN_STR_BYTES, 1, &all.byte_count, NULL);
    all.families = find(from, TALLYPORT_COLUMN_FAMILIES, sizeof(tallyport_family),
                        &all.family_count, &all.family_size);
    all.label_ranges = find(from, TALLYPORT_COLUMN_LABEL_RANGES, 8, &all.range_count, NULL);
    all.label_pairs = find(from, TALLYPORT_COLUMN_LABEL_PAIRS, 8, &all.pair_count, NULL);
    all.bounds = find(from, TALLYPORT_COLUMN_HIST_BOUNDS, 8, &all.bound_count, NULL);
    all.values = find(from, TALLYPORT_COLUMN_VALUE_BITS, 8, &all.value_count, NULL);
    all.hist_count = find(from, TALLYPORT_COLUMN_HIST_COUNT, 8, &all.hist_count_count, NULL);
    all.hist_buckets = find(from, TALLYPORT_COLUMN_HIST_BUCKETS, 8, &all.bucket_count, NULL);
    return all;
}

static int inside(uint64_t start, uint64_t count, uint64_t length) {
    return start <= length && count <= length - start;
}

/* Whether every range of the family lies in its column. */
static int family_is_sound(const view *all, const tallyport_family *family) {
    const uint64_t count = family->series_count, width = (uint64_t)family->bounds_count + 1;
    if (!inside(family->series_start, count, all->range_count) ||
        !inside(family->series_start, count, all->value_count))
        return 0;
    return family->kind != TALLYPORT_KIND_HISTOGRAM ||
           (inside(family->bounds_start, family->bounds_count, all->bound_count) &&
            inside(family->hist_start, count, all->hist_count_count) &&
            inside(family->bucket_start, count * width, all->bucket_count));
}

static tallyport_str string(const view *all, uint32_t id) {
    tallyport_str text = {"", 0};
    if (!inside(id, 2, all->offset_count)) return text;
    const uint32_t start = all->offsets[id], end = all->offsets[id + (size_t)1];
    if (start > end || end > all->byte_count) return text;
    text.ptr = all->bytes + start;
    text.len = end - start;
    return text;
}

/* --- Lines. */

typedef struct series {
    const tallyport_exporter *self;
    const view *all;
    tallyport_str name;
    tallyport_range labels;
} series;

/* One line. `le` is the bound of a bucket, NULL for other lines. */
static void put_line(output *out, const series *of, const char *suffix, const char *le,
                     const char *value, const char *type) {
    const int tags = of->self->tags;
    const tallyport_str prefix = {of->self->prefix, strlen(of->self->prefix)};
    put_clean(out, prefix, name_ends);
    put_clean(out, of->name, name_ends);
    put_z(out, suffix);
    if (tags) { /* what is plain comes before the value, what is tagged after it */
        put_z(out, ":");
        put_z(out, value);
        put_z(out, type);
    }
    const uint32_t count = of->labels.count + (le != NULL);
    for (uint32_t at = 0; at < count; at++) {
        tallyport_str key = TALLYPORT_STR("le"), text = {le, le != NULL ? strlen(le) : 0};
        if (at < of->labels.count) {
            const tallyport_label_pair pair = of->all->label_pairs[of->labels.start + (size_t)at];
            key = string(of->all, pair.name);
            text = string(of->all, pair.value);
        }
        put_z(out, !tags ? "." : at == 0 ? "|#" : ",");
        put_clean(out, key, tags ? tag_ends : label_ends);
        put_z(out, tags ? ":" : ".");
        put_clean(out, text, tags ? tag_ends : label_ends);
    }
    if (!tags) {
        put_z(out, ":");
        put_z(out, value);
        put_z(out, type);
    }
    put_z(out, "\n");
}

/* A counter or gauge. Returns the number of values that were left out. */
static unsigned put_value(output *out, const series *of, const tallyport_family *family,
                          uint64_t bits) {
    number_text value;
    if (!value_text(family->number, bits, value)) return 1;
    if (family->kind == TALLYPORT_KIND_COUNTER) {
        put_line(out, of, "", NULL, value, "|c");
        return 0;
    }
    if (value[0] == '-' && !of->self->tags) put_line(out, of, "", NULL, "0", "|g");
    put_line(out, of, "", NULL, value, "|g");
    return 0;
}

static unsigned put_histogram(output *out, const series *of, const tallyport_family *family,
                              uint32_t index, uint64_t sum_bits) {
    const view *all = of->all;
    const uint64_t width = (uint64_t)family->bounds_count + 1;
    const uint64_t *buckets = all->hist_buckets + family->bucket_start + index * width;
    number_text value, le;
    value_text(TALLYPORT_NUMBER_U64, all->hist_count[family->hist_start + (size_t)index], value);
    put_line(out, of, "_count", NULL, value, "|c");
    const int has_sum = value_text(TALLYPORT_NUMBER_F64, sum_bits, value);
    if (has_sum) put_line(out, of, "_sum", NULL, value, "|c");
    uint64_t total = 0;
    for (uint64_t at = 0; at < width; at++) {
        total += buckets[at];
        value_text(TALLYPORT_NUMBER_U64, total, value);
        if (at + 1 < width)
            f64_text(all->bounds[family->bounds_start + at], le);
        else
            memcpy(le, "+Inf", sizeof "+Inf");
        put_line(out, of, "_bucket", le, value, "|c");
    }
    return has_sum ? 0 : 1;
}

/* --- The functions that the host calls. */

static tallyport_status fail(const tallyport_host *host, tallyport_error *error,
                             tallyport_status status, const char *message) {
    const tallyport_str text = {message, strlen(message)};
    host->error_set(host, error, status, text);
    return status;
}

static tallyport_status create(const tallyport_host *host, tallyport_str config_json,
                               tallyport_exporter **exporter, tallyport_error *error) {
    flat_json_option options[] = {
        {"prefix", FLAT_JSON_STRING, "", 0, 0},
        {"tags", FLAT_JSON_BOOL, "", 1, 0},
    };
    flat_json json;
    if (!flat_json_read(&json, config_json.ptr, config_json.len, options, 2)) {
        fail(host, error, TALLYPORT_INVALID_ARGUMENT, json.why);
        const tallyport_str key = {json.key, strlen(json.key)};
        if (key.len != 0) host->error_detail(host, error, TALLYPORT_STR("option"), key);
        return TALLYPORT_INVALID_ARGUMENT;
    }
    tallyport_exporter *self = malloc(sizeof *self);
    if (self == NULL) return fail(host, error, TALLYPORT_PLUGIN_FAILED, "out of memory");
    self->host = host;
    self->tags = options[1].flag;
    memcpy(self->prefix, options[0].text, sizeof self->prefix);
    *exporter = self;
    return TALLYPORT_OK;
}

static tallyport_status export_snapshot(tallyport_exporter *self, const tallyport_call *call,
                                        const tallyport_snapshot *snapshot, tallyport_sink *sink,
                                        tallyport_error *error) {
    const view all = view_of(snapshot);
    output out;
    out.host = self->host;
    out.sink = sink;
    out.status = TALLYPORT_OK;
    out.used = 0;
    unsigned left_out = 0;
    for (uint64_t at = 0; at < all.family_count; at++) {
        tallyport_family family;
        memcpy(&family, all.families + at * all.family_size, sizeof family);
        if (family.kind < TALLYPORT_KIND_COUNTER || family.kind > TALLYPORT_KIND_HISTOGRAM ||
            family.number < TALLYPORT_NUMBER_F64 || family.number > TALLYPORT_NUMBER_I64)
            continue; /* of a later version */
        if (!family_is_sound(&all, &family))
            return fail(self->host, error, TALLYPORT_DAMAGED, "a family is out of range");
        for (uint32_t index = 0; index < family.series_count; index++) {
            const size_t row = family.series_start + (size_t)index;
            series of = {self, &all, string(&all, family.name), all.label_ranges[row]};
            if (!inside(of.labels.start, of.labels.count, all.pair_count)) of.labels.count = 0;
            left_out += family.kind == TALLYPORT_KIND_HISTOGRAM
                            ? put_histogram(&out, &of, &family, index, all.values[row])
                            : put_value(&out, &of, &family, all.values[row]);
            if (call->is_cancelled != NULL && call->is_cancelled(call)) return TALLYPORT_CANCELLED;
            if (out.status != TALLYPORT_OK) return out.status;
        }
    }
    hand_over(&out);
    if (left_out != 0) {
        char text[96];
        snprintf(text, sizeof text, "%u values are not finite and were left out", left_out);
        const tallyport_str message = {text, strlen(text)};
        self->host->log(self->host, TALLYPORT_LOG_WARN, message);
    }
    return out.status;
}

static void destroy(tallyport_exporter *self) { free(self); }

static const tallyport_format formats[] = {
    {TALLYPORT_STR_INIT("statsd"), TALLYPORT_STR_INIT("text/plain; charset=utf-8")},
};

static const tallyport_plugin_v1 plugin = {
    .struct_size = sizeof(tallyport_plugin_v1),
    .abi = TALLYPORT_PLUGIN_ABI,
    .caps = TALLYPORT_CAP_WRITES_SINK | TALLYPORT_CAP_CONCURRENT | TALLYPORT_CAP_OUT_OF_PROC |
            TALLYPORT_CAP_UNLOAD_SAFE,
    .id = TALLYPORT_STR_INIT("statsd"),
    .version = TALLYPORT_STR_INIT("1.0.0"),
    .vendor = TALLYPORT_STR_INIT("Example Ltd"),
    .description = TALLYPORT_STR_INIT("StatsD lines with DogStatsD tags, in C"),
    .formats = formats,
    .format_count = sizeof formats / sizeof formats[0],
    .signals = TALLYPORT_SIGNAL_METRICS,
    .config_schema_json = TALLYPORT_STR_INIT(
        "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
        "\"prefix\":{\"type\":\"string\",\"maxLength\":255},\"tags\":{\"type\":\"boolean\"}}}"),
    .create = create,
    .export_snapshot = export_snapshot,
    .destroy = destroy,
};

static const tallyport_plugin_set plugins = {
    .struct_size = sizeof(tallyport_plugin_set),
    .count = 1,
    .stride = sizeof(tallyport_plugin_v1),
    .plugins = &plugin,
};

TALLYPORT_PLUGIN_FILE("com.example.statsd", "1.0.0");

TALLYPORT_EXPORT const tallyport_plugin_set *tallyport_plugin_query_v1(uint32_t host_abi) {
    return TALLYPORT_PLUGIN_SERVES(host_abi) ? &plugins : NULL;
}
