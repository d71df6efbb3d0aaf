/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * accesslog.c: a host that counts a web server's access log, and exports what it counted.
 *
 *     accesslog --config examples/tallyport.toml --export prometheus --export statsd=out.txt LOG
 *
 * What a line counts is said in README.md; accesslog_parse.c takes lines apart. Here is the rest:
 * open an engine, describe the metrics, record, export, and say what went wrong and where.
 *
 * Exports go to stdout or files, everything for people to stderr.
 */
#define _POSIX_C_SOURCE 200809L

#include "accesslog_parse.h"
#include "tallyport.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Exit codes; those of the tallyport command mean the same. */
enum { DONE = 0, FAILED = 1, USAGE = 2, BAD_CONFIG = 3, EXPORT_FAILED = 4 };

static const char HELP[] =
    "usage: accesslog [OPTION]... [LOG]\n"
    "Counts an access log in nginx's combined format; no LOG, or -, is stdin.\n"
    "\n"
    "  --config FILE          exporters and limits (TOML); else the linked-in exporters\n"
    "  --export WHAT[=FILE]   an exporter's name, a format, or name/format, to FILE or stdout;\n"
    "                         may be repeated\n"
    "  --save FILE            save a snapshot, for `tallyport export --from FILE`\n"
    "  --help                 this text\n"
    "\n"
    "exit codes: 0 done · 1 the log cannot be read, or the engine failed · 2 usage ·\n"
    "            3 the configuration is invalid · 4 an export or the snapshot failed\n";

struct options {
    const char *config, *save, *log;
    char **exports;
    size_t export_count;
};

/* What is held for the whole run: the engine, and the handles of series that are always the same.
 * Histograms are few, one per method, so each is looked up once, when its method first comes. */
struct counts {
    tallyport_engine *engine;
    tallyport_counter *lines, *malformed;
    tallyport_histogram *sizes[ACCESS_METHODS];
};

/* --- Saying what went wrong. */

