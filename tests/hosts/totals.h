/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What hosts that share totals ask: what the store has, how their syncs stand. Include it after host.h. */
#ifndef TALLYPORT_TESTS_TOTALS_H
#define TALLYPORT_TESTS_TOTALS_H

#include <sched.h>

/* A number of an object of the engine's status. */
static inline unsigned long long number(tallyport_engine *engine, const char *object, const char *name) {
    tallyport_buf buf;
    char key[64];
    OK(tallyport_engine_status(engine, &buf, &err));
    char *text = malloc(buf.len + 1);
    CHECK(text != NULL);
    memcpy(text, buf.ptr, buf.len);
    text[buf.len] = 0;
    snprintf(key, sizeof key, "\"%s\":{", object);
    const char *inside = strstr(text, key);
    CHECK(inside != NULL);
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(inside, key);
    CHECK(at != NULL);
    const unsigned long long value = strtoull(at + strlen(key), NULL, 10);
    free(text);
    tallyport_buf_free(&buf);
    return value;
}

/* A number of how its syncs stand. */
static inline unsigned long long status(tallyport_engine *engine, const char *name) {
    return number(engine, "sync", name);
}

/* The counter in a text of the Prometheus exporter. */
static inline unsigned long long value(const tallyport_buf *buf) {
    static const char start[] = "\nadds_total ";
    for (size_t at = 0; at + sizeof start <= buf->len; at++)
        if (memcmp(buf->ptr + at, start, sizeof start - 1) == 0)
            return strtoull((const char *)buf->ptr + at + sizeof start - 1, NULL, 10);
    return 0;
}

static inline unsigned long long in_the_store(tallyport_engine *engine) {
    tallyport_snapshot_handle *snapshot;
    tallyport_buf buf;
    OK(tallyport_snapshot_take_shared(engine, &snapshot, &err));
    OK(tallyport_export_snapshot(engine, snapshot, str("prometheus"), &buf, &err));
    const unsigned long long found = value(&buf);
    tallyport_buf_free(&buf);
    tallyport_snapshot_free(snapshot);
    return found;
}

/* Syncs until it was this process's turn. */
static inline void sync_surely(tallyport_engine *engine) {
    const unsigned long long before = status(engine, "syncs");
    while (status(engine, "syncs") == before) {
        OK(tallyport_sync(engine, &err));
        sched_yield();
    }
}

#endif
