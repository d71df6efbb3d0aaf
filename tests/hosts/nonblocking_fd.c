/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* An export that is larger than a pipe, into the non-blocking end of one that another thread
 * empties. */
#include "host.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

static int ends[2];
static size_t got;

static void *reader(void *unused) {
    char bytes[4096];
    ssize_t len;
    (void)unused;
    while ((len = read(ends[0], bytes, sizeof bytes)) > 0) got += (size_t)len;
    return NULL;
}

int main(void) {
    tallyport_engine_options options;
    tallyport_engine *engine;
    tallyport_buf buf;
    pthread_t thread;
    char value[16];

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    /* Two exports in a row are to be the same. */
    options.config_toml = TALLYPORT_STR("schema = 1\nrecording = { self_metrics = false }\n");
    OK(tallyport_engine_open_with(&options, &engine, &err));
    for (int i = 0; i < 3000; i++) {
        const char *const labels[] = {"i", value, NULL};
        tallyport_counter *counter;
        snprintf(value, sizeof value, "%d", i);
        OK(tallyport_counter_get_z(engine, "a_long_name_for_a_counter_total", labels, &counter,
                                   &err));
        tallyport_counter_free(counter);
    }
    OK(tallyport_export_z(engine, "prometheus", &buf, &err));
    CHECK(buf.len > 100000);
    CHECK(pipe(ends) == 0);
    CHECK(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
    CHECK(pthread_create(&thread, NULL, reader, NULL) == 0);
    OK(tallyport_export_fd(engine, TALLYPORT_STR("prometheus"), ends[1], &err));
    CHECK(close(ends[1]) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(got == buf.len);
    tallyport_buf_free(&buf);
    tallyport_engine_close(engine);
    return 0;
}
