/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Pins, limits and isolation of plugins that a host loads in code, and the limits of its engine.
 *
 * plugin_limits GOOD SHA256 PREFIX HELPER: a plugin file and its hash; how the paths of
 * honours_cancel, floods, export_fails and returns_panic begin; the helper program, or "": no pins and
 * nothing in a helper.
 */
#include "host.h"

#include <stddef.h>
#include <time.h>
#include <unistd.h>

static tallyport_engine *engine;
static tallyport_plugin_options options;
static const char *good, *sha256, *prefix;

/* The options of a plugin file, without any limit. */
static tallyport_plugin_options *fresh(const char *name, const char *path) {
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.name = str(name);
    options.path = str(path);
    options.probe = TALLYPORT_PROBE_NEVER;
    return &options;
}

static tallyport_plugin_options *sample(const char *name, const char *file) {
    static char path[1024];
    CHECK((size_t)snprintf(path, sizeof path, "%s%s.c.so", prefix, file) < sizeof path);
    return fresh(name, path);
}

static int list_has(const char *wanted) {
    tallyport_buf buf;
    OK(tallyport_plugins_list(engine, &buf, &err));
    const int found = has(&buf, wanted);
    tallyport_buf_free(&buf);
    return found;
}

static void gone(const char *name) { OK(tallyport_plugin_unregister(engine, str(name), &err)); }

static tallyport_status exported(const char *selector, tallyport_error **err) {
    tallyport_buf buf = {0, 0, 0};
    const tallyport_status status = tallyport_export_z(engine, selector, &buf, err);
    CHECK(status == TALLYPORT_OK || buf.ptr == NULL);
    tallyport_buf_free(&buf);
    return status;
}

static void pins(void) {
    char wrong[65];
    tallyport_library library;

    fresh("pinned", good)->sha256 = str(sha256);
    OK(tallyport_plugin_load(engine, &options, &err));
    OK(exported("pinned", &err));
    snprintf(wrong, sizeof wrong, "%s", sha256);
    wrong[0] = wrong[0] == '0' ? '1' : '0';
    options.sha256 = str(wrong);
    FAILS(TALLYPORT_PLUGIN_REFUSED, "path", tallyport_plugin_replace(engine, &options, &err));
    OK(exported("pinned", &err));
    options.sha256 = TALLYPORT_STR("abc");
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.sha256",
          tallyport_plugin_replace(engine, &options, &err));

    options.sha256 = str(sha256);
    memset(&library, 0, sizeof library);
    options.libraries = &library;
    options.library_count = 1;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.libraries[0].path",
          tallyport_plugin_replace(engine, &options, &err));
    library.name = TALLYPORT_STR("libextra");
    library.path = str(good);
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.libraries.libextra.sha256",
          tallyport_plugin_replace(engine, &options, &err));
    library.sha256 = str(sha256); /* it is loaded then, and is not what it is called */
    FAILS(TALLYPORT_PLUGIN_REFUSED, "path", tallyport_plugin_replace(engine, &options, &err));
    options.sha256 = TALLYPORT_STR("");
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.libraries",
          tallyport_plugin_replace(engine, &options, &err));
    options.library_count = SIZE_MAX;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.libraries",
          tallyport_plugin_replace(engine, &options, &err));
    gone("pinned");
}

static void limits(void) {
    sample("slow", "honours_cancel")->deadline_ms = 50;
    options.grace_ms = 60000;
    OK(tallyport_plugin_load(engine, &options, &err));
    FAILS(TALLYPORT_TIMEOUT, "", exported("slow", &err));
    gone("slow");

    sample("flood", "floods")->max_output_bytes = 10000;
    OK(tallyport_plugin_load(engine, &options, &err));
    FAILS(TALLYPORT_LIMIT, "", exported("flood", &err));
    gone("flood");

    /* One failure opens the circuit of this one, and none that of the other. */
    sample("careful", "export_fails")->breaker_failures = 1;
    options.backoff_ms = options.max_backoff_ms = 3600000;
    OK(tallyport_plugin_load(engine, &options, &err));
    sample("careless", "export_fails")->breaker_failures = TALLYPORT_NONE;
    options.deadline_ms = 60000;
    OK(tallyport_plugin_load(engine, &options, &err));
    FAILS(TALLYPORT_PLUGIN_FAILED, "", exported("careful", &err));
    FAILS(TALLYPORT_UNAVAILABLE, "", exported("careful", &err));
    for (int i = 0; i < 10; i++) FAILS(TALLYPORT_PLUGIN_FAILED, "", exported("careless", &err));
    gone("careful");
    gone("careless");

    /* Never made anew: given up by its first panic. */
    sample("once", "returns_panic")->max_restarts = TALLYPORT_NONE;
    OK(tallyport_plugin_load(engine, &options, &err));
    FAILS(TALLYPORT_PANIC, "", exported("once", &err));
    CHECK(list_has("\"state\":\"given_up\""));
    gone("once");
}

