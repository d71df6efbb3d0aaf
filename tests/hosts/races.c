/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Threads record through handles that another thread frees, while engines open and close. Each add
 * counts in the series of its handle or is counted as misuse: the sums come out exact.
 *
 * races [ROUNDS] */
#include "host.h"

#include <pthread.h>
#include <stdatomic.h>

enum { ADDERS = 3, SERIES = 8 };

static _Atomic(tallyport_counter *) published[SERIES];
static atomic_bool done;
static int rounds = 20000;

/* Returns how often it added. */
static void *adder(void *argument) {
    unsigned long long *const added = argument;
    while (!atomic_load(&done))
        for (int i = 0; i < SERIES; i++) {
            tallyport_counter_add(atomic_load(&published[i]), 1);
            ++*added;
        }
    return NULL;
}

/* Handles of one engine, each replaced and freed again and again. */
static void *replacer(void *argument) {
    tallyport_engine *const engine = argument;
    char name[32];
    for (int round = 0; round < rounds; round++) {
        tallyport_counter *fresh, *old;
        snprintf(name, sizeof name, "series_%d", round % SERIES);
        OK(tallyport_counter_get_z(engine, name, NULL, &fresh, &err));
        old = atomic_exchange(&published[round % SERIES], fresh);
        tallyport_counter_free(old);
        tallyport_counter_free(old);
    }
    return NULL;
}

/* Handles of engines that close, and of series that were removed: the last owner of such a cell is
 * the handle, so that its memory goes with it. */
static void *opener(void *argument) {
    (void)argument;
    for (int round = 0; round < rounds / 50; round++) {
        tallyport_engine *engine;
        tallyport_counter *fresh;
        OK(tallyport_engine_open_z(NULL, &engine, &err));
        for (int i = 0; i < SERIES; i++) {
            OK(tallyport_counter_get_z(engine, "short_lived", NULL, &fresh, &err));
            OK(tallyport_series_remove(engine, str("short_lived"), NULL, 0, &err));
            tallyport_counter_free(atomic_exchange(&published[i], fresh));
        }
        tallyport_engine_close(engine);
    }
    return NULL;
}

/* Runs `freer` against the adders; returns the adds that were made. */
static unsigned long long race(void *(*freer)(void *), tallyport_engine *engine) {
    pthread_t adders[ADDERS], thread;
    unsigned long long added[ADDERS] = {0}, total = 0;

    atomic_store(&done, 0);
    for (int i = 0; i < ADDERS; i++)
        CHECK(pthread_create(&adders[i], NULL, adder, &added[i]) == 0);
    CHECK(pthread_create(&thread, NULL, freer, engine) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    atomic_store(&done, 1);
    for (int i = 0; i < ADDERS; i++) {
        CHECK(pthread_join(adders[i], NULL) == 0);
        total += added[i];
    }
    for (int i = 0; i < SERIES; i++) tallyport_counter_free(atomic_exchange(&published[i], NULL));
    return total;
}

int main(int argc, char **argv) {
    tallyport_engine *engine;
    unsigned long long recorded = 0;
    char name[32];

    if (argc > 1) rounds = atoi(argv[1]);
    OK(tallyport_engine_open_z(NULL, &engine, &err));
    const unsigned long long total = race(replacer, engine);
    for (int i = 0; i < SERIES; i++) {
        tallyport_counter *counter;
        snprintf(name, sizeof name, "series_%d", i);
        OK(tallyport_counter_get_z(engine, name, NULL, &counter, &err));
        recorded += tallyport_counter_value(counter);
        tallyport_counter_free(counter);
    }
    CHECK(recorded > 0);
    CHECK(recorded + tallyport_misuse_count() == total);
    /* Their values are gone with the series; what is looked at is memory. */
    CHECK(race(opener, NULL) > 0);
    for (int i = 0; i < SERIES; i++) {
        tallyport_counter *counter;
        snprintf(name, sizeof name, "series_%d", i);
        OK(tallyport_counter_get_z(engine, name, NULL, &counter, &err));
        recorded -= tallyport_counter_value(counter);
        tallyport_counter_free(counter);
    }
    CHECK(recorded == 0);
    tallyport_engine_close(engine);
    return 0;
}
