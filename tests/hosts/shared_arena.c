/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Processes that record into one arena: forks of one program, or programs that open one file. Each
 * has threads that nothing pins, and signals at 1 kHz whose handlers record too. Arguments: what to
 * do, seconds, then the configurations that the processes open in turn; none: they inherit. */
#define _GNU_SOURCE
#include "host.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 4, THREADS = 4, LIVES = 4096 };

/* What a process was told is recorded. Its memory outlives it. */
struct told {
    _Atomic unsigned long long adds, observations, halves, handled_adds, handled_observations;
};
struct board {
    _Atomic int stop;
    struct told lives[LIVES];
};
static struct board *board;
static struct told *told;
static tallyport_counter *counter;
static tallyport_counter_f64 *sum;
static tallyport_histogram *histogram;

static void get_handles(tallyport_engine *engine) {
    OK(tallyport_counter_get_z(engine, "adds_total", NULL, &counter, &err));
    OK(tallyport_counter_f64_get(engine, str("halves_total"), NULL, 0, &sum, &err));
    OK(tallyport_histogram_get_z(engine, "took", NULL, 0, NULL, &histogram, &err));
}

static void on_alarm(int signal) {
    (void)signal;
    tallyport_counter_add(counter, 1);
    told->handled_adds++;
    tallyport_histogram_observe(histogram, 2);
    told->handled_observations++;
}

static void *record(void *unused) {
    (void)unused;
    while (!board->stop) {
        for (int i = 0; i < 100; i++) {
            tallyport_counter_add(counter, 1);
            told->adds++;
            tallyport_histogram_observe(histogram, 2);
            told->observations++;
            CHECK(tallyport_counter_f64_add(sum, 0.5) == TALLYPORT_OK);
            told->halves++;
        }
    }
    return NULL;
}

static pid_t start(const char *config, int life) {
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child != 0) return child;
    alarm(120);
    told = &board->lives[life];
    if (config != NULL) {
        tallyport_engine *engine;
        OK(tallyport_engine_open_z(config, &engine, &err));
        get_handles(engine);
    }
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_alarm;
    action.sa_flags = SA_RESTART;
    CHECK(sigaction(SIGVTALRM, &action, NULL) == 0);
    const struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
    CHECK(setitimer(ITIMER_VIRTUAL, &often, NULL) == 0);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, record, NULL) == 0);
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(setitimer(ITIMER_VIRTUAL, &never, NULL) == 0);
    _exit(0);
}

