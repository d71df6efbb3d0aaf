/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* cells.c: records from four threads, checks that every add is there, and prints which cells run.
   Started as it is, with glibc's rseq switched off, and with hide_rseq.c before it. */
#include "host.h"

#include <pthread.h>

enum { THREADS = 4, ADDS = 200000 };

static tallyport_counter *counter;
static tallyport_histogram *histogram;

static void *record(void *unused) {
    (void)unused;
    for (int i = 0; i < ADDS; i++) {
        tallyport_counter_add(counter, 1);
        tallyport_histogram_observe(histogram, 0.5);
    }
    return NULL;
}

int main(void) {
    tallyport_engine *engine = NULL;
    tallyport_buf status = {0};
    pthread_t threads[THREADS];
    OK(tallyport_engine_open_z(NULL, &engine, &err));
    OK(tallyport_counter_get_z(engine, "c_total", NULL, &counter, &err));
    OK(tallyport_histogram_get_z(engine, "h_seconds", NULL, 0, NULL, &histogram, &err));
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, record, NULL) == 0);
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(tallyport_counter_value(counter) == (uint64_t)THREADS * ADDS);

    tallyport_buf text = {0};
    OK(tallyport_export_z(engine, "prometheus", &text, &err));
    CHECK(has(&text, "h_seconds_count 800000\n"));
    tallyport_buf_free(&text);

    OK(tallyport_engine_status(engine, &status, &err));
    puts(has(&status, "\"cells\":\"shared\"") ? "shared" : "percpu");
    tallyport_buf_free(&status);
    tallyport_histogram_free(histogram);
    tallyport_counter_free(counter);
    tallyport_engine_close(engine);
    return 0;
}
