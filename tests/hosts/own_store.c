/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Engines that share through a store of the host's own: a table of items in memory, with
 * compare-and-swap and without, that fails, forgets, lies, and calls the engine that calls it.
 */
#include "host.h"

#include <pthread.h>

enum { SLOTS = 4096 };

typedef struct item {
    char *key;
    char *value;
    size_t len;
    uint64_t token;
} item;

/* What several engines share; one program, so no lock is needed. */
typedef struct table {
    item items[SLOTS];
    uint64_t token;
    pthread_t thread;
    int calls, freed, failing, swaps_anything;
    tallyport_engine *call_back;
    tallyport_store_call *last_call;
    size_t largest;
} table;

static item *find(table *t, tallyport_str key) {
    CHECK(key.len >= 1 && key.len <= 250);
    uint64_t hash = 1469598103934665603u;
    for (size_t i = 0; i < key.len; i++) hash = (hash ^ (unsigned char)key.ptr[i]) * 1099511628211u;
    for (size_t at = hash % SLOTS;; at = (at + 1) % SLOTS) {
        item *found = &t->items[at];
        if (found->key == NULL) {
            found->key = malloc(key.len + 1);
            memcpy(found->key, key.ptr, key.len);
            found->key[key.len] = 0;
            return found;
        }
        if (is(key, found->key)) return found;
    }
}

/* Every function begins here; 0 to go on, else what to answer. */
static int entered(table *t, tallyport_store_call *call, tallyport_str key) {
    CHECK(pthread_equal(pthread_self(), t->thread));
    CHECK(key.len > 13 && memcmp(key.ptr, "tallyport:own", 13) == 0);
    t->calls++;
    t->last_call = call;
    if (t->call_back != NULL) {
        tallyport_snapshot_handle *snapshot;
        tallyport_counter *counter;
        tallyport_buf buf;
        FAILS(TALLYPORT_UNSUPPORTED, "", tallyport_sync(t->call_back, &err));
        FAILS(TALLYPORT_UNSUPPORTED, "", tallyport_sync_leave(t->call_back, &err));
        FAILS(TALLYPORT_UNSUPPORTED, "",
              tallyport_snapshot_take_shared(t->call_back, &snapshot, &err));
        OK(tallyport_engine_status(t->call_back, &buf, &err));
        CHECK(has(&buf, "in the middle of a sync"));
        tallyport_buf_free(&buf);
        OK(tallyport_counter_get_z(t->call_back, "inside", NULL, &counter, &err));
        tallyport_counter_add(counter, 1);
        tallyport_counter_free(counter);
        t->call_back = NULL;
    }
    if (t->failing) {
        OK(tallyport_store_call_fail(call, TALLYPORT_STR("the cable was cut"), &err));
        return -7;
    }
    return 0;
}

static void put(table *t, item *at, tallyport_str value) {
    free(at->value);
    at->value = malloc(value.len + 1);
    memcpy(at->value, value.ptr, value.len);
    at->len = value.len;
    at->token = ++t->token;
    if (value.len > t->largest) t->largest = value.len;
}

static int32_t get(void *data, tallyport_store_call *call, tallyport_str key) {
    table *t = data;
    const int wrong = entered(t, call, key);
    if (wrong) return wrong;
    const item *found = find(t, key);
    if (found->value == NULL) return TALLYPORT_STORE_NOT_DONE;
    tallyport_str value;
    value.ptr = found->value;
    value.len = found->len;
    OK(tallyport_store_call_value(call, value, found->token, &err));
    return TALLYPORT_STORE_DONE;
}

static int32_t set(void *data, tallyport_store_call *call, tallyport_str key, tallyport_str value,
                   uint64_t ttl_ms) {
    table *t = data;
    const int wrong = entered(t, call, key);
    if (wrong) return wrong;
    CHECK(ttl_ms >= 1000);
    put(t, find(t, key), value);
    return TALLYPORT_STORE_DONE;
}

static int32_t add(void *data, tallyport_store_call *call, tallyport_str key, tallyport_str value,
                   uint64_t ttl_ms) {
    table *t = data;
    const int wrong = entered(t, call, key);
    if (wrong) return wrong;
    item *found = find(t, key);
    CHECK(ttl_ms >= 1000);
    if (found->value != NULL) return TALLYPORT_STORE_NOT_DONE;
    put(t, found, value);
    return TALLYPORT_STORE_DONE;
}

static int32_t cas(void *data, tallyport_store_call *call, tallyport_str key, tallyport_str value,
                   uint64_t ttl_ms, uint64_t token) {
    table *t = data;
    const int wrong = entered(t, call, key);
    if (wrong) return wrong;
    item *found = find(t, key);
    CHECK(ttl_ms >= 1000);
    if (!t->swaps_anything && (found->value == NULL || found->token != token))
        return TALLYPORT_STORE_NOT_DONE;
    put(t, found, value);
    return TALLYPORT_STORE_DONE;
}