/* Records in WORKERS processes for some seconds, killing them at random if told so. */
static void storm(tallyport_engine *engine, int kills_wanted, double seconds, int configs,
                  char **config) {
    pid_t workers[WORKERS];
    int lives = 0, kills = 0;
    get_handles(engine);
    const unsigned long long before = tallyport_counter_value(counter);
    const unsigned long long observed = tallyport_histogram_count(histogram);
    const double halved = tallyport_counter_f64_value(sum);
    for (int i = 0; i < WORKERS; i++, lives++)
        workers[i] = start(configs > 0 ? config[lives % configs] : NULL, lives);
    struct timespec now, since;
    clock_gettime(CLOCK_MONOTONIC, &since);
    unsigned random = 7;
    unsigned long long last = 0;
    do {
        usleep(20000);
        clock_gettime(CLOCK_MONOTONIC, &now);
        /* What is read never falls. */
        const unsigned long long value = tallyport_counter_value(counter);
        CHECK(value >= last);
        last = value;
        if (!kills_wanted || lives == LIVES) continue;
        random = random * 1103515245 + 12345;
        const int victim = (int)(random >> 16) % WORKERS;
        int status;
        CHECK(kill(workers[victim], SIGKILL) == 0);
        CHECK(waitpid(workers[victim], &status, 0) == workers[victim]);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        kills++;
        workers[victim] = start(configs > 0 ? config[lives % configs] : NULL, lives);
        lives++;
    } while ((double)(now.tv_sec - since.tv_sec) + (double)(now.tv_nsec - since.tv_nsec) / 1e9 <
             seconds);
    board->stop = 1;
    for (int i = 0; i < WORKERS; i++) {
        int status;
        CHECK(waitpid(workers[i], &status, 0) == workers[i]);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    unsigned long long adds = 0, observations = 0, halves = 0;
    for (int i = 0; i < lives; i++) {
        adds += board->lives[i].adds + board->lives[i].handled_adds;
        halves += board->lives[i].halves;
        observations += board->lives[i].observations + board->lives[i].handled_observations;
    }
    const unsigned long long counted = tallyport_counter_value(counter) - before;
    const unsigned long long buckets = tallyport_histogram_count(histogram) - observed;
    /* At most one add of a thread and one of its handler were under way at a kill. */
    const unsigned long long flying = (unsigned long long)kills * THREADS * 2;
    fprintf(stdout, "%llu adds and %llu observations told, +%lld and +%lld counted, %d kills\n",
            adds, observations, (long long)(counted - adds), (long long)(buckets - observations),
            kills);
    CHECK(adds > 100000);
    CHECK(counted >= adds && counted <= adds + flying);
    CHECK(buckets >= observations && buckets <= observations + flying);
    const double summed = 2 * (tallyport_counter_f64_value(sum) - halved);
    CHECK(summed >= (double)halves && summed <= (double)(halves + flying));
    CHECK(tallyport_histogram_sum(histogram) == 2.0 * (double)(buckets + observed));
    board->stop = 0;
}

static void wait_well(pid_t child) {
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* The value of a line of the Prometheus exporter; -1: there is none. */
static double line(tallyport_engine *engine, const char *start) {
    tallyport_buf buf;
    double value = -1;
    OK(tallyport_export_z(engine, "prometheus", &buf, &err));
    char *text = malloc(buf.len + 1);
    CHECK(text != NULL);
    memcpy(text, buf.ptr, buf.len);
    text[buf.len] = 0;
    for (char *at = strtok(text, "\n"); at != NULL; at = strtok(NULL, "\n"))
        if (strncmp(at, start, strlen(start)) == 0) {
            CHECK(value == -1); /* one line of a series */
            value = strtod(at + strlen(start), NULL);
        }
    free(text);
    tallyport_buf_free(&buf);
    return value;
}

static void add(tallyport_engine *engine, const char *name, const char *value, unsigned amount) {
    const tallyport_label label = {str("who"), str(value)};
    tallyport_counter *series;
    OK(tallyport_counter_get(engine, str(name), &label, 1, &series, &err));
    tallyport_counter_add(series, amount);
    tallyport_counter_free(series);
}

/* Series that one process makes are another's; what both make at once is one series. */
static void series(tallyport_engine *engine) {
    add(engine, "made_total", "before", 1);
    int both[2];
    CHECK(pipe(both) == 0);
    pid_t children[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        children[i] = fork();
        CHECK(children[i] >= 0);
        if (children[i] != 0) continue;
        alarm(60);
        char go;
        CHECK(read(both[0], &go, 1) == 1);
        char name[32];
        for (int n = 0; n < 500; n++) {
            snprintf(name, sizeof name, "both-%d", n);
            add(engine, "made_total", name, 1);
        }
        snprintf(name, sizeof name, "child-%d", i);
        add(engine, "made_total", name, 10);
        add(engine, "made_total", "before", 1);
        add(engine, "other_total", name, 3);
        /* A grandchild is one of them. */
        const pid_t grandchild = fork();
        if (grandchild == 0) {
            add(engine, "made_total", "before", 1);
            _exit(0);
        }
        wait_well(grandchild);
        CHECK(line(engine, "made_total{who=\"before\"} ") >= 2);
        _exit(0);
    }
    CHECK(write(both[1], "gogo", WORKERS) == WORKERS);
    for (int i = 0; i < WORKERS; i++) wait_well(children[i]);
    CHECK(line(engine, "made_total{who=\"before\"} ") == 1 + 2 * WORKERS);
    CHECK(line(engine, "made_total{who=\"child-2\"} ") == 10);
    CHECK(line(engine, "other_total{who=\"child-3\"} ") == 3);
    for (int n = 0; n < 500; n += 7) {
        char name[64];
        snprintf(name, sizeof name, "made_total{who=\"both-%d\"} ", n);
        CHECK(line(engine, name) == WORKERS);
    }
}

/* A gauge of one value, whoever sets it: the mode is said by one process, for all. */
static void mode(tallyport_engine *engine, const char *name, uint32_t mode, double expected) {
    tallyport_family_options about;
    tallyport_gauge *gauge;
    char text[64];
    int up[2], down[2];
    memset(&about, 0, sizeof about);
    about.size = sizeof about;
    about.name = str(name);
    about.kind = TALLYPORT_KIND_GAUGE;
    about.gauge_mode = mode;
    CHECK(pipe(up) == 0 && pipe(down) == 0);
    OK(tallyport_gauge_get_z(engine, name, NULL, &gauge, &err));
    tallyport_gauge_set(gauge, 2);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(60);
        char go;
        OK(tallyport_family_describe(engine, &about, &err));
        tallyport_gauge_set(gauge, 4);
        CHECK(write(up[1], "x", 1) == 1);
        CHECK(read(down[0], &go, 1) == 1);
        _exit(0);
    }
    char came;
    CHECK(read(up[0], &came, 1) == 1);
    snprintf(text, sizeof text, "%s ", name);
    CHECK(line(engine, text) == expected);
    about.gauge_mode = mode % TALLYPORT_GAUGE_MODE_LAST + 1;
    FAILS(TALLYPORT_CONFLICT, "name", tallyport_family_describe(engine, &about, &err));
    about.gauge_mode = TALLYPORT_GAUGE_MODE_LAST + 1;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.gauge_mode",
          tallyport_family_describe(engine, &about, &err));
    CHECK(write(down[1], "x", 1) == 1);
    wait_well(child);
    CHECK(line(engine, text) == 2);
    tallyport_gauge_free(gauge);
}