/* Sets a field to a value that is out of range; the error names it. */
#define REFUSED(field, value)                                                                      \
    do {                                                                                           \
        fresh("bad", good)->isolation = TALLYPORT_ISOLATION_PROCESS;                               \
        options.field = (value);                                                                   \
        FAILS(TALLYPORT_INVALID_ARGUMENT, "options." #field,                                       \
              tallyport_plugin_load(engine, &options, &err));                                      \
    } while (0)

static void out_of_range(void) {
    REFUSED(probe, 4);
    REFUSED(isolation, 2);
    REFUSED(deadline_ms, UINT64_C(86400001));
    REFUSED(grace_ms, UINT64_MAX);
    REFUSED(drain_ms, UINT64_MAX);
    REFUSED(backoff_ms, UINT64_MAX);
    REFUSED(max_backoff_ms, UINT64_MAX);
    REFUSED(queue, 4097);
    REFUSED(max_zombies, 65);
    REFUSED(address_space_bytes, 4096);
    REFUSED(cpu_seconds, 86401);
    REFUSED(open_files, 3);
    fresh("bad", good)->open_files = 64;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.isolation",
          tallyport_plugin_load(engine, &options, &err));
}

static void isolated(void) {
    fresh("far", good)->isolation = TALLYPORT_ISOLATION_PROCESS;
    options.sha256 = str(sha256);
    options.address_space_bytes = UINT64_C(1) << 31;
    options.cpu_seconds = 60;
    options.open_files = 64;
    options.deadline_ms = 60000;
    OK(tallyport_plugin_load(engine, &options, &err));
    int helpers = 0;
    for (char digit = '1'; digit <= '9'; digit++) {
        char wanted[] = "\"process\":?";
        wanted[sizeof wanted - 2] = digit;
        helpers += list_has(wanted);
    }
    CHECK(helpers == 1);
    OK(exported("far", &err));
    gone("far");
}

/* A program that was built before there were limits: what follows its struct is not looked at. */
static void older_header(void) {
    fresh("older", good)->size = (uint32_t)offsetof(tallyport_plugin_options, sha256);
    memset((char *)&options + options.size, 0xff, sizeof options - options.size);
    OK(tallyport_plugin_load(engine, &options, &err));
    OK(exported("older", &err));
    gone("older");
}

static void engine_limits(void) {
    tallyport_engine_options of;
    tallyport_engine *small = NULL;
    tallyport_counter *counter = NULL;
    tallyport_buf buf;
    static char value[3000];

    memset(&of, 0, sizeof of);
    of.size = sizeof of;
    of.max_label_bytes = 1;
    FAILS(TALLYPORT_CONFIG, "limits.max_label_bytes",
          tallyport_engine_open_with(&of, &small, &err));
    of.max_label_bytes = 4096;
    of.series_idle_timeout_s = UINT64_MAX;
    FAILS(TALLYPORT_CONFIG, "limits.series_idle_timeout",
          tallyport_engine_open_with(&of, &small, &err));
    of.series_idle_timeout_s = 1;
    OK(tallyport_engine_open_with(&of, &small, &err));
    memset(value, 'v', sizeof value - 1);
    for (char last = 'a'; last < 'd'; last++) {
        const char *const labels[] = {"long", value, NULL};
        value[0] = last;
        OK(tallyport_counter_get_z(small, "many_total", labels, &counter, &err));
        tallyport_counter_add(counter, 1);
        tallyport_counter_free(counter);
    }
    OK(tallyport_export_z(small, "prometheus", &buf, &err));
    CHECK(has(&buf, "many_total{tallyport_overflow=\"true\"} 2\n"));
    /* Nobody looks it up again, and no handle is kept of it. */
    while (has(&buf, "long=")) {
        const struct timespec moment = {0, 50000000};
        tallyport_buf_free(&buf);
        nanosleep(&moment, NULL);
        OK(tallyport_export_z(small, "prometheus", &buf, &err));
    }
    tallyport_buf_free(&buf);
    tallyport_engine_close(small);

    /* What the options leave to the configuration stays as it says; TALLYPORT_NONE is never. */
    of.config_toml = TALLYPORT_STR("schema = 1\n[limits]\nseries_idle_timeout = 1\n");
    of.series_idle_timeout_s = TALLYPORT_NONE;
    OK(tallyport_engine_open_with(&of, &small, &err));
    tallyport_engine_close(small);
}

int main(int argc, char **argv) {
    static char toml[2048];
    tallyport_engine_options of;

    CHECK(argc == 5);
    good = argv[1];
    sha256 = argv[2];
    prefix = argv[3];
    const char *const helper = *argv[4] != 0 ? argv[4] : "/nowhere";
    CHECK((size_t)snprintf(toml, sizeof toml, "schema = 1\n[loading]\nplugin_host = \"%s\"\n",
                           helper) < sizeof toml);
    memset(&of, 0, sizeof of);
    of.size = sizeof of;
    of.config_toml = str(toml);
    OK(tallyport_engine_open_with(&of, &engine, &err));
    if (*argv[4] != 0) pins();
    limits();
    out_of_range();
    if (*argv[4] != 0) isolated();
    older_header();
    engine_limits();
    tallyport_engine_close(engine);
    return 0;
}
