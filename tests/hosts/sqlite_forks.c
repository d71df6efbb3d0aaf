/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A host that forks while another thread of it is in a step of SQLite, whose locks of a file belong to
 * the process.
 *
 * sqlite_forks CONFIG CHILDREN: a thread syncs all the time, other processes take the file from it, and
 * every child that is forked meanwhile syncs and reads what all have.
 * sqlite_forks CONFIG late STORE: the step does not end, so the fork waits in vain. */
#define _GNU_SOURCE
#include "host.h"
#include "totals.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CROWD = 3, AT_ONCE = 4 };

static struct board {
    _Atomic int stop;
    /* What everybody counted. */
    _Atomic unsigned long long added;
    /* What is in the store for certain. */
    _Atomic unsigned long long acknowledged;
} *board;

static tallyport_engine *open_engine(const char *config) {
    tallyport_engine *engine;
    OK(tallyport_engine_open_z(config, &engine, &err));
    return engine;
}

static void add(tallyport_engine *engine) {
    tallyport_counter *adds;
    OK(tallyport_counter_get_z(engine, "adds_total", NULL, &adds, &err));
    board->added++;
    tallyport_counter_add(adds, 1);
}

static pid_t forked(unsigned seconds) {
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) alarm(seconds);
    return child;
}

static void ends_well(pid_t child) {
    int ended;
    CHECK(waitpid(child, &ended, 0) > 0);
    if (WIFSIGNALED(ended)) fprintf(stderr, "signal %d; 14: it hung\n", WTERMSIG(ended));
    CHECK(WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
}

/* One of those that take the file from the others. */
static pid_t start_rival(const char *config) {
    const pid_t child = forked(300);
    if (child > 0) return child;
    tallyport_engine *engine = open_engine(config);
    while (!board->stop) {
        add(engine);
        OK(tallyport_sync(engine, &err));
    }
    sync_surely(engine);
    _exit(0);
}

static void *sync_always(void *engine) {
    while (!board->stop) OK(tallyport_sync(engine, &err));
    return NULL;
}

static pid_t start_child(tallyport_engine *engine) {
    const pid_t child = forked(60);
    if (child > 0) return child;
    add(engine);
    sync_surely(engine);
    const unsigned long long least = ++board->acknowledged;
    const unsigned long long found = in_the_store(engine), most = board->added;
    if (found < least || found > most) {
        fprintf(stderr, "%llu acknowledged, %llu in the store, %llu added\n", least, found, most);
        _exit(1);
    }
    _exit(0);
}

static int children(const char *config, int count) {
    pid_t rivals[CROWD];
    for (int i = 0; i < CROWD; i++) rivals[i] = start_rival(config);
    tallyport_engine *engine = open_engine(config);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, sync_always, engine) == 0);
    for (int i = 0; i < count + AT_ONCE; i++) {
        if (i >= AT_ONCE) ends_well(-1);
        if (i < count) start_child(engine);
    }
    board->stop = 1;
    CHECK(pthread_join(thread, NULL) == 0);
    for (int i = 0; i < CROWD; i++) ends_well(rivals[i]);
    const unsigned long long found = in_the_store(engine), late = number(engine, "fork", "late");
    printf("%d children, %llu in the store, %llu added, %llu forks late\n", count, found, board->added, late);
    CHECK(found == board->added && late == 0);
    tallyport_engine_close(engine);
    return 0;
}

/* Whether this process has SQLite's lock for reading this file. */
static int is_read(const char *store) {
    struct stat file;
    CHECK(stat(store, &file) == 0);
    FILE *locks = fopen("/proc/locks", "r");
    CHECK(locks != NULL);
    char line[256];
    int found = 0;
    while (fgets(line, sizeof line, locks) != NULL) {
        int pid;
        unsigned long inode;
        if (sscanf(line, "%*s POSIX %*s READ %d %*x:%*x:%lu", &pid, &inode) == 2)
            found |= pid == getpid() && inode == file.st_ino;
    }
    fclose(locks);
    return found;
}

static void *sync_once(void *engine) {
    tallyport_error *err = NULL;
    /* It ends when it is let go on, and finds that the journal is none. */
    CHECK(tallyport_sync(engine, &err) != TALLYPORT_OK);
    tallyport_error_free(err);
    return NULL;
}

static void is_refused(tallyport_engine *engine) {
    tallyport_error *err = NULL;
    const tallyport_status status = tallyport_sync(engine, &err);
    const char *text = status == TALLYPORT_OK ? "it synced" : tallyport_error_message(err).ptr;
    if (status != TALLYPORT_UNSUPPORTED || strstr(text, "was forked") == NULL) {
        fprintf(stderr, "%s: %s\n", tallyport_status_name(status), text);
        _exit(1);
    }
    tallyport_error_free(err);
}

static int late(const char *config, const char *store) {
    tallyport_engine *engine = open_engine(config);
    add(engine);
    OK(tallyport_sync(engine, &err));
    /* SQLite opens a journal that it finds with the file locked, and a pipe opens when there is a writer. */
    char journal[512];
    snprintf(journal, sizeof journal, "%s-journal", store);
    CHECK(unlink(journal) == 0 && mkfifo(journal, 0600) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, sync_once, engine) == 0);
    while (!is_read(store)) sched_yield();
    pid_t child = forked(30);
    if (child == 0) {
        is_refused(engine);
        child = forked(30);
        if (child == 0) {
            is_refused(engine);
            _exit(0);
        }
        ends_well(child);
        _exit(0);
    }
    ends_well(child);
    const int writer = open(journal, O_WRONLY);
    CHECK(writer >= 0 && close(writer) == 0 && unlink(journal) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(number(engine, "fork", "late") == 1);
    /* Only that child was late. */
    OK(tallyport_sync(engine, &err));
    child = forked(30);
    if (child == 0) {
        add(engine);
        sync_surely(engine);
        _exit(0);
    }
    ends_well(child);
    CHECK(in_the_store(engine) == 2 && board->added == 2);
    tallyport_engine_close(engine);
    return 0;
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IONBF, 0);
    alarm(300);
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(board != MAP_FAILED);
    if (argc == 4 && strcmp(argv[2], "late") == 0) return late(argv[1], argv[3]);
    CHECK(argc == 3);
    return children(argv[1], atoi(argv[2]));
}
