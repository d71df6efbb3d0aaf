/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A host that serves its metrics: started and stopped, closed while it serves, forked while it does.
 *
 * serving [ANYTHING: it does not fork]
 */
#include "host.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
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
    (void)data;
    (void)event;
    CHECK(!"a scrape is an event");
    return 0;
}

static void on_signal(int signal) {
    (void)signal;
    if (!pthread_equal(pthread_self(), host_thread)) _exit(9);
}

static int port_of(tallyport_engine *engine) {
    tallyport_buf buf;
    OK(tallyport_serve_address(engine, &buf, &err));
    char text[64];
    CHECK(buf.len < sizeof text && buf.len > 10 && memcmp(buf.ptr, "127.0.0.1:", 10) == 0);
    memcpy(text, buf.ptr, buf.len);
    text[buf.len] = 0;
    tallyport_buf_free(&buf);
    return atoi(text + 10);
}

/* A connected socket, or -1. */
static int connected(int port) {
    struct sockaddr_in to;
    memset(&to, 0, sizeof to);
    to.sin_family = AF_INET;
    to.sin_port = htons((uint16_t)port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0) return fd;
    close(fd);
    return -1;
}

/* Whether the answer to a request has the text; the server ends the connection. */
static int scrape(int port, const char *wanted) {
    static const char request[] = "GET /metrics HTTP/1.0\r\n\r\n";
    static char answer[1 << 20];
    const int fd = connected(port);
    CHECK(fd >= 0);
    CHECK(write(fd, request, sizeof request - 1) == sizeof request - 1);
    size_t len = 0;
    ssize_t got;
    while ((got = read(fd, answer + len, sizeof answer - 1 - len)) > 0) len += (size_t)got;
    CHECK(got == 0);
    answer[len] = 0;
    close(fd);
    return strncmp(answer, "HTTP/1.1 200 OK\r\n", 17) == 0 && strstr(answer, wanted) != NULL;
}

static int is_open(int fd) {
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    return getsockname(fd, (struct sockaddr *)&address, &len) == 0;
}

/* Sockets that this process has. */
static int sockets(void) {
    int count = 0;
    for (int fd = 3; fd < 256; fd++) count += is_open(fd);
    return count;
}

static void in_child(tallyport_engine *engine, int port, int kept) {
    tallyport_buf buf;
    /* A connection of the host is its own; none of the server's is here. */
    CHECK(is_open(kept) && sockets() == 1);
    FAILS(TALLYPORT_NOT_FOUND, "", tallyport_serve_address(engine, &buf, &err));
    OK(tallyport_serve_stop(engine, 0, &err));
    char taken[32];
    snprintf(taken, sizeof taken, "127.0.0.1:%d", port);
    FAILS(TALLYPORT_IO, "serve.listen", tallyport_serve_start(engine, str(taken), &err));
    OK(tallyport_serve_start(engine, str("127.0.0.1:0"), &err));
    CHECK(port_of(engine) != port && scrape(port_of(engine), "\nhits 5\n"));
    CHECK(scrape(port, "\nhits 5\n")); /* the parent's */
    OK(tallyport_serve_stop(engine, 1000, &err));
    tallyport_engine_close(engine);
    _exit(0);
}

int main(int count, char **arguments) {
    tallyport_engine_options options;
    tallyport_engine *engine;
    tallyport_counter *hits;
    tallyport_subscription *subscription;
    tallyport_listener_options listen;
    tallyport_buf buf;
    struct sigaction action;
    (void)arguments;
    host_thread = pthread_self();
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.log_fn = on_log;
    options.log_level = TALLYPORT_LOG_TRACE;
    OK(tallyport_engine_open_with(&options, &engine, &err));
    memset(&listen, 0, sizeof listen);
    listen.size = sizeof listen;
    listen.events = str("export.* cache.*");
    listen.function = on_event;
    OK(tallyport_counter_get_z(engine, "hits", NULL, &hits, &err));
    tallyport_counter_add(hits, 5);

    FAILS(TALLYPORT_NOT_FOUND, "", tallyport_serve_address(engine, &buf, &err));
    FAILS(TALLYPORT_CONFIG, "serve.listen", tallyport_serve_start(engine, str("nowhere"), &err));
    OK(tallyport_serve_stop(engine, 0, &err));
    OK(tallyport_serve_start(engine, str("127.0.0.1:0"), &err));
    FAILS(TALLYPORT_ALREADY_EXISTS, "", tallyport_serve_start(engine, str(""), &err));
    const int port = port_of(engine);
    OK(tallyport_event_subscribe(engine, &listen, &subscription, &err));
    CHECK(scrape(port, "\nhits 5\n"));
    CHECK(scrape(port, "\ntallyport_serve_requests_total{code=\"200\"} 1\n"));
    OK(tallyport_engine_status(engine, &buf, &err));
    CHECK(has(&buf, "\"serve\":{\"address\":\"127.0.0.1:"));
    tallyport_buf_free(&buf);
    for (int i = 0; i < 100; i++) CHECK(kill(getpid(), SIGUSR1) == 0);

    if (count == 1) {
        const int kept = connected(port);
        for (int round = 0; round < 20; round++) {
            const pid_t child = fork();
            CHECK(child >= 0);
            if (child == 0) in_child(engine, port, kept);
            CHECK(scrape(port, "\nhits 5\n"));
            int status;
            CHECK(waitpid(child, &status, 0) == child && status == 0);
        }
        close(kept);
        /* Its port is free when it stopped, though a child lives. */
        int ends[2];
        CHECK(pipe(ends) == 0);
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            char byte;
            close(ends[1]);
            CHECK(read(ends[0], &byte, 1) == 0);
            _exit(0);
        }
        OK(tallyport_serve_stop(engine, 1000, &err));
        CHECK(connected(port) == -1);
        char same[32];
        snprintf(same, sizeof same, "127.0.0.1:%d", port);
        OK(tallyport_serve_start(engine, str(same), &err));
        CHECK(scrape(port, "\nhits 5\n"));
        close(ends[0]);
        close(ends[1]);
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    OK(tallyport_serve_stop(engine, 1000, &err));
    OK(tallyport_serve_stop(engine, 1000, &err));
    FAILS(TALLYPORT_NOT_FOUND, "", tallyport_serve_address(engine, &buf, &err));
    CHECK(connected(port) == -1);

    /* Closing ends it too, with clients that wait. */
    OK(tallyport_serve_start(engine, str("127.0.0.1:0"), &err));
    const int idle = connected(port_of(engine));
    tallyport_subscription_free(subscription);
    tallyport_counter_free(hits);
    tallyport_engine_close(engine);
    char byte;
    CHECK(read(idle, &byte, 1) <= 0);
    close(idle);
    return 0;
}