/* Where the arena lies, said in code; the path of a file that is not there yet. */
static void options(const char *path) {
    tallyport_engine_options about;
    tallyport_engine *one, *other, *none = NULL;
    memset(&about, 0, sizeof about);
    about.size = sizeof about;
    about.arena = str(path);
    OK(tallyport_engine_open_with(&about, &one, &err));
    about.share = TALLYPORT_SHARE_FILE;
    OK(tallyport_engine_open_with(&about, &other, &err));
    add(one, "adds_total", "one", 3);
    add(other, "adds_total", "one", 4);
    CHECK(line(one, "adds_total{who=\"one\"} ") == 7);
    tallyport_engine_close(other);
    /* A file, and not to use it. */
    about.share = TALLYPORT_SHARE_AUTO;
    FAILS(TALLYPORT_CONFIG, "recording.arena", tallyport_engine_open_with(&about, &none, &err));
    about.share = TALLYPORT_SHARE_FILE;
    about.arena = str("metrics.arena");
    FAILS(TALLYPORT_CONFIG, "recording.arena", tallyport_engine_open_with(&about, &none, &err));
    about.arena = str("");
    FAILS(TALLYPORT_CONFIG, "recording.arena", tallyport_engine_open_with(&about, &none, &err));
    about.share = TALLYPORT_SHARE_FILE + 1;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.share",
          tallyport_engine_open_with(&about, &none, &err));
    about.share = 0;
    about.reserved = 1;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.reserved",
          tallyport_engine_open_with(&about, &none, &err));
    about.reserved = 0;
    /* A program that was built before there were these fields. */
    about.size = offsetof(tallyport_engine_options, arena);
    about.share = 77;
    OK(tallyport_engine_open_with(&about, &other, &err));
    tallyport_engine_close(other);
    tallyport_engine_close(one);
    /* A configuration that names a file is not asked, where code says another way. */
    char toml[512];
    snprintf(toml, sizeof toml, "schema = 1\n[recording]\nshare = \"file\"\narena = \"%s\"\n", path);
    about.size = sizeof about;
    about.config_toml = str(toml);
    about.share = TALLYPORT_SHARE_RESET;
    OK(tallyport_engine_open_with(&about, &one, &err));
    add(one, "adds_total", "one", 5);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(60);
        CHECK(line(one, "adds_total{who=\"one\"} ") == 0);
        add(one, "adds_total", "one", 1);
        CHECK(line(one, "adds_total{who=\"one\"} ") == 1);
        _exit(0);
    }
    wait_well(child);
    CHECK(line(one, "adds_total{who=\"one\"} ") == 5);
    tallyport_engine_close(one);
}

