/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Exporters with a deadline, seen from C: one that hangs, one that serves on after a fork, and what
 * their threads leave alone: the host's functions and its signals.
 *
 * deadlines WAITS_PLUGIN GOOD_PLUGIN FOLDER [ANYTHING: it does not fork]
 */
#include "host.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pthread_t host_thread;
static int lines;

static void on_log(void *data, int32_t level, tallyport_str target, tallyport_str message) {
    (void)data;
    (void)level;
    (void)target;
    (void)message;
    CHECK(pthread_equal(pthread_self(), host_thread));
    lines++;
}

static int32_t on_bytes(void *data, const uint8_t *bytes, size_t len) {
    (void)bytes;
    CHECK(pthread_equal(pthread_self(), host_thread));
    *(size_t *)data += len;
    return 0;
}

static void on_signal(int number) { (void)number; }

static int status_has(const tallyport_engine *engine, const char *wanted) {
    tallyport_buf buf;
    OK(tallyport_plugins_list(engine, &buf, &err));
    const int found = has(&buf, wanted);
    tallyport_buf_free(&buf);
    return found;
}


static void exports(const tallyport_engine *engine) {
    tallyport_buf buf;
    OK(tallyport_export_z(engine, "good", &buf, &err));
    CHECK(has(&buf, "good\n"));
    tallyport_buf_free(&buf);
}

static void hangs(const tallyport_engine *engine, const char *go) {
    tallyport_buf buf = {0, 0, 0};
    size_t bytes = 0;
    FAILS(TALLYPORT_TIMEOUT, "", tallyport_export_z(engine, "stuck", &buf, &err));
    CHECK(buf.ptr == NULL && status_has(engine, "\"state\":\"open\""));
    CHECK(status_has(engine, "\"zombies\":1"));
    FAILS(TALLYPORT_UNAVAILABLE, "",
          tallyport_export_cb(engine, TALLYPORT_STR("stuck"), on_bytes, &bytes, &err));
    /* What it was lent is still there when it goes on, and what it writes goes nowhere. */
    FILE *file = fopen(go, "w");
    CHECK(file != NULL && fclose(file) == 0);
    CHECK(!status_has(engine, "\"zombies\":2"));
    const struct timespec moment = {0, 2000000};
    while (status_has(engine, "\"zombies\":1")) nanosleep(&moment, NULL);
    CHECK(bytes == 0);
}

/* A signal of the host's stays with its threads: here, blocked in the only one, it is pending. */
static void keeps_signals(void) {
    struct sigaction action;
    sigset_t set;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(sigemptyset(&set) == 0 && sigaddset(&set, SIGUSR1) == 0);
    CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    CHECK(kill(getpid(), SIGUSR1) == 0);
    CHECK(sigpending(&set) == 0 && sigismember(&set, SIGUSR1));
    CHECK(sigemptyset(&set) == 0 && sigaddset(&set, SIGUSR1) == 0);
    CHECK(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
}

static void serves_after_fork(tallyport_engine *engine) {
    const pid_t child = fork();
    int status = -1;
    CHECK(child >= 0);
    if (child == 0) {
        host_thread = pthread_self();
        /* Its thread is not here: it is made anew. */
        exports(engine);
        exports(engine);
        tallyport_engine_close(engine);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    exports(engine);
}

int main(int argc, char **argv) {
    static char toml[4096], go[1024];
    tallyport_engine_options options;
    tallyport_engine *engine;
    size_t bytes = 0;

    CHECK(argc >= 4);
    host_thread = pthread_self();
    CHECK((size_t)snprintf(go, sizeof go, "%s/go", argv[3]) < sizeof go);
    remove(go);
    const int len = snprintf(
        toml, sizeof toml,
        "schema = 1\n"
        "[plugins.stuck]\npath = \"%s\"\noptions = { until = \"%s\" }\nrequired = true\nprobe = \"never\"\n"
        "run = { deadline_ms = 1000, grace_ms = 50, drain_ms = 100, backoff_ms = 3_600_000, "
        "max_backoff_ms = 3_600_000 }\n"
        "[plugins.good]\npath = \"%s\"\nrequired = true\nprobe = \"never\"\nrun = { deadline_ms = 60_000 }\n",
        argv[1], go, argv[2]);
    CHECK(len > 0 && (size_t)len < sizeof toml);
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.config_toml = str(toml);
    options.log_fn = on_log;
    options.log_level = TALLYPORT_LOG_TRACE;
    OK(tallyport_engine_open_with(&options, &engine, &err));
    exports(engine);
    OK(tallyport_export_cb(engine, TALLYPORT_STR("good"), on_bytes, &bytes, &err));
    CHECK(bytes == 5);
    keeps_signals();
    hangs(engine, go);
    OK(tallyport_plugin_unregister(engine, TALLYPORT_STR("stuck"), &err));
    if (argc == 4) serves_after_fork(engine);
    OK(tallyport_plugins_flush(engine, &err));
    tallyport_engine_close(engine);
    CHECK(lines > 0);
    return 0;
}
