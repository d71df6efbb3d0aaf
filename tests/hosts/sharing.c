/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Two engines that share a SQLite file: sync, everyone's snapshot, the background thread, leaving, and
 * a forked child that does the same.
 *
 * sharing FOLDER [ANYTHING: it does not fork]
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

static tallyport_engine *opened(const char *folder, const char *sync) {
    static char toml[512];
    tallyport_engine_options options;
    tallyport_engine *engine;
    snprintf(toml, sizeof toml,
             "schema = 1\nstore = { kind = 'sqlite', path = 'store.db' }\nsync = { %s }\n", sync);
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.config_toml = str(toml);
    options.base_dir = str(folder);
    options.log_fn = on_log;
    options.log_level = TALLYPORT_LOG_TRACE;
    OK(tallyport_engine_open_with(&options, &engine, &err));
    return engine;
}

static void add(tallyport_engine *engine, uint64_t amount) {
    const char *const labels[] = {"path", "/", NULL};
    tallyport_counter *counter;
    OK(tallyport_counter_get_z(engine, "requests", labels, &counter, &err));
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

int main(int count, char **arguments) {
    char store[1024];
    int heard = 0;
    tallyport_subscription *subscription;
    tallyport_listener_options listen;
    CHECK(count >= 2);
    host_thread = pthread_self();
    snprintf(store, sizeof store, "%s/store.db", arguments[1]);
    remove(store); /* of an earlier run */
    tallyport_engine *a = opened(arguments[1], "interval_ms = 10, lease_ms = 60000");
    tallyport_engine *b = opened(arguments[1], "include_instances = false");
    memset(&listen, 0, sizeof listen);
    listen.size = sizeof listen;
    listen.events = str("cache.*");
    listen.function = on_event;
    listen.data = &heard;
    OK(tallyport_event_subscribe(a, &listen, &subscription, &err));
    add(a, 3);
    add(b, 4);
    OK(tallyport_sync(a, &err));
    CHECK(heard == 1);
    CHECK(status_has(a, "\"strategy\":\"distributed_atomic\"") && status_has(a, "\"syncs\":1"));
    CHECK(shared_has(b, "requests{path=\"/\"} 7\n"));

    /* The thread calls nothing of the host. */
    add(a, 10);
    OK(tallyport_sync_start(a, &err));
    FAILS(TALLYPORT_ALREADY_EXISTS, "", tallyport_sync_start(a, &err));
    while (!shared_has(b, "requests{path=\"/\"} 17\n")) usleep(1000);
    OK(tallyport_sync_stop(a, 60000, &err));
    OK(tallyport_sync_stop(a, 60000, &err));
    CHECK(heard == 1);

    if (count == 2) {
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            /* It records into its parent's cells, and publishes them as its parent did. */
            add(a, 50);
            OK(tallyport_sync(a, &err));
            CHECK(status_has(a, "\"syncs\":1"));
            OK(tallyport_sync_start(a, &err));
            OK(tallyport_sync_stop(a, 60000, &err));
            /* The parent goes on: nothing is retired. */
            OK(tallyport_sync_leave(a, &err));
            CHECK(status_has(a, "\"retired\":0"));
            tallyport_engine *own = opened(arguments[1], "instance = 'child'");
            add(own, 50);
            OK(tallyport_sync(own, &err));
            OK(tallyport_sync_leave(own, &err));
            tallyport_engine_close(own);
            tallyport_engine_close(a);
            _exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
        CHECK(shared_has(b, "requests{path=\"/\"} 117\n"));
    }

    OK(tallyport_sync_leave(a, &err));
    tallyport_subscription_free(subscription);
    OK(tallyport_sync_start(a, &err));
    tallyport_engine_close(a); /* its thread ends too */
    CHECK(shared_has(b, count == 2 ? "requests{path=\"/\"} 117\n" : "requests{path=\"/\"} 17\n"));
    tallyport_engine_close(b);
    return 0;
}
