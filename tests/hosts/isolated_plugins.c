/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A host with a plugin in a helper process, which forks, reaps every child and is killed.
 * Arguments: a configuration whose plugin `it` has the formats `good` and `bad` (segfaults) and a
 * backoff of 1 ms, and what to do.
 */
#include "host.h"

#include <ctype.h>
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void moment(long ms) {
    const struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static int same_text(const char *text, const char *wanted) {
    return strstr(text, wanted) != NULL;
}

/* Parent and state of a process; 0: there is none. */
static int look(int pid, int *parent, char *state, char *name) {
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0;
    const int read = fgets(line, sizeof line, file) != NULL;
    fclose(file);
    char *end = read ? strrchr(line, ')') : NULL;
    char *begin = read ? strchr(line, '(') : NULL;
    if (end == NULL || begin == NULL) return 0;
    *end = 0;
    snprintf(name, 32, "%.31s", begin + 1);
    return sscanf(end + 2, "%c %d", state, parent) == 2;
}

static int is_alive(int pid) {
    int parent;
    char state, name[32];
    return look(pid, &parent, &state, name) && state != 'Z' && state != 'X';
}

/* The one helper of a process. */
static int helper_of(int host) {
    int found = 0, count = 0;
    DIR *processes = opendir("/proc");
    CHECK(processes != NULL);
    for (struct dirent *entry; (entry = readdir(processes)) != NULL;) {
        const int pid = isdigit((unsigned char)entry->d_name[0]) ? atoi(entry->d_name) : 0;
        int parent;
        char state, name[32];
        if (pid == 0 || !look(pid, &parent, &state, name)) continue;
        if (parent == host && state != 'Z' && same_text(name, "tallyport-plugi")) {
            found = pid;
            count++;
        }
    }
    closedir(processes);
    CHECK(count == 1);
    return found;
}

static void good(tallyport_engine *engine) {
    tallyport_buf text = {0};
    OK(tallyport_export_z(engine, "it", &text, &err));
    CHECK(has(&text, "good\n"));
    tallyport_buf_free(&text);
}

/* An export that kills the helper; its message has one of two texts. */
static void bad(tallyport_engine *engine, const char *one, const char *other) {
    tallyport_buf text = {0};
    tallyport_error *err = NULL;
    CHECK(tallyport_export_z(engine, "it/bad", &text, &err) == TALLYPORT_PLUGIN_FAILED);
    const char *message = tallyport_error_message(err).ptr;
    if (!same_text(message, one) && !same_text(message, other)) {
        fprintf(stderr, "%s\n", message);
        exit(1);
    }
    tallyport_error_free(err);
    tallyport_buf_free(&text);
    moment(50); /* the backoff is 1 ms, doubled a few times */
}

static int wait_for(pid_t child) {
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

static int forks_on_bytes(void *data, const uint8_t *bytes, size_t len) {
    CHECK(len == 5 && memcmp(bytes, "good\n", 5) == 0);
    *(pid_t *)data = fork();
    return 0;
}

/* Forks in the middle of an export, which ends in the parent; the child asks a helper of its own. */
static void forks_in_an_export(tallyport_engine *engine) {
    pid_t child = -1;
    tallyport_error *err = NULL;
    const tallyport_status status =
        tallyport_export_cb(engine, TALLYPORT_STR("it"), forks_on_bytes, &child, &err);
    CHECK(child >= 0);
    if (child == 0) {
        alarm(60);
        CHECK(status == TALLYPORT_UNAVAILABLE);
        tallyport_error_free(err);
        good(engine);
        _exit(0);
    }
    CHECK(status == TALLYPORT_OK);
    CHECK(wait_for(child) == 0);
    good(engine);
}

static void forks(tallyport_engine *engine) {
    good(engine);
    const int ours = helper_of(getpid());
    for (int round = 0; round < 10; round++) {
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            good(engine);
            const int theirs = helper_of(getpid());
            CHECK(theirs != ours);
            bad(engine, "SIGSEGV", "SIGSEGV");
            good(engine);
            const pid_t grandchild = fork();
            if (grandchild == 0) {
                good(engine);
                CHECK(helper_of(getpid()) != theirs && is_alive(ours));
                tallyport_engine_close(engine);
                _exit(0);
            }
            CHECK(wait_for(grandchild) == 0);
            CHECK(is_alive(ours));
            /* Closes its own helper, and leaves its parent's alone. */
            if (round % 2 == 0) tallyport_engine_close(engine);
            _exit(0);
        }
        CHECK(wait_for(child) == 0);
        CHECK(helper_of(getpid()) == ours);
        good(engine);
    }
    for (int round = 0; round < 10; round++) forks_in_an_export(engine);
    CHECK(helper_of(getpid()) == ours);
    /* A child that never exports and closes what it inherited. */
    const pid_t child = fork();
    if (child == 0) {
        tallyport_engine_close(engine);
        _exit(0);
    }
    CHECK(wait_for(child) == 0);
    CHECK(helper_of(getpid()) == ours);
    good(engine);
}

static volatile sig_atomic_t forking;

static void *exports(void *engine) {
    while (forking) good(engine);
    return NULL;
}

/* Forks while other threads are in the middle of exports. */
static void forks_during_exports(tallyport_engine *engine) {
    pthread_t threads[2];
    forking = 1;
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, exports, engine) == 0);
    for (int round = 0; round < 50; round++) {
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            alarm(60);
            good(engine);
            _exit(0);
        }
        CHECK(wait_for(child) == 0);
    }
    forking = 0;
    for (int i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    good(engine);
}

static void *reaps(void *unused) {
    for (;;) {
        if (waitpid(-1, NULL, 0) < 0) moment(1);
    }
    return unused;
}

static void reaps_every_child(tallyport_engine *engine) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, reaps, NULL) == 0);
    for (int round = 0; round < 20; round++) {
        good(engine);
        bad(engine, "SIGSEGV", "reaps its children itself");
    }
    good(engine);
}

static void ignores_children(tallyport_engine *engine) {
    CHECK(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
    for (int round = 0; round < 5; round++) {
        good(engine);
        bad(engine, "SIGSEGV", "reaps its children itself");
    }
    good(engine);
}

/* Prints the pids of a helper and of a forked copy of its host; then the host is killed. */
static void is_killed(tallyport_engine *engine) {
    good(engine);
    const pid_t copy = fork();
    CHECK(copy >= 0);
    if (copy == 0) {
        /* Nobody reads from it, and the test does not wait for its end of the pipe. */
        fclose(stdout);
        fclose(stderr);
        sleep(120);
        _exit(0);
    }
    printf("%d %d\n", helper_of(getpid()), (int)copy);
    fflush(stdout);
    raise(SIGKILL);
}

int main(int argc, char **argv) {
    tallyport_engine *engine;
    CHECK(argc == 3);
    OK(tallyport_engine_open_z(argv[1], &engine, &err));
    if (strcmp(argv[2], "forks") == 0) forks(engine);
    else if (strcmp(argv[2], "forks-during-exports") == 0) forks_during_exports(engine);
    else if (strcmp(argv[2], "reaps") == 0) reaps_every_child(engine);
    else if (strcmp(argv[2], "ignores") == 0) ignores_children(engine);
    else if (strcmp(argv[2], "is-killed") == 0) is_killed(engine);
    else return 2;
    tallyport_engine_close(engine);
    return 0;
}
