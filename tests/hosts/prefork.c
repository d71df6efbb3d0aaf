/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A prefork family that shares totals through a store: the master opened the engine, every worker
 * records and syncs, in the background or by hand, and workers are killed at random, those that
 * publish among them. The master reads what the store has, all the while.
 *
 * prefork CONFIG SECONDS */
#define _GNU_SOURCE
#include "host.h"
#include "totals.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 4, LIVES = 4096 };

/* What a worker was told is recorded, and in the store. Its memory outlives it. */
struct told {
    _Atomic unsigned long long added, acknowledged, syncs;
};
static struct board {
    _Atomic int stop;
    struct told lives[LIVES];
} *board;

static unsigned long long in_the_arena(tallyport_engine *engine) {
    tallyport_buf buf;
    OK(tallyport_export_z(engine, "prometheus", &buf, &err));
    const unsigned long long found = value(&buf);
    tallyport_buf_free(&buf);
    return found;
}

/* One life: it adds and syncs, or leaves that to its background thread. */
static void work(tallyport_engine *engine, struct told *told, int by_hand) {
    tallyport_counter *adds;
    OK(tallyport_counter_get_z(engine, "adds_total", NULL, &adds, &err));
    if (!by_hand) OK(tallyport_sync_start(engine, &err));
    while (!board->stop) {
        for (int i = 0; i < 1000; i++) {
            told->added++;
            tallyport_counter_add(adds, 1);
        }
        if (!by_hand) {
            sched_yield();
            continue;
        }
        const unsigned long long added = told->added, syncs = status(engine, "syncs");
        OK(tallyport_sync(engine, &err));
        if (status(engine, "syncs") > syncs) {
            told->acknowledged = added;
            told->syncs++;
        }
    }
    if (!by_hand) OK(tallyport_sync_stop(engine, 60000, &err));
    sync_surely(engine);
    told->acknowledged = told->added;
    _exit(0);
}

static pid_t start(tallyport_engine *engine, int life) {
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(300);
        work(engine, &board->lives[life], life % 4 != 3);
    }
    return child;
}

static double now(void) {
    struct timespec time;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &time) == 0);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static unsigned long long sum(int lives, int acknowledged) {
    unsigned long long all = 0;
    for (int i = 0; i < lives; i++)
        all += acknowledged ? board->lives[i].acknowledged : board->lives[i].added;
    return all;
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    setvbuf(stdout, NULL, _IONBF, 0);
    alarm(500);
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(board != MAP_FAILED);
    tallyport_engine *engine;
    OK(tallyport_engine_open_z(argv[1], &engine, &err));
    pid_t workers[WORKERS];
    int lives = 0, kills = 0, looks = 0;
    for (int i = 0; i < WORKERS; i++) workers[i] = start(engine, lives++);
    unsigned random = 12345;
    unsigned long long seen = 0;
    const double end = now() + atof(argv[2]);
    while (now() < end && lives < LIVES) {
        const unsigned long long least = sum(lives, 1), found = in_the_store(engine);
        const unsigned long long most = sum(lives, 0);
        if (found < least || found > most || found < seen) {
            fprintf(stderr, "%llu acknowledged, %llu before, %llu in the store, %llu added\n", least,
                    seen, found, most);
            return 1;
        }
        seen = found;
        looks++;
        random = random * 1103515245 + 12345;
        const int who = (int)(random >> 16) % WORKERS;
        CHECK(kill(workers[who], SIGKILL) == 0);
        CHECK(waitpid(workers[who], NULL, 0) == workers[who]);
        kills++;
        workers[who] = start(engine, lives++);
    }
    board->stop = 1;
    for (int i = 0; i < WORKERS; i++) {
        int ended;
        CHECK(waitpid(workers[i], &ended, 0) == workers[i]);
        CHECK(WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
    }
    const unsigned long long all = in_the_arena(engine), found = in_the_store(engine);
    unsigned long long syncs = 0;
    for (int i = 0; i < lives; i++) syncs += board->lives[i].syncs;
    printf("%d lives, %d killed, %d looks, %llu syncs of workers: %llu acknowledged <= %llu in the store "
           "= %llu in the arena <= %llu told\n",
           lives, kills, looks, syncs, sum(lives, 1), found, all, sum(lives, 0));
    /* A killed worker may have been told of an add that it did not make. */
    CHECK(found == all && all <= sum(lives, 0) && all + (unsigned)kills >= sum(lives, 0));
    CHECK(kills > 3 && looks > 3 && syncs > 3);
    /* Nobody else is there: the arena's part is over, and counts on in the store. */
    OK(tallyport_sync_leave(engine, &err));
    CHECK(in_the_store(engine) == all);
    tallyport_engine_close(engine);
    return 0;
}
