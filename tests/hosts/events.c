/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Events in a C host: functions that are called, queues that are drained, from several threads. */
#include "host.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { ROUNDS = 2000 };

static tallyport_engine *engine;

/* Each subscription has a cell, which is poisoned when it may go. */
struct cell {
    atomic_int alive;
    atomic_int calls;
    atomic_int freed;
};

static int32_t on_event(void *data, const tallyport_event *event) {
    struct cell *cell = data;
    CHECK(atomic_load(&cell->alive) == 1);
    CHECK(event->name.len > 0);
    atomic_fetch_add(&cell->calls, 1);
    CHECK(atomic_load(&cell->alive) == 1);
    return 0;
}

static void free_cell(void *data) {
    struct cell *cell = data;
    CHECK(atomic_fetch_add(&cell->freed, 1) == 0);
}

static tallyport_listener_options listener(const char *events) {
    tallyport_listener_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.events = str(events);
    return options;
}

static atomic_int done;

static void *publish(void *unused) {
    const tallyport_event_field fields[] = {
        {TALLYPORT_STR("task_id"), TALLYPORT_FIELD_I64, 0, 7, 0, TALLYPORT_STR("")}};
    long published = 0;
    (void)unused;
    while (!atomic_load(&done)) {
        OK(tallyport_event_publish(engine, str("task.completed"), str(""), fields, 1, &err));
        published++;
    }
    return (void *)published;
}

static void *drain(void *data) {
    tallyport_subscription *queue = data;
    long taken = 0;
    tallyport_buf buf;
    for (;;) {
        const tallyport_status status = tallyport_subscription_next(queue, 60000, &buf, NULL);
        if (status != TALLYPORT_OK) {
            CHECK(status == TALLYPORT_CLOSED || status == TALLYPORT_BAD_HANDLE);
            return (void *)taken;
        }
        CHECK(has(&buf, "\"task_id\":7"));
        tallyport_buf_free(&buf);
        taken++;
    }
}

/* What a function uses may go when its subscription was freed, whoever publishes meanwhile. */
static void ended_while_others_publish(int rounds) {
    pthread_t publishers[2], drainer;
    tallyport_subscription *queue;
    void *published = NULL, *taken = NULL;
    tallyport_listener_options options = listener("task.*");
    options.queue_events = 1 << 16;
    OK(tallyport_event_subscribe(engine, &options, &queue, &err));
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&publishers[i], NULL, publish, NULL) == 0);
    CHECK(pthread_create(&drainer, NULL, drain, queue) == 0);
    for (int round = 0; round < rounds; round++) {
        struct cell cell = {1, 0, 0};
        tallyport_subscription *subscription;
        options = listener("task.completed");
        options.function = on_event;
        options.data = &cell;
        options.free_data = free_cell;
        OK(tallyport_event_subscribe(engine, &options, &subscription, &err));
        while (round % 16 == 0 && atomic_load(&cell.calls) < 2) sched_yield();
        tallyport_subscription_free(subscription);
        atomic_store(&cell.alive, 0);
        CHECK(atomic_load(&cell.freed) == 1);

        struct cell handler = {1, 0, 0};
        options.data = &handler;
        options.name = TALLYPORT_STR("handler");
        OK(tallyport_handler_register(engine, &options, &err));
        struct cell other = {1, 0, 0};
        options.data = &other;
        OK(tallyport_handler_replace(engine, &options, &err));
        atomic_store(&handler.alive, 0);
        CHECK(atomic_load(&handler.freed) == 1);
        OK(tallyport_handler_unregister(engine, options.name, &err));
        atomic_store(&other.alive, 0);
        CHECK(atomic_load(&other.freed) == 1);
    }
    atomic_store(&done, 1);
    long all = 0;
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_join(publishers[i], &published) == 0);
        all += (long)published;
    }
    tallyport_buf buf;
    do { /* until it is drained */
        sched_yield();
        OK(tallyport_subscription_status(queue, &buf, &err));
        const int empty = has(&buf, "\"queued\":0");
        const int whole = has(&buf, "\"dropped\":0");
        tallyport_buf_free(&buf);
        if (empty) {
            tallyport_subscription_free(queue);
            CHECK(pthread_join(drainer, &taken) == 0);
            CHECK(!whole || (long)taken == all);
            CHECK((long)taken > 0);
            return;
        }
    } while (1);
}

/* A function that publishes, subscribes, exports, and ends its own subscription. */
struct busy {
    tallyport_subscription *own;
    int calls, freed;
};

