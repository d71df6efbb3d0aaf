/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A host that forks in every way while its threads are at everything that takes locks.
 *
 * forks VERB PLUGIN FORK_AWARE_PLUGIN FILE ROUNDS: two plugin files, and a file that is not there.
 */
#define _GNU_SOURCE
#include "host.h"

#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* A child that is not done by then hangs: SIGALRM ends it. */
enum { CHILD_SECONDS = 30 };

static tallyport_engine *engine;
static tallyport_counter *hits;
static tallyport_histogram *took;
static const char *plugin;
static atomic_int working;

static void exports(const char *selector) {
    tallyport_buf text = {0};
    OK(tallyport_export_z(engine, selector, &text, &err));
    CHECK(text.len > 0);
    tallyport_buf_free(&text);
}

static void creates_a_series(int thread, int number) {
    char value[64];
    tallyport_counter *counter;
    tallyport_label label = {TALLYPORT_STR("n"), {0}};
    snprintf(value, sizeof value, "%d-%d-%d", (int)getpid(), thread, number);
    label.value = str(value);
    OK(tallyport_counter_get(engine, TALLYPORT_STR("made_total"), &label, 1, &counter, &err));
    tallyport_counter_add(counter, 1);
    CHECK(tallyport_counter_value(counter) == 1);
    tallyport_counter_free(counter);
    OK(tallyport_series_remove(engine, TALLYPORT_STR("made_total"), &label, 1, &err));
}

static void loads_a_plugin(int thread, int number) {
    char name[64];
    tallyport_plugin_options options;
    snprintf(name, sizeof name, "p%d-%d-%d", (int)getpid(), thread, number);
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.name = str(name);
    options.path = str(plugin);
    OK(tallyport_plugin_load(engine, &options, &err));
    exports(name);
    OK(tallyport_plugin_unregister(engine, str(name), &err));
}

static int on_event(void *data, const tallyport_event *event) {
    (void)event;
    atomic_fetch_add((atomic_int *)data, 1);
    return 0;
}

static atomic_int heard;

static void publishes(void) {
    OK(tallyport_event_publish(engine, TALLYPORT_STR("task.completed"), TALLYPORT_STR(""), NULL, 0,
                               &err));
}

static void *records(void *unused) {
    while (working) {
        for (int i = 0; i < 1000; i++) {
            tallyport_counter_add(hits, 1);
            tallyport_histogram_observe(took, i * 0.001);
        }
    }
    return unused;
}

static void *exports_and_publishes(void *unused) {
    while (working) {
        exports("prometheus");
        exports("worker");
        publishes();
    }
    return unused;
}

static void *creates(void *unused) {
    for (int number = 0; working; number++) creates_a_series(1, number);
    return unused;
}

static void *loads(void *unused) {
    for (int number = 0; working; number++) loads_a_plugin(2, number);
    return unused;
}

/* A number of the engine's status. */
static long long told(const char *key) {
    tallyport_buf status = {0};
    long long count = -1;
    OK(tallyport_engine_status(engine, &status, &err));
    for (size_t at = 0; at + strlen(key) < status.len; at++)
        if (memcmp(status.ptr + at, key, strlen(key)) == 0)
            count = atoll((const char *)status.ptr + at + strlen(key));
    CHECK(count >= 0);
    tallyport_buf_free(&status);
    return count;
}

static pthread_t threads[4];

static void start_work(void) {
    void *(*const work[4])(void *) = {records, exports_and_publishes, creates, loads};
    working = 1;
    for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, work[i], NULL) == 0);
}