static void drop(item *at) {
    free(at->value);
    at->value = NULL;
}

static int32_t take_out(void *data, tallyport_store_call *call, tallyport_str key) {
    table *t = data;
    const int wrong = entered(t, call, key);
    if (wrong) return wrong;
    item *found = find(t, key);
    if (found->value == NULL) return TALLYPORT_STORE_NOT_DONE;
    drop(found);
    return TALLYPORT_STORE_DONE;
}

static void free_data(void *data) { ((table *)data)->freed++; }

static table *new_table(void) {
    table *t = calloc(1, sizeof *t);
    t->thread = pthread_self();
    return t;
}

static void free_table(table *t) {
    for (int at = 0; at < SLOTS; at++) {
        free(t->items[at].key);
        free(t->items[at].value);
    }
    free(t);
}

/* Loses what has this in its key. */
static void lose(table *t, const char *part) {
    for (int at = 0; at < SLOTS; at++)
        if (t->items[at].key != NULL && strstr(t->items[at].key, part) != NULL) drop(&t->items[at]);
}

static tallyport_store store_of(table *t) {
    tallyport_store store;
    memset(&store, 0, sizeof store);
    store.size = sizeof store;
    store.name = TALLYPORT_STR("the table");
    store.data = t;
    store.free_data = free_data;
    store.get = get;
    store.set = set;
    store.add = add;
    store.cas = cas;
    store.remove = take_out;
    return store;
}

static tallyport_engine *opened(const char *toml) {
    tallyport_engine_options options;
    tallyport_engine *engine;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.config_toml = str(toml);
    OK(tallyport_engine_open_with(&options, &engine, &err));
    return engine;
}

#define OWN "schema = 1\nstore = { kind = 'host', namespace = 'own' }\n"

static tallyport_engine *sharing(table *t, const char *toml, int with_cas) {
    tallyport_engine *engine = opened(toml);
    tallyport_store store = store_of(t);
    if (!with_cas) store.cas = NULL;
    OK(tallyport_store_attach(engine, &store, &err));
    return engine;
}

static void count(tallyport_engine *engine, uint64_t amount) {
    tallyport_counter *counter;
    OK(tallyport_counter_get_z(engine, "requests", NULL, &counter, &err));
    tallyport_counter_add(counter, amount);
    tallyport_counter_free(counter);
}

static int shared_has(tallyport_engine *engine, const char *line) {
    tallyport_snapshot_handle *snapshot;
    tallyport_buf buf;
    OK(tallyport_snapshot_take_shared(engine, &snapshot, &err));
    OK(tallyport_export_snapshot(engine, snapshot, str("prometheus"), &buf, &err));
    const int found = has(&buf, line);
    tallyport_buf_free(&buf);
    tallyport_snapshot_free(snapshot);
    return found;
}

static int status_has(tallyport_engine *engine, const char *wanted) {
    tallyport_buf buf;
    OK(tallyport_engine_status(engine, &buf, &err));
    const int found = has(&buf, wanted);
    tallyport_buf_free(&buf);
    return found;
}

static void totals_are_exact_with_cas(void) {
    table *t = new_table();
    tallyport_engine *a = sharing(t, OWN, 1), *b = sharing(t, OWN, 1);
    FAILS(TALLYPORT_UNSUPPORTED, "store.kind", tallyport_sync_start(a, &err));
    CHECK(t->calls == 0 && status_has(a, "\"probed\":false"));
    count(a, 3);
    count(b, 4);
    t->call_back = a;
    OK(tallyport_sync(a, &err));
    CHECK(t->call_back == NULL && t->calls > 5);
    CHECK(status_has(a, "\"strategy\":\"distributed_basic\"") && status_has(a, "\"probed\":true"));
    CHECK(status_has(a, "exact while the store evicts nothing"));
    CHECK(shared_has(b, "requests 7\n"));

    /* What ends stays counted, and comes again under another identity. */
    OK(tallyport_sync_leave(a, &err));
    CHECK(shared_has(b, "requests 7\n"));
    count(a, 10);
    OK(tallyport_sync(a, &err));
    CHECK(shared_has(b, "requests 17\n"));

    /* A call is over when its function returned. */
    FAILS(TALLYPORT_BAD_HANDLE, "call",
          tallyport_store_call_value(t->last_call, TALLYPORT_STR("x"), 1, &err));
    FAILS(TALLYPORT_BAD_HANDLE, "call",
          tallyport_store_call_fail(t->last_call, TALLYPORT_STR("x"), &err));

    /* Failures are told with their reason, and cost nothing. */
    count(a, 1);
    t->failing = 1;
    {
        tallyport_error *err = NULL;
        CHECK(tallyport_sync(a, &err) == TALLYPORT_IO);
        const tallyport_str message = tallyport_error_message(err);
        CHECK(strstr(message.ptr, "the table: `get` failed: the cable was cut") != NULL ||
              strstr(message.ptr, "the table: `add` failed: the cable was cut") != NULL);
        tallyport_error_free(err);
    }
    t->failing = 0;
    OK(tallyport_sync(a, &err));
    CHECK(shared_has(b, "requests 18\n"));

    /* Records that are lost are sent again; all that is lost but what living ones have. */
    lose(t, ":i:");
    count(b, 1);
    OK(tallyport_sync(a, &err));
    OK(tallyport_sync(b, &err));
    CHECK(shared_has(b, "requests 19\n") && status_has(a, "\"lost\":1"));
    lose(t, "tallyport");
    OK(tallyport_sync(a, &err));
    CHECK(shared_has(b, "requests 19\n") && status_has(a, "\"reset\":1"));
    CHECK(t->largest < 1 << 20);

    tallyport_engine_close(a);
    CHECK(t->freed == 1);
    tallyport_engine_close(b);
    CHECK(t->freed == 2);
    free_table(t);
}

