/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Export targets: one attempt with its report, a schedule in the background that calls nothing of the
 * host, its last export, and a forked child with a schedule of its own.
 *
 * targets FOLDER [ANYTHING: it does not fork]
 */
#define _DEFAULT_SOURCE 1 /* usleep */
#include "host.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_t host_thread;

static void on_log(void *data, int32_t level, tallyport_str target, tallyport_str message) {
    (void)data;
    (void)level;
    (void)target;
    (void)message;
    CHECK(pthread_equal(pthread_self(), host_thread));
}

static int on_event(void *data, const tallyport_event *event) {
    (void)event;
    CHECK(pthread_equal(pthread_self(), host_thread));
    ++*(int *)data;
    return 0;
}

static int status_has(tallyport_engine *engine, const char *wanted) {
    tallyport_buf buf;
    OK(tallyport_engine_status(engine, &buf, &err));
    const int found = has(&buf, wanted);
    tallyport_buf_free(&buf);
    return found;
}

static int file_has(const char *path, const char *wanted) {
    static char text[65536];
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    const size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = 0;
    return strstr(text, wanted) != NULL;
}

int main(int count, char **arguments) {
    static const char toml[] = "schema = 1\n"
                               "store = { kind = 'sqlite', path = 'targets.db' }\n"
                               "[targets.main]\nexporter = 'prometheus'\npath = 'main.prom'\n"
                               "interval_ms = 500\n"
                               "[targets.bad]\nexporter = 'prometheus'\npath = 'absent/x.prom'\n"
                               "enabled = false\n";
    char path[1024];
    int heard = 0;
    tallyport_engine_options options;
    tallyport_engine *engine;
    tallyport_counter *counter;
    tallyport_subscription *subscription;
    tallyport_listener_options listen;
    tallyport_buf report;
    CHECK(count >= 2);
    host_thread = pthread_self();
    static const char *const names[] = {"targets.db", ".main.prom.fence", "main.prom"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", arguments[1], names[i]);
        remove(path); /* of an earlier run; the last one is what is read below */
    }
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.config_toml = str(toml);
    options.base_dir = str(arguments[1]);
    options.log_fn = on_log;
    options.log_level = TALLYPORT_LOG_TRACE;
    OK(tallyport_engine_open_with(&options, &engine, &err));
    memset(&listen, 0, sizeof listen);
    listen.size = sizeof listen;
    listen.events = str("export.*");
    listen.function = on_event;
    listen.data = &heard;
    OK(tallyport_event_subscribe(engine, &listen, &subscription, &err));
    OK(tallyport_counter_get_z(engine, "requests_total", NULL, &counter, &err));
    tallyport_counter_add(counter, 3);

    /* One attempt; the report says what became of it, also where it failed. */
    OK(tallyport_target_export_z(engine, "main", 0, &report, &err));
    CHECK(has(&report, "\"ending\":\"delivered\"") && has(&report, "\"fencing\":\"fenced\""));
    CHECK(has(&report, "\"attempt\":1") && has(&report, "\"retry_after_ms\":null"));
    tallyport_buf_free(&report);
    CHECK(heard == 2 && file_has(path, "requests_total 3\n"));
    FAILS(TALLYPORT_IO, "path", tallyport_target_export(engine, str("bad"), 7, &report, &err));
    CHECK(has(&report, "\"ending\":\"failed\"") && has(&report, "\"retryable\":false"));
    CHECK(has(&report, "\"attempt\":7") && heard == 4);
    tallyport_buf_free(&report);
    FAILS(TALLYPORT_NOT_FOUND, "target",
          tallyport_target_export_z(engine, "mian", 0, &report, &err));
    CHECK(report.ptr == NULL);
    FAILS(TALLYPORT_NULL_ARGUMENT, "report",
          tallyport_target_export_z(engine, "main", 0, NULL, &err));

    /* The schedule's thread calls nothing of the host. */
    CHECK(status_has(engine, "\"scheduled\":false"));
    OK(tallyport_schedule_start(engine, &err));
    FAILS(TALLYPORT_ALREADY_EXISTS, "", tallyport_schedule_start(engine, &err));
    tallyport_counter_add(counter, 4);
    while (!file_has(path, "requests_total 7\n")) usleep(1000);
    CHECK(status_has(engine, "\"scheduled\":true") && status_has(engine, "\"history\":[{"));

    if (count == 2) {
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            /* Its thread is the parent's; one of its own exports what both record. */
            CHECK(status_has(engine, "\"scheduled\":false"));
            OK(tallyport_schedule_stop(engine, 1000, &err));
            OK(tallyport_schedule_start(engine, &err));
            CHECK(status_has(engine, "\"scheduled\":true"));
            OK(tallyport_schedule_stop(engine, 60000, &err));
            tallyport_engine_close(engine);
            _exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }

    /* It exports for the last time. */
    tallyport_counter_add(counter, 100);
    OK(tallyport_schedule_stop(engine, 60000, &err));
    CHECK(file_has(path, "requests_total 107\n"));
    OK(tallyport_schedule_stop(engine, 0, &err));
    CHECK(heard == 4 && status_has(engine, "\"scheduled\":false"));
    /* Closing ends a schedule, too: a moment later, when valgrind would read all reserved cells. */
    if (count == 2) OK(tallyport_schedule_start(engine, &err));
    tallyport_counter_free(counter);
    tallyport_subscription_free(subscription);
    tallyport_engine_close(engine);
    return 0;
}
