/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Collect functions and log rings in a C host: while functions end, snapshots are taken and children
 * are forked.
 *
 * collect ROUNDS [no fork] */
#include "host.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static tallyport_engine *engine;

/* Each function has a cell, which is poisoned when it may go. */
struct cell {
    atomic_int alive;
    atomic_int calls;
    atomic_int freed;
    atomic_int running;
    uint64_t total;
};

static int32_t count(void *data, uint64_t *total) {
    struct cell *cell = data;
    CHECK(atomic_load(&cell->alive) == 1);
    CHECK(atomic_fetch_add(&cell->running, 1) == 0); /* on one thread at a time */
    *total = ++cell->total;
    atomic_fetch_add(&cell->calls, 1);
    CHECK(atomic_fetch_sub(&cell->running, 1) == 1);
    CHECK(atomic_load(&cell->alive) == 1);
    return 0;
}

static void free_cell(void *data) {
    struct cell *cell = data;
    CHECK(atomic_fetch_add(&cell->freed, 1) == 0);
}

static tallyport_collector_options counting(const char *name, struct cell *cell) {
    tallyport_collector_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.name = str(name);
    options.counter = count;
    options.data = cell;
    options.free_data = free_cell;
    return options;
}

static void snapshot(void) {
    tallyport_snapshot_handle *taken;
    OK(tallyport_snapshot_take(engine, &taken, &err));
    tallyport_snapshot_free(taken);
}

static atomic_int done;

static void *take(void *unused) {
    (void)unused;
    while (!atomic_load(&done)) snapshot();
    return NULL;
}

/* What a function uses may go when its collector was freed, whoever takes snapshots meanwhile. */
static void ended_while_others_take_snapshots(int rounds) {
    pthread_t takers[2];
    uint64_t counted = 0;
    tallyport_counter *counter;
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&takers[i], NULL, take, NULL) == 0);
    for (int round = 0; round < rounds; round++) {
        struct cell cell = {1, 0, 0, 0, 0};
        tallyport_collector *collector;
        const tallyport_collector_options options = counting("rounds_total", &cell);
        OK(tallyport_collector_register(engine, &options, &collector, &err));
        while (round % 16 == 0 && atomic_load(&cell.calls) < 2) sched_yield();
        tallyport_collector_free(collector);
        atomic_store(&cell.alive, 0);
        CHECK(atomic_load(&cell.freed) == 1);
        counted += cell.total;
    }
    atomic_store(&done, 1);
    for (int i = 0; i < 2; i++) CHECK(pthread_join(takers[i], NULL) == 0);
    OK(tallyport_counter_get_z(engine, "rounds_total", NULL, &counter, &err));
    CHECK(counted > 0 && tallyport_counter_value(counter) == counted);
    tallyport_counter_free(counter);
}

static int32_t fail(void *data) {
    (void)data;
    return 42;
}

static void wrong_options(void) {
    struct cell cell = {1, 0, 0, 0, 0};
    tallyport_collector *collector, *other;
    const tallyport_label bad[] = {{TALLYPORT_STR("a"), TALLYPORT_STR("1")},
                                   {TALLYPORT_STR("\xff"), TALLYPORT_STR("1")}};
    tallyport_collector_options options = counting("wrong_total", &cell);

    options.collect = fail;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.gauge",
          tallyport_collector_register(engine, &options, &collector, &err));
    CHECK(collector == NULL && atomic_exchange(&cell.freed, 0) == 1);
    options.collect = NULL;
    options.counter = NULL;
    FAILS(TALLYPORT_NULL_ARGUMENT, "options.gauge",
          tallyport_collector_register(engine, &options, &collector, &err));
    CHECK(atomic_exchange(&cell.freed, 0) == 1);
    options = counting("wrong_total", &cell);
    options.threads = 7;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.threads",
          tallyport_collector_register(engine, &options, &collector, &err));
    CHECK(atomic_exchange(&cell.freed, 0) == 1);
    options.threads = TALLYPORT_THREADS_ANY;
    options.reserved = 1;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.reserved",
          tallyport_collector_register(engine, &options, &collector, &err));
    CHECK(atomic_exchange(&cell.freed, 0) == 1);
    options.reserved = 0;
    options.labels = bad;
    options.label_count = 2;
    FAILS(TALLYPORT_INVALID_UTF8, "options.labels[1].name",
          tallyport_collector_register(engine, &options, &collector, &err));
    CHECK(atomic_exchange(&cell.freed, 0) == 1);
    options = counting("", &cell);
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.name",
          tallyport_collector_register(engine, &options, &collector, &err));
    CHECK(atomic_exchange(&cell.freed, 0) == 1);
    options = counting("wrong_total", &cell);
    OK(tallyport_collector_register(engine, &options, &collector, &err));
    FAILS(TALLYPORT_ALREADY_EXISTS, "options.name",
          tallyport_collector_register(engine, &options, &other, &err));
    CHECK(other == NULL && atomic_exchange(&cell.freed, 0) == 1);
    tallyport_collector_free(collector);
    CHECK(atomic_load(&cell.freed) == 1 && cell.total == 0);
    tallyport_collector_free(collector);
}

