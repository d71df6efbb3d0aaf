/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A plugin of ABI MAJOR.MINOR, whose tables are SHORTER than, the SAME as or LONGER than those of
 * this header: what a plugin of an earlier or a later minor looks like to a host.
 *
 * Compiled by the tests of core/src/plugin/negotiate.rs. Each of its two exporters writes its id
 * and the version that the host asked with.
 */
#include "good.h"

#include <stdio.h>

#ifndef MAJOR
#define MAJOR TALLYPORT_PLUGIN_ABI_MAJOR
#define MINOR TALLYPORT_PLUGIN_ABI_MINOR
#endif
#undef TALLYPORT_PLUGIN_ABI_MAJOR
#undef TALLYPORT_PLUGIN_ABI_MINOR
#define TALLYPORT_PLUGIN_ABI_MAJOR MAJOR
#define TALLYPORT_PLUGIN_ABI_MINOR MINOR

static uint32_t asked;

static tallyport_status say(tallyport_exporter *self, tallyport_sink *sink, const char *name) {
    char line[64];
    const int len = snprintf(line, sizeof line, "%s: host %u.%u\n", name, (unsigned)(asked >> 16),
                             (unsigned)(asked & 0xffff));
    return self->host->sink_write(self->host, sink, (const uint8_t *)line, (size_t)len);
}

static tallyport_status first(tallyport_exporter *self, const tallyport_call *call,
                              const tallyport_snapshot *snapshot, tallyport_sink *sink,
                              tallyport_error *error) {
    (void)call;
    (void)snapshot;
    (void)error;
    return say(self, sink, "first");
}

static tallyport_status second(tallyport_exporter *self, const tallyport_call *call,
                               const tallyport_snapshot *snapshot, tallyport_sink *sink,
                               tallyport_error *error) {
    (void)call;
    (void)snapshot;
    (void)error;
    return say(self, sink, "second");
}

static void on_sync(tallyport_exporter *self, const tallyport_call *call,
                    const tallyport_sync_result *result) {
    (void)self;
    (void)call;
    (void)result;
}

/* An extension grows as a table does: an OLD_EXTENSION is as it began, before `on_sync`. */
static const struct later_lifecycle {
    tallyport_lifecycle_v1 today;
    void (*added)(void);
} lifecycle = {
#if defined(OLD_EXTENSION)
    .today.struct_size = offsetof(tallyport_lifecycle_v1, on_sync),
#elif defined(LONGER)
    .today.struct_size = sizeof(struct later_lifecycle),
#else
    .today.struct_size = sizeof(tallyport_lifecycle_v1),
#endif
    .today.on_sync = on_sync};

static const void *get_extension(tallyport_str id) {
    const tallyport_str known = good_text("tallyport.lifecycle/1");
    return id.len == known.len && memcmp(id.ptr, known.ptr, id.len) == 0 ? &lifecycle : NULL;
}

static void after_fork_child(tallyport_exporter *self) { (void)self; }

/* A later minor: the table of today and what was appended, which a host of today must not read. */
typedef struct later_plugin {
    tallyport_plugin_v1 today;
    void (*added)(void);
    uint64_t more[5];
} later_plugin;

#if defined(SHORTER)
enum { size = offsetof(tallyport_plugin_v1, after_fork_child) };
#elif defined(LONGER)
enum { size = sizeof(later_plugin) };
#else
enum { size = sizeof(tallyport_plugin_v1) };
#endif

static const tallyport_format format = {TALLYPORT_STR_INIT("versions"),
                                        TALLYPORT_STR_INIT("text/plain; charset=utf-8")};

#if defined(TABLE_OF_2)
#define TABLE_ABI (2u << 16)
#else
#define TABLE_ABI ((MAJOR << 16) | MINOR)
#endif

#define TABLE(name, function)                                                                      \
    {                                                                                              \
        .struct_size = size, .abi = TABLE_ABI, .caps = TALLYPORT_CAP_WRITES_SINK,                  \
        .id = TALLYPORT_STR_INIT(name), .version = TALLYPORT_STR_INIT("1"), .formats = &format,    \
        .format_count = 1, .signals = TALLYPORT_SIGNAL_METRICS, .create = good_create,             \
        .export_snapshot = function, .destroy = good_destroy,                                      \
        .after_fork_child = after_fork_child, .get_extension = get_extension                       \
    }

static const later_plugin whole[2] = {
    {.today = TABLE("first", first), .more = {~UINT64_C(0)}},
    {.today = TABLE("second", second), .more = {~UINT64_C(0)}},
};

/* Two tables, `size` apart. What a SHORTER one had after its end is the start of the next. */
static uint64_t tables[2 * sizeof(later_plugin) / sizeof(uint64_t)];
static const tallyport_plugin_set plugins = {sizeof(tallyport_plugin_set), 2, size, 0,
                                             (const tallyport_plugin_v1 *)tables};

TALLYPORT_PLUGIN_FILE("com.example.versions", "1.0.0");

TALLYPORT_EXPORT const tallyport_plugin_set *tallyport_plugin_query_v1(uint32_t host_abi) {
    asked = host_abi;
    memcpy(tables, &whole[0], size);
    memcpy((uint8_t *)tables + size, &whole[1], size);
    return TALLYPORT_PLUGIN_SERVES(host_abi) ? &plugins : NULL;
}