static int32_t on_busy(void *data, const tallyport_event *event) {
    struct busy *busy = data;
    tallyport_listener_options options = listener("order.*");
    tallyport_subscription *queue;
    tallyport_buf buf;
    (void)event;
    busy->calls++;
    OK(tallyport_event_subscribe(engine, &options, &queue, &err));
    OK(tallyport_event_publish_json(engine, str("order.made"), str("id-1"), str("{\"a\":[1]}"), &err));
    OK(tallyport_subscription_next(queue, 0, &buf, &err));
    CHECK(has(&buf, "\"correlation_id\":\"id-1\"") && has(&buf, "\"payload\":{\"a\":[1]}"));
    tallyport_buf_free(&buf);
    OK(tallyport_export_z(engine, "prometheus", &buf, &err));
    tallyport_buf_free(&buf);
    tallyport_subscription_free(queue);
    tallyport_subscription_free(busy->own);
    CHECK(busy->freed == 0); /* it runs still */
    return 0;
}

static void free_busy(void *data) {
    struct busy *busy = data;
    busy->freed++;
    OK(tallyport_event_publish(engine, str("order.freed"), str(""), NULL, 0, &err));
}

static void a_function_does_everything(void) {
    struct busy busy = {NULL, 0, 0};
    tallyport_listener_options options = listener("task.failed");
    options.function = on_busy;
    options.data = &busy;
    options.free_data = free_busy;
    OK(tallyport_event_subscribe(engine, &options, &busy.own, &err));
    for (int i = 0; i < 3; i++)
        OK(tallyport_event_publish(engine, str("task.failed"), str(""), NULL, 0, &err));
    CHECK(busy.calls == 1 && busy.freed == 1);
}

/* A function that publishes what it listens to comes to an end. */
static int deep;

static int32_t on_deep(void *data, const tallyport_event *event) {
    (void)data;
    deep++;
    OK(tallyport_event_publish(engine, event->name, str(""), event->fields, event->field_count,
                               &err));
    return 0;
}

static void no_end(void) {
    tallyport_listener_options options = listener("task.*");
    tallyport_subscription *subscription;
    options.function = on_deep;
    OK(tallyport_event_subscribe(engine, &options, &subscription, &err));
    OK(tallyport_event_publish(engine, str("task.failed"), str(""), NULL, 0, &err));
    CHECK(deep == 16);
    tallyport_subscription_free(subscription);
}

/* Whoever waits for an event is woken when the engine is closed; functions go with it. */
static void *wait_for_the_end(void *queue) {
    tallyport_buf buf;
    CHECK(tallyport_subscription_next(queue, 600000, &buf, NULL) == TALLYPORT_CLOSED);
    return NULL;
}

static void closed_while_one_waits(void) {
    struct cell cell = {1, 0, 0};
    pthread_t waiter;
    tallyport_subscription *queue, *called;
    tallyport_topic *topic;
    tallyport_listener_options options = listener("order.*");
    tallyport_buf buf;
    OK(tallyport_event_subscribe(engine, &options, &queue, &err));
    CHECK(pthread_create(&waiter, NULL, wait_for_the_end, queue) == 0);
    options = listener("task.*");
    options.function = on_event;
    options.data = &cell;
    options.free_data = free_cell;
    OK(tallyport_event_subscribe(engine, &options, &called, &err));
    OK(tallyport_topic_get(engine, str("task.failed"), &topic, &err));
    OK(tallyport_topic_publish(topic, str(""), NULL, 0, &err));
    CHECK(atomic_load(&cell.calls) == 1 && tallyport_topic_is_heard(topic) == 1);
    tallyport_engine_close(engine);
    CHECK(atomic_load(&cell.freed) == 1);
    CHECK(pthread_join(waiter, NULL) == 0);
    /* Handles outlive the engine, and lead to what has ended. */
    OK(tallyport_topic_publish(topic, str(""), NULL, 0, &err));
    CHECK(tallyport_topic_is_heard(topic) == 0 && atomic_load(&cell.calls) == 1);
    OK(tallyport_subscription_status(called, &buf, &err));
    CHECK(has(&buf, "\"delivered\":1"));
    tallyport_buf_free(&buf);
    tallyport_topic_free(topic);
    tallyport_subscription_free(called);
    tallyport_subscription_free(queue);
}

int main(int argc, char **argv) {
    tallyport_buf buf;
    OK(tallyport_engine_open_z(NULL, &engine, &err));
    ended_while_others_publish(argc > 1 ? atoi(argv[1]) : ROUNDS);
    a_function_does_everything();
    no_end();
    OK(tallyport_subscribers_list(engine, &buf, &err));
    CHECK(has(&buf, "[]"));
    tallyport_buf_free(&buf);
    closed_while_one_waits();
    return 0;
}