/* Every process has gauges of its own, while it is there. */
static void gauges(tallyport_engine *engine) {
    tallyport_gauge *level;
    int up[2], down[2];
    char text[64];
    OK(tallyport_gauge_get_z(engine, "level", NULL, &level, &err));
    tallyport_gauge_set(level, 5);
    CHECK(line(engine, "level ") == 5);
    CHECK(pipe(up) == 0 && pipe(down) == 0);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(60);
        char go;
        CHECK(tallyport_gauge_value(level) == 0);
        tallyport_gauge_set(level, 7);
        CHECK(tallyport_gauge_value(level) == 7);
        CHECK(write(up[1], "x", 1) == 1);
        CHECK(read(down[0], &go, 1) == 1);
        _exit(0);
    }
    char came;
    CHECK(read(up[0], &came, 1) == 1);
    CHECK(tallyport_gauge_value(level) == 5);
    snprintf(text, sizeof text, "level{pid=\"%d\"} ", (int)child);
    CHECK(line(engine, text) == 7);
    snprintf(text, sizeof text, "level{pid=\"%d\"} ", (int)getpid());
    CHECK(line(engine, text) == 5);
    CHECK(write(down[1], "x", 1) == 1);
    wait_well(child);
    CHECK(line(engine, "level ") == 5);
    tallyport_gauge_free(level);
    mode(engine, "sum", TALLYPORT_GAUGE_MODE_SUM, 6);
    mode(engine, "max", TALLYPORT_GAUGE_MODE_MAX, 4);
    mode(engine, "min", TALLYPORT_GAUGE_MODE_MIN, 2);
    mode(engine, "mean", TALLYPORT_GAUGE_MODE_MEAN, 3);
    mode(engine, "last", TALLYPORT_GAUGE_MODE_LAST, 4);
}

/* Blocks of 512 bytes that the arena's memory takes. */
static long arena_blocks(void) {
    for (int descriptor = 3; descriptor < 64; descriptor++) {
        char link[64], target[256];
        struct stat about;
        snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
        const ssize_t length = readlink(link, target, sizeof target - 1);
        if (length < 0) continue;
        target[length] = 0;
        if (strstr(target, "tallyport-arena") == NULL) continue;
        CHECK(fstat(descriptor, &about) == 0);
        return (long)about.st_blocks;
    }
    CHECK(!"an arena in a memory file");
    return 0;
}

/* Workers come and go; what they leave is their totals. */
static void many(tallyport_engine *engine, int count) {
    tallyport_gauge *level;
    long settled = 0;
    OK(tallyport_gauge_get_z(engine, "level", NULL, &level, &err));
    for (int i = 0; i < count; i++) {
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            tallyport_gauge_set(level, i);
            add(engine, "starts_total", "worker", 1);
            add(engine, "starts_total", i % 2 ? "odd" : "even", 1);
            _exit(0);
        }
        wait_well(child);
        if (i == count / 10) {
            /* A snapshot sweeps what the ended ones had. */
            CHECK(line(engine, "starts_total{who=\"worker\"} ") == i + 1);
            settled = arena_blocks();
        }
    }
    CHECK(line(engine, "starts_total{who=\"worker\"} ") == count);
    CHECK(line(engine, "starts_total{who=\"odd\"} ") == count / 2);
    fprintf(stdout, "%ld blocks, after all %ld\n", settled, arena_blocks());
    CHECK(settled > 0 && arena_blocks() == settled);
}

int main(int argc, char **argv) {
    CHECK(argc >= 3);
    setvbuf(stdout, NULL, _IONBF, 0);
    alarm(600);
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(board != MAP_FAILED);
    if (strcmp(argv[1], "options") == 0) {
        options(argv[3]);
        return 0;
    }
    tallyport_engine *engine;
    OK(tallyport_engine_open_z(argc > 3 ? argv[3] : NULL, &engine, &err));
    if (strcmp(argv[1], "exact") == 0) storm(engine, 0, atof(argv[2]), argc - 3, argv + 3);
    else if (strcmp(argv[1], "kill") == 0) storm(engine, 1, atof(argv[2]), argc - 3, argv + 3);
    else if (strcmp(argv[1], "series") == 0) series(engine);
    else if (strcmp(argv[1], "gauges") == 0) gauges(engine);
    else if (strcmp(argv[1], "many") == 0) many(engine, atoi(argv[2]));
    else CHECK(!"known");
    tallyport_engine_close(engine);
    return 0;
}