/* A function that exports, registers and ends others, and ends itself. */
static tallyport_collector *own;

static int32_t everything(void *data) {
    struct cell *cell = data;
    struct cell inner = {1, 0, 0, 0, 0};
    tallyport_collector *collector;
    tallyport_buf buf;
    const tallyport_collector_options options = counting("inner_total", &inner);
    OK(tallyport_export_z(engine, "prometheus", &buf, &err));
    tallyport_buf_free(&buf);
    OK(tallyport_collector_register(engine, &options, &collector, &err));
    snapshot();
    tallyport_collector_free(collector);
    CHECK(inner.total == 0 && atomic_load(&inner.freed) == 1);
    tallyport_collector_free(own);
    CHECK(atomic_load(&cell->freed) == 0);
    cell->total++;
    return 0;
}

static void inside_a_function(void) {
    struct cell cell = {1, 0, 0, 0, 0};
    tallyport_collector_options options = counting("everything", &cell);
    options.counter = NULL;
    options.collect = everything;
    OK(tallyport_collector_register(engine, &options, &own, &err));
    snapshot();
    CHECK(cell.total == 1 && atomic_load(&cell.freed) == 1);
    snapshot();
    CHECK(cell.total == 1);
}

static int32_t read_total(void *data, uint64_t *total) {
    *total = ((struct cell *)data)->total;
    return 0;
}

/* In a child the functions go on; a counter begins where its total stood at the child's first call. */
static void forked(void) {
    struct cell cell = {1, 0, 0, 0, 100};
    tallyport_counter *counter;
    tallyport_collector *collector;
    tallyport_collector_options options = counting("forked_total", &cell);
    options.counter = read_total;
    OK(tallyport_collector_register(engine, &options, &collector, &err));
    snapshot();
    OK(tallyport_counter_get_z(engine, "forked_total", NULL, &counter, &err));
    CHECK(tallyport_counter_value(counter) == 100);
    cell.total = 150; /* nobody asked yet: the parent adds it */
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        const uint64_t before = tallyport_counter_value(counter);
        snapshot();
        CHECK(tallyport_counter_value(counter) == before);
        cell.total = 157;
        snapshot();
        CHECK(tallyport_counter_value(counter) == before + 7);
        tallyport_collector_free(collector);
        CHECK(atomic_load(&cell.freed) == 1);
        _exit(0);
    }
    int status = 1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    snapshot();
    CHECK(tallyport_counter_value(counter) == 157); /* the cells are of both processes */
    tallyport_collector_free(collector);
    tallyport_counter_free(counter);
}