static void say(const char *format, ...) {
    va_list arguments;
    fputs("accesslog: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

/* Whether a call succeeded; if not, says why and frees its error. `object` is what it was about. */
static bool ok(tallyport_status status, tallyport_error **error, const char *object) {
    if (status == TALLYPORT_OK) return true;
    const tallyport_str message = tallyport_error_message(*error);
    const tallyport_str field = tallyport_error_field(*error);
    say("%s: %.*s (%s %d%s%.*s)", object, (int)message.len, message.ptr,
        tallyport_status_name(status), (int)status, field.len > 0 ? ", field " : "", (int)field.len,
        field.ptr);
    tallyport_error_free(*error);
    *error = NULL;
    return false;
}

/* What the engine has to say itself: a plugin that was left out, a limit that was reached. */
static void on_log(void *data, int32_t level, tallyport_str target, tallyport_str message) {
    (void)data, (void)target;
    say("%s: %.*s", level == TALLYPORT_LOG_ERROR ? "error" : "warning", (int)message.len,
        message.ptr);
}

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* --- Lines of any length, in the memory of one. */

enum line_kind { LINE, LONG_LINE, NO_LINE, UNREADABLE };

struct lines {
    FILE *file;
    size_t start, end;                /* what of the buffer is read and not handed out */
    bool skipping;                    /* the line began before the buffer: it is too long */
    char buffer[ACCESS_MAX_LINE + 1]; /* a line and its line end */
};

static enum line_kind next_line(struct lines *lines, char **line, size_t *length) {
    for (;;) {
        char *const first = lines->buffer + lines->start;
        const size_t held = lines->end - lines->start;
        const char *const line_end = memchr(first, '\n', held);
        if (ferror(lines->file)) return UNREADABLE;
        if (line_end == NULL && feof(lines->file) && held == 0 && !lines->skipping) return NO_LINE;
        if (line_end != NULL || feof(lines->file)) {
            const enum line_kind kind = lines->skipping ? LONG_LINE : LINE;
            *line = first;
            *length = line_end != NULL ? (size_t)(line_end - first) : held;
            lines->start += *length + (line_end != NULL ? 1 : 0);
            lines->skipping = false;
            return kind;
        }
        /* A full buffer without a line end is dropped, and so is the rest of that line. */
        lines->skipping = lines->skipping || held == sizeof lines->buffer;
        lines->end = lines->skipping ? 0 : held;
        memmove(lines->buffer, first, lines->end);
        lines->start = 0;
        lines->end +=
            fread(lines->buffer + lines->end, 1, sizeof lines->buffer - lines->end, lines->file);
    }
}

/* --- Recording. */

static tallyport_str text_of(const char *z) {
    return (tallyport_str){.ptr = z, .len = strlen(z)};
}

/* Says once what each metric is. Names could be used without, and would then have no help text. */
static bool describe(tallyport_engine *engine) {
    static const double bounds[] = {128, 512, 1024, 4096, 16384, 65536, 262144, 1048576};
    static const struct {
        const char *name, *help, *unit;
        uint32_t kind;
    } families[] = {
        {"lines_total", "Lines of the log.", "", TALLYPORT_KIND_COUNTER},
        {"malformed_lines_total", "Lines that are not as the format says.", "",
         TALLYPORT_KIND_COUNTER},
        {"http_requests_total", "Requests by method, class of status and route.", "",
         TALLYPORT_KIND_COUNTER},
        {"http_response_bytes_total", "Bytes of response bodies by route.", "bytes",
         TALLYPORT_KIND_COUNTER},
        {"http_response_size_bytes", "Sizes of response bodies by method.", "bytes",
         TALLYPORT_KIND_HISTOGRAM},
    };
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        const bool histogram = families[i].kind == TALLYPORT_KIND_HISTOGRAM;
        const tallyport_family_options options = {
            .size = sizeof options,
            .name = text_of(families[i].name),
            .kind = families[i].kind,
            .help = text_of(families[i].help),
            .unit = text_of(families[i].unit),
            .bounds = histogram ? bounds : NULL,
            .bound_count = histogram ? sizeof bounds / sizeof bounds[0] : 0,
        };
        tallyport_error *error = NULL;
        if (!ok(tallyport_family_describe(engine, &options, &error), &error, families[i].name))
            return false;
    }
    return true;
}

/* Adds to a series whose labels are known only now. The handle is a reference to the series, not
 * the series: it is looked up, used and given back. Where label sets are few and known, a program
 * keeps the handles, as `counts` does: an add through a held one costs some nanoseconds. */
static bool add(tallyport_engine *engine, const char *name, const tallyport_label *labels,
                size_t label_count, uint64_t amount) {
    tallyport_error *error = NULL;
    tallyport_counter *counter = NULL;
    if (!ok(tallyport_counter_get(engine, text_of(name), labels, label_count, &counter, &error),
            &error, name))
        return false;
    tallyport_counter_add(counter, amount);
    tallyport_counter_free(counter);
    return true;
}

static bool record(struct counts *counts, const struct access *access) {
    const tallyport_label labels[] = {
        {TALLYPORT_STR("route"), {access->route, access->route_length}},
        {TALLYPORT_STR("method"), text_of(ACCESS_METHOD_LABELS[access->method])},
        {TALLYPORT_STR("status"), text_of(ACCESS_STATUS_LABELS[access->status_class])},
    };
    tallyport_histogram **const sizes = &counts->sizes[access->method];
    tallyport_error *error = NULL;
    if (*sizes == NULL
        && !ok(tallyport_histogram_get(counts->engine, TALLYPORT_STR("http_response_size_bytes"),
                                       NULL, 0, &labels[1], 1, sizes, &error),
               &error, "http_response_size_bytes"))
        return false;
    tallyport_histogram_observe(*sizes, (double)access->bytes);
    return add(counts->engine, "http_requests_total", labels, 3, 1)
        && add(counts->engine, "http_response_bytes_total", labels, 1, access->bytes);
}

static bool count_log(struct counts *counts, FILE *file, const char *name) {
    struct lines lines = {.file = file};
    char *line = NULL;
    size_t length = 0;
    for (;;) {
        const enum line_kind kind = next_line(&lines, &line, &length);
        if (kind == NO_LINE) return true;
        if (kind == UNREADABLE) {
            say("%s: %s", name, strerror(errno));
            return false;
        }
        struct access access;
        tallyport_counter_add(counts->lines, 1);
        if (kind == LONG_LINE || !access_parse(line, length, &access))
            tallyport_counter_add(counts->malformed, 1);
        else if (!record(counts, &access))
            return false;
    }
}

static bool read_log(struct counts *counts, const char *path) {
    const bool from_stdin = path == NULL || strcmp(path, "-") == 0;
    const char *const name = from_stdin ? "stdin" : path;
    const double start = now_ms();
    tallyport_error *error = NULL;
    if (!describe(counts->engine)
        || !ok(tallyport_counter_get_z(counts->engine, "lines_total", NULL, &counts->lines, &error),
               &error, "lines_total")
        || !ok(tallyport_counter_get_z(counts->engine, "malformed_lines_total", NULL,
                                       &counts->malformed, &error),
               &error, "malformed_lines_total"))
        return false;
    FILE *const file = from_stdin ? stdin : fopen(path, "rb");
    if (file == NULL) {
        say("%s: %s", name, strerror(errno));
        return false;
    }
    const bool counted = count_log(counts, file, name);
    if (!from_stdin) fclose(file);
    say("%s: %" PRIu64 " lines, %" PRIu64 " malformed, in %.1f ms", name,
        tallyport_counter_value(counts->lines), tallyport_counter_value(counts->malformed),
        now_ms() - start);
    return counted;
}

/* --- Exporting. */

static bool write_to(const char *path, const tallyport_buf *buf) {
    FILE *const file = path == NULL ? stdout : fopen(path, "wb");
    bool written = file != NULL && fwrite(buf->ptr, 1, buf->len, file) == buf->len
        && fflush(file) == 0;
    if (!written) say("%s: %s", path == NULL ? "stdout" : path, strerror(errno));
    if (path != NULL && file != NULL && fclose(file) != 0 && written) {
        say("%s: %s", path, strerror(errno));
        written = false;
    }
    return written;
}

/* `what` is SELECTOR or SELECTOR=FILE. */
static bool export(tallyport_engine *engine, tallyport_snapshot_handle *snapshot,
                   const char *what) {
    const char *const equals = strchr(what, '=');
    const char *const path = equals != NULL ? equals + 1 : NULL;
    const size_t length = equals != NULL ? (size_t)(equals - what) : strlen(what);
    const double start = now_ms();
    tallyport_buf buf = {0};
    tallyport_error *error = NULL;
    if (!ok(tallyport_export_snapshot(engine, snapshot, (tallyport_str){what, length}, &buf,
                                      &error),
            &error, what))
        return false;
    const double taken = now_ms() - start;
    const bool written = write_to(path, &buf);
    if (written)
        say("%.*s: %zu bytes in %.2f ms, to %s", (int)length, what, buf.len, taken,
            path != NULL ? path : "stdout");
    tallyport_buf_free(&buf);
    return written;
}

/* Exports one snapshot in every way that was asked for. What fails does not stop the others. */
static bool export_all(tallyport_engine *engine, const struct options *options) {
    tallyport_error *error = NULL;
    tallyport_snapshot_handle *snapshot = NULL;
    if (!ok(tallyport_snapshot_take(engine, &snapshot, &error), &error, "snapshot")) return false;
    say("snapshot: %" PRIu64 " series", tallyport_snapshot_series_count(snapshot));
    bool done = true;
    for (size_t i = 0; i < options->export_count; i++)
        done = export(engine, snapshot, options->exports[i]) && done;
    if (options->save != NULL) {
        done = ok(tallyport_snapshot_save_z(snapshot, options->save, &error), &error,
                  options->save) && done;
    }
    tallyport_snapshot_free(snapshot);
    return done;
}

/* --- The program. */

static int run(const struct options *options) {
    const tallyport_engine_options settings = {
        .size = sizeof settings,
        .config_path = text_of(options->config),
        .log_fn = on_log,
        .log_level = TALLYPORT_LOG_WARN,
    };
    struct counts counts = {0};
    tallyport_error *error = NULL;
    const tallyport_status status = tallyport_engine_open_with(&settings, &counts.engine, &error);
    if (!ok(status, &error, "engine")) return status == TALLYPORT_CONFIG ? BAD_CONFIG : FAILED;
    int code = FAILED;
    if (read_log(&counts, options->log))
        code = export_all(counts.engine, options) ? DONE : EXPORT_FAILED;
    tallyport_counter_free(counts.lines);
    tallyport_counter_free(counts.malformed);
    for (size_t i = 0; i < ACCESS_METHODS; i++) tallyport_histogram_free(counts.sizes[i]);
    tallyport_engine_close(counts.engine);
    return code;
}

/* Returns the exit code of a command line that ends here, or -1: go on. */
static int read_options(int argc, char **argv, struct options *options) {
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'}, {"export", required_argument, NULL, 'e'},
        {"save", required_argument, NULL, 's'},   {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (option) {
        case 'c': options->config = optarg; break;
        case 'e': options->exports[options->export_count++] = optarg; break;
        case 's': options->save = optarg; break;
        case 'h': fputs(HELP, stdout); return DONE;
        default: fputs(HELP, stderr); return USAGE;
        }
    }
    if (argc - optind > 1) {
        say("one LOG only, not also `%s`", argv[optind + 1]);
        return USAGE;
    }
    options->log = argv[optind];
    return -1;
}

int main(int argc, char **argv) {
    struct options options = {.config = "", .exports = calloc((size_t)argc + 1, sizeof(char *))};
    if (options.exports == NULL) {
        say("out of memory");
        return FAILED;
    }
    int code = read_options(argc, argv, &options);
    if (code < 0) code = run(&options);
    free(options.exports);
    return code;
}
