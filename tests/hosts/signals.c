/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A signal handler that adds through the handle that it interrupts, and a forked child that does. */
#define _DEFAULT_SOURCE /* setitimer */
#include "host.h"

#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static tallyport_counter *counter;
static tallyport_gauge *gauge;
static tallyport_histogram *histogram;
static volatile sig_atomic_t handled;

static void on_alarm(int signal) {
    (void)signal;
    handled++;
    tallyport_counter_add(counter, 1);
    tallyport_gauge_add(gauge, 1);
    tallyport_histogram_observe(histogram, 1);
    tallyport_counter_add(NULL, 1);
}

int main(void) {
    const struct itimerval often = {{0, 50}, {0, 50}}, never = {{0, 0}, {0, 0}};
    struct sigaction action;
    tallyport_engine *engine;
    tallyport_buf buf;
    unsigned long long adds = 0;

    OK(tallyport_engine_open_z(NULL, &engine, &err));
    OK(tallyport_counter_get_z(engine, "adds_total", NULL, &counter, &err));
    OK(tallyport_gauge_get_z(engine, "level", NULL, &gauge, &err));
    OK(tallyport_histogram_get_z(engine, "took", NULL, 0, NULL, &histogram, &err));
    memset(&action, 0, sizeof action);
    action.sa_handler = on_alarm;
    action.sa_flags = SA_RESTART;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    while (handled < 2000) {
        tallyport_counter *fresh;
        for (int i = 0; i < 1000; i++, adds++) {
            tallyport_counter_add(counter, 1);
            tallyport_gauge_add(gauge, 1);
            tallyport_histogram_observe(histogram, 1);
        }
        /* Frees while handlers run: a handler has its own section, also inside another one. */
        OK(tallyport_counter_get_z(engine, "other_total", NULL, &fresh, &err));
        tallyport_counter_free(fresh);
    }
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    adds += (unsigned long long)handled;
    CHECK(tallyport_counter_value(counter) == adds);
    CHECK(tallyport_gauge_value(gauge) == (double)adds);
    CHECK(tallyport_histogram_count(histogram) == adds);
    CHECK(tallyport_misuse_count() == (uint64_t)handled);

    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        for (int i = 0; i < 1000; i++) tallyport_counter_add(counter, 1);
        tallyport_counter_free(counter);
        tallyport_counter_add(counter, 1);
        _exit(tallyport_misuse_count() == (uint64_t)handled + 1 ? 0 : 7);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    /* It added to the same cells. */
    CHECK(tallyport_counter_value(counter) == adds + 1000);

    OK(tallyport_export_z(engine, "prometheus", &buf, &err));
    tallyport_buf_free(&buf);
    tallyport_counter_free(counter);
    tallyport_gauge_free(gauge);
    tallyport_histogram_free(histogram);
    tallyport_engine_close(engine);
    return 0;
}