/* A function that forks ends in both processes. */
static int32_t fork_inside(void *data) {
    struct cell *cell = data;
    const pid_t child = fork();
    CHECK(child >= 0);
    cell->total = child == 0;
    if (child != 0) {
        int status = 1;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    return 0;
}

static void forked_inside(void) {
    struct cell cell = {1, 0, 0, 0, 0};
    tallyport_collector *collector;
    tallyport_collector_options options = counting("forks", &cell);
    options.counter = NULL;
    options.collect = fork_inside;
    OK(tallyport_collector_register(engine, &options, &collector, &err));
    snapshot();
    tallyport_collector_free(collector);
    CHECK(atomic_load(&cell.freed) == 1);
    if (cell.total == 1) _exit(0);
}

static int32_t take_line(void *data, const tallyport_log_line *line) {
    tallyport_str *last = data;
    CHECK(line->level == TALLYPORT_LOG_WARN);
    CHECK(last->len == 0 || line->message.len > 0);
    last->len++;
    return last->ptr == NULL ? 0 : 9;
}

static void rings(int may_fork) {
    tallyport_log_ring_options options;
    tallyport_engine_options opened;
    tallyport_log_ring *ring;
    tallyport_collector *collector;
    tallyport_buf buf;
    struct cell cell = {1, 0, 0, 0, 0};
    tallyport_engine *const other = engine;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.lines = UINT64_MAX;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.lines",
          tallyport_log_ring_new(&options, &ring, &err));
    options.lines = 3;
    OK(tallyport_log_ring_new(&options, &ring, &err));
    memset(&opened, 0, sizeof opened);
    opened.size = sizeof opened;
    opened.log_ring = ring;
    opened.log_level = TALLYPORT_LOG_WARN;
    OK(tallyport_engine_open_with(&opened, &engine, &err));
    tallyport_collector_options failing = counting("fails", &cell);
    failing.counter = NULL;
    failing.collect = fail;
    OK(tallyport_collector_register(engine, &failing, &collector, &err));
    /* The 1st, 2nd, 4th, 8th and 16th failure are logged: five lines for three places. */
    for (int i = 0; i < 16; i++) snapshot();
    CHECK(tallyport_log_ring_dropped(ring) == 2);
    tallyport_str taken = {"stop", 0};
    FAILS(TALLYPORT_CANCELLED, "function",
          tallyport_log_ring_drain(ring, take_line, &taken, 0, &err));
    CHECK(taken.len == 1);
    if (may_fork) {
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            OK(tallyport_log_ring_next(ring, &buf, &err));
            CHECK(buf.ptr == NULL && tallyport_log_ring_dropped(ring) == 0);
            _exit(0);
        }
        int status = 1;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    OK(tallyport_log_ring_next(ring, &buf, &err));
    CHECK(has(&buf, "\"level\":\"warn\"") && has(&buf, "the function answered 42"));
    CHECK(has(&buf, "failures=8"));
    tallyport_buf_free(&buf);
    taken.ptr = NULL;
    OK(tallyport_log_ring_drain(ring, take_line, &taken, 0, &err));
    CHECK(taken.len == 2);
    for (int i = 0; i < 16; i++) snapshot(); /* the 32nd */
    OK(tallyport_log_ring_drain(ring, take_line, &taken, 1, &err));
    CHECK(taken.len == 3);
    tallyport_log_ring_free(ring);
    FAILS(TALLYPORT_BAD_HANDLE, "ring", tallyport_log_ring_next(ring, &buf, &err));
    for (int i = 0; i < 32; i++) snapshot(); /* the 64th goes nowhere */
    tallyport_engine *refused;
    FAILS(TALLYPORT_BAD_HANDLE, "options.log_ring",
          tallyport_engine_open_with(&opened, &refused, &err));
    CHECK(refused == NULL);
    tallyport_collector_free(collector);
    tallyport_engine_close(engine);
    engine = other;
}

int main(int argc, char **argv) {
    CHECK(argc >= 2);
    const int may_fork = argc < 3;
    OK(tallyport_engine_open_z(NULL, &engine, &err));
    wrong_options();
    inside_a_function();
    rings(may_fork);
    if (may_fork) forked();
    if (may_fork) forked_inside();
    ended_while_others_take_snapshots(atoi(argv[1]));

    /* Functions end with their engine; their handles are to be freed all the same. */
    struct cell cell = {1, 0, 0, 0, 0};
    tallyport_collector *collector;
    const tallyport_collector_options options = counting("last_total", &cell);
    OK(tallyport_collector_register(engine, &options, &collector, &err));
    tallyport_engine_close(engine);
    CHECK(atomic_load(&cell.freed) == 1 && cell.total == 0);
    tallyport_collector_free(collector);
    CHECK(tallyport_misuse_count() == 0);
    return 0;
}