static void totals_fall_without(void) {
    table *t = new_table();
    tallyport_engine *a = sharing(t, OWN, 0), *b = sharing(t, OWN, 0);
    count(a, 3);
    count(b, 4);
    OK(tallyport_sync(a, &err));
    CHECK(status_has(a, "\"strategy\":\"distributed_manual\""));
    CHECK(status_has(a, "totals may fall"));
    CHECK(shared_has(b, "requests 7\n"));
    OK(tallyport_sync(a, &err));
    count(a, 1);
    OK(tallyport_sync(a, &err));
    CHECK(shared_has(b, "requests 8\n"));
    tallyport_engine_close(a);
    lose(t, ":s:0"); /* as its time does */
    CHECK(shared_has(b, "requests 4\n"));
    tallyport_engine_close(b);
    free_table(t);
}

static void what_it_claims_is_tried(void) {
    table *t = new_table();
    t->swaps_anything = 1;
    tallyport_engine *a = sharing(t, OWN, 1);
    OK(tallyport_sync(a, &err));
    CHECK(status_has(a, "\"strategy\":\"distributed_manual\""));
    tallyport_engine_close(a);
    a = sharing(t, OWN "sync = { strategy = 'distributed_basic' }\n", 1);
    FAILS(TALLYPORT_UNSUPPORTED, "sync.strategy", tallyport_sync(a, &err));
    tallyport_engine_close(a);
    free_table(t);
}

static void wrong_ones_are_refused(void) {
    table *t = new_table();
    tallyport_engine *engine = opened("schema = 1\n");
    tallyport_store store = store_of(t);
    FAILS(TALLYPORT_NULL_ARGUMENT, "store", tallyport_store_attach(engine, NULL, &err));
    store.size = 3;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "store.size", tallyport_store_attach(engine, &store, &err));
    store.size = sizeof store;
    store.flags = 1;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "store.flags", tallyport_store_attach(engine, &store, &err));
    CHECK(t->freed == 0);
    store.flags = 0;
    store.get = NULL;
    FAILS(TALLYPORT_NULL_ARGUMENT, "store.get", tallyport_store_attach(engine, &store, &err));
    store = store_of(t);
    store.remove = NULL;
    FAILS(TALLYPORT_NULL_ARGUMENT, "store.remove", tallyport_store_attach(engine, &store, &err));
    store = store_of(t);
    store.max_item_bytes = 100;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "store.max_item_bytes",
          tallyport_store_attach(engine, &store, &err));
    store.max_item_bytes = 0;
    store.name = TALLYPORT_STR("\xff");
    FAILS(TALLYPORT_INVALID_UTF8, "store.name", tallyport_store_attach(engine, &store, &err));
    CHECK(t->freed == 4);
    store.name = TALLYPORT_STR("");
    OK(tallyport_store_attach(engine, &store, &err));
    FAILS(TALLYPORT_ALREADY_EXISTS, "", tallyport_store_attach(engine, &store, &err));
    CHECK(t->freed == 5);
    tallyport_engine_close(engine);
    CHECK(t->freed == 6);
    engine = opened("schema = 1\nstore = { kind = 'sqlite', path = 's.db' }\n");
    FAILS(TALLYPORT_CONFIG, "store.kind", tallyport_store_attach(engine, &store, &err));
    tallyport_engine_close(engine);
    engine = opened("schema = 1\n");
    OK(tallyport_sync_start(engine, &err));
    FAILS(TALLYPORT_UNSUPPORTED, "", tallyport_store_attach(engine, &store, &err));
    tallyport_engine_close(engine);
    engine = opened(OWN);
    FAILS(TALLYPORT_CONFIG, "store.kind", tallyport_sync(engine, &err));
    tallyport_engine_close(engine);
    CHECK(t->freed == 8 && t->calls == 0);
    free_table(t);
}

int main(void) {
    totals_are_exact_with_cas();
    totals_fall_without();
    what_it_claims_is_tried();
    wrong_ones_are_refused();
    return 0;
}