static void end_work(void) {
    working = 0;
    for (int i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

/* What every child does. */
static void uses_everything(int round) {
    const uint64_t before = tallyport_counter_value(hits);
    tallyport_counter_add(hits, 3);
    tallyport_histogram_observe(took, 0.5);
    CHECK(tallyport_counter_value(hits) >= before + 3);
    exports("prometheus");
    exports("worker");
    creates_a_series(0, round);
    loads_a_plugin(0, round);
    const int before_event = heard;
    publishes();
    CHECK(heard > before_event);
}

static void *uses_everything_too(void *unused) {
    uses_everything(-1);
    return unused;
}

static void ends_well(pid_t child, int round) {
    int status = -1;
    CHECK(child > 0);
    CHECK(waitpid(child, &status, 0) == child);
    if (status == 0) return;
    fprintf(stderr, "round %d: the child ended with status %#x%s\n", round, (unsigned)status,
            WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? ", it hung" : "");
    exit(1);
}

/* Forks while every thread is at work; some children have threads and children of their own. */
static void forks(int rounds) {
    exports("worker");
    start_work();
    for (int round = 0; round < rounds; round++) {
        const pid_t child = fork();
        if (child == 0) {
            alarm(CHILD_SECONDS);
            uses_everything(round);
            if (round % 4 == 0) {
                pthread_t thread;
                CHECK(pthread_create(&thread, NULL, uses_everything_too, NULL) == 0);
                const pid_t grandchild = fork();
                if (grandchild == 0) {
                    alarm(CHILD_SECONDS);
                    uses_everything(round);
                    _exit(0);
                }
                ends_well(grandchild, round);
                CHECK(pthread_join(thread, NULL) == 0);
            }
            if (round % 8 == 0) tallyport_engine_close(engine);
            _exit(0);
        }
        ends_well(child, round);
    }
    end_work();
}

/* Forks inside a function that the library calls; the call ends in both processes. */
static pid_t main_process;
static int inside_rounds;

static void forks_inside(void) {
    if (getpid() != main_process) return;
    const pid_t child = fork();
    CHECK(child >= 0);
    inside_rounds++;
    if (child == 0) {
        alarm(CHILD_SECONDS);
        uses_everything(inside_rounds);
        return;
    }
    ends_well(child, inside_rounds);
}

static int forks_on_bytes(void *data, const uint8_t *bytes, size_t len) {
    (void)bytes;
    if (*(size_t *)data == 0) forks_inside();
    *(size_t *)data += len;
    return 0;
}

static int forks_on_event(void *data, const tallyport_event *event) {
    (void)data;
    (void)event;
    forks_inside();
    return 0;
}

static void forks_in_calls(int rounds) {
    static const char *const exporters[] = {"prometheus", "worker", "aware", "slow"};
    tallyport_listener_options options;
    tallyport_subscription *subscription;
    main_process = getpid();
    /* More than an exporter with a thread hands over at once. */
    for (int i = 0; i < 20000; i++) {
        char value[64];
        tallyport_counter *counter;
        const char *labels[3] = {"n", value, NULL};
        snprintf(value, sizeof value, "the value of the label that tells %d from the others", i);
        OK(tallyport_counter_get_z(engine, "many_total", labels, &counter, &err));
        tallyport_counter_free(counter);
    }
    for (int round = 0; round < rounds; round++) {
        size_t bytes = 0;
        tallyport_error *err = NULL;
        const char *exporter = exporters[round % 4];
        const tallyport_status status =
            tallyport_export_cb(engine, str(exporter), forks_on_bytes, &bytes, &err);
        CHECK(bytes > 0);
        if (getpid() != main_process) {
            /* The rest of the output was on a thread that is not here. */
            CHECK(status == (round % 4 == 1 ? TALLYPORT_UNAVAILABLE : TALLYPORT_OK));
            tallyport_error_free(err);
            uses_everything(round);
            _exit(0);
        }
        CHECK(status == TALLYPORT_OK);
    }
    CHECK(inside_rounds == rounds);
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.events = TALLYPORT_STR("export.*");
    options.function = forks_on_event;
    OK(tallyport_event_subscribe(engine, &options, &subscription, &err));
    exports("worker");
    if (getpid() != main_process) _exit(0);
    /* Asked for, and completed. */
    CHECK(inside_rounds == rounds + 2);
    tallyport_subscription_free(subscription);
}

static void *forks_too(void *rounds) {
    for (int round = 0; round < *(int *)rounds; round++) {
        const pid_t child = fork();
        if (child == 0) {
            alarm(CHILD_SECONDS);
            uses_everything(round);
            _exit(0);
        }
        ends_well(child, round);
    }
    return rounds;
}

/* Threads that fork at the same time. */
static void forks_at_once(int rounds) {
    pthread_t forkers[3];
    start_work();
    for (int i = 0; i < 3; i++) CHECK(pthread_create(&forkers[i], NULL, forks_too, &rounds) == 0);
    for (int i = 0; i < 3; i++) CHECK(pthread_join(forkers[i], NULL) == 0);
    end_work();
}

static pid_t raw_clone(void) { return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }

/* Children that the C library's handlers do not see. Nothing else runs: only what is
 * async-signal-safe may be called in such a child of a process with threads. */
static void forks_past_the_handlers(int rounds) {
    exports("worker");
    for (int round = 0; round < rounds; round++) {
        const int explicitly = round % 4 >= 2;
        if (explicitly) tallyport_before_fork();
        const pid_t child = round % 2 == 0 ? raw_clone() : _Fork();
        if (child == 0) {
            alarm(CHILD_SECONDS);
            if (explicitly) tallyport_after_fork_child();
            if (round % 8 >= 4) tallyport_after_fork_child();
            uses_everything(round);
            const pid_t grandchild = raw_clone();
            if (grandchild == 0) {
                alarm(CHILD_SECONDS);
                uses_everything(round);
                _exit(0);
            }
            ends_well(grandchild, round);
            _exit(0);
        }
        if (explicitly) tallyport_after_fork_parent();
        ends_well(child, round);
        uses_everything(round);
    }
}

/* Recording is all that such a child of a busy process may do: it does it. */
static void records_past_the_handlers(int rounds) {
    start_work();
    for (int round = 0; round < rounds; round++) {
        const pid_t child = round % 2 == 0 ? raw_clone() : _Fork();
        if (child == 0) {
            alarm(CHILD_SECONDS);
            const uint64_t before = tallyport_counter_value(hits);
            for (int i = 0; i < 1000; i++) {
                tallyport_counter_add(hits, 1);
                tallyport_histogram_observe(took, 0.5);
            }
            _exit(tallyport_counter_value(hits) >= before + 1000 ? 0 : 1);
        }
        ends_well(child, round);
    }
    end_work();
}

/* posix_spawn and vfork run no handler: they do not wait for anybody. */
static void spawns(int rounds) {
    char *const arguments[] = {"true", NULL};
    const long long before = told("\"announced\":");
    start_work();
    for (int round = 0; round < rounds; round++) {
        pid_t child;
        CHECK(posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ) == 0);
        ends_well(child, round);
    }
    end_work();
    CHECK(told("\"announced\":") == before);
    const pid_t child = fork();
    if (child == 0) _exit(0);
    ends_well(child, rounds);
    CHECK(told("\"announced\":") == before + 1);
}

/* The announcements in every order, and too often. */
static void announces(int rounds) {
    void (*const calls[3])(void) = {tallyport_before_fork, tallyport_after_fork_parent,
                                    tallyport_after_fork_child};
    start_work();
    for (int round = 0; round < rounds; round++) {
        for (int step = 0, order = round; step < 4; step++, order /= 3) calls[order % 3]();
        const pid_t child = fork();
        if (child == 0) {
            alarm(CHILD_SECONDS);
            for (int step = 0, order = round / 3; step < 4; step++, order /= 3) calls[order % 3]();
            /* What is announced is not forgotten here. */
            tallyport_after_fork_parent();
            uses_everything(round);
            _exit(0);
        }
        for (int step = 0, order = round; step < 4; step++, order /= 3) calls[order % 3]();
        tallyport_after_fork_parent();
        ends_well(child, round);
    }
    end_work();
}

/* What waits in a queue is the parent's to handle; the child's begins empty. */
static void queues(void) {
    tallyport_listener_options options;
    tallyport_subscription *subscription;
    tallyport_buf event = {0};
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.events = TALLYPORT_STR("task.*");
    options.queue_events = 3;
    OK(tallyport_event_subscribe(engine, &options, &subscription, &err));
    for (int i = 0; i < 3; i++) publishes();
    const pid_t child = fork();
    if (child == 0) {
        alarm(CHILD_SECONDS);
        CHECK(tallyport_subscription_next(subscription, 0, &event, NULL) == TALLYPORT_TIMEOUT);
        for (int i = 0; i < 3; i++) publishes();
        for (int i = 0; i < 3; i++) {
            OK(tallyport_subscription_next(subscription, 0, &event, &err));
            tallyport_buf_free(&event);
        }
        tallyport_subscription_free(subscription);
        _exit(0);
    }
    ends_well(child, 0);
    for (int i = 0; i < 3; i++) {
        OK(tallyport_subscription_next(subscription, 0, &event, &err));
        tallyport_buf_free(&event);
    }
    tallyport_subscription_free(subscription);
}

static void writes(const char *exporter, const char *wanted) {
    tallyport_buf text = {0};
    OK(tallyport_export_z(engine, exporter, &text, &err));
    if (!has(&text, wanted)) {
        fprintf(stderr, "%.*s, not %s\n", (int)text.len, (const char *)text.ptr, wanted);
        exit(1);
    }
    tallyport_buf_free(&text);
}

static void *exports_slowly(void *unused) {
    exports("slow");
    return unused;
}

/* A FORK_AWARE exporter goes on in a child, but not one that was in a call. */
static void keeps_an_exporter(const char *file) {
    pthread_t thread;
    writes("aware", "1 exports 0 forks");
    pid_t child = fork();
    if (child == 0) {
        alarm(CHILD_SECONDS);
        writes("aware", "2 exports 1 forks");
        const pid_t grandchild = fork();
        if (grandchild == 0) {
            alarm(CHILD_SECONDS);
            writes("aware", "3 exports 2 forks");
            writes("aware", "4 exports 2 forks");
            tallyport_engine_close(engine);
            _exit(0);
        }
        ends_well(grandchild, 0);
        writes("aware", "3 exports 1 forks");
        _exit(0);
    }
    ends_well(child, 0);
    writes("aware", "2 exports 0 forks");

    FILE *slow = fopen(file, "w");
    CHECK(slow != NULL && fclose(slow) == 0);
    CHECK(pthread_create(&thread, NULL, exports_slowly, NULL) == 0);
    const struct timespec moment = {0, 100000000};
    nanosleep(&moment, NULL);
    child = fork();
    if (child == 0) {
        alarm(CHILD_SECONDS);
        CHECK(remove(file) == 0);
        writes("slow", "1 exports 0 forks");
        writes("slow", "2 exports 0 forks");
        _exit(0);
    }
    ends_well(child, 0);
    CHECK(pthread_join(thread, NULL) == 0);
    writes("slow", "2 exports 0 forks");
}

/* As Process.daemon does it. */
static void becomes_a_daemon(void) {
    exports("worker");
    CHECK(daemon(1, 1) == 0);
    alarm(CHILD_SECONDS);
    uses_everything(0);
    tallyport_engine_close(engine);
    printf("a daemon\n");
    fflush(stdout);
    _exit(0);
}

int main(int argc, char **argv) {
    static char toml[4096];
    tallyport_engine_options options;
    tallyport_listener_options listener;
    tallyport_subscription *subscription;
    CHECK(argc == 6);
    const char *verb = argv[1];
    const int rounds = atoi(argv[5]);
    plugin = argv[2];
    const int len = snprintf(
        toml, sizeof toml,
        "schema = 1\n[loading]\nprobe = \"never\"\n"
        "[plugins.worker]\nexporter = \"csv\"\nrequired = true\nrun = { deadline_ms = 60_000 }\n"
        "[plugins.aware]\npath = \"%s\"\nrequired = true\n"
        "[plugins.slow]\npath = \"%s\"\nrequired = true\noptions = { slow = \"%s\" }\n",
        argv[3], argv[3], argv[4]);
    CHECK(len > 0 && (size_t)len < sizeof toml);
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.config_toml = str(toml);
    OK(tallyport_engine_open_with(&options, &engine, &err));
    OK(tallyport_counter_get(engine, TALLYPORT_STR("hits_total"), NULL, 0, &hits, &err));
    OK(tallyport_histogram_get(engine, TALLYPORT_STR("took"), NULL, 0, NULL, 0, &took, &err));
    memset(&listener, 0, sizeof listener);
    listener.size = sizeof listener;
    listener.events = TALLYPORT_STR("task.*");
    listener.function = on_event;
    listener.data = &heard;
    OK(tallyport_event_subscribe(engine, &listener, &subscription, &err));

    if (strcmp(verb, "forks") == 0) forks(rounds);
    else if (strcmp(verb, "past-the-handlers") == 0) forks_past_the_handlers(rounds);
    else if (strcmp(verb, "records-past-the-handlers") == 0) records_past_the_handlers(rounds);
    else if (strcmp(verb, "spawns") == 0) spawns(rounds);
    else if (strcmp(verb, "announces") == 0) announces(rounds);
    else if (strcmp(verb, "in-calls") == 0) forks_in_calls(rounds);
    else if (strcmp(verb, "at-once") == 0) forks_at_once(rounds);
    else if (strcmp(verb, "queues") == 0) queues();
    else if (strcmp(verb, "keeps") == 0) keeps_an_exporter(argv[4]);
    else if (strcmp(verb, "daemon") == 0) becomes_a_daemon();
    else CHECK(!"a verb");

    /* No fork went on before everybody was out. */
    CHECK(told("\"late\":") == 0 && told("\"reopened\":") == 0);
    tallyport_subscription_free(subscription);
    tallyport_counter_free(hits);
    tallyport_histogram_free(took);
    tallyport_engine_close(engine);
    return 0;
}
