/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One line of an access log in nginx's `combined` format, by the rules of README.md.
 *
 * Knows nothing of metrics: it turns bytes into the labels and the number that the host counts.
 */
#ifndef ACCESSLOG_PARSE_H
#define ACCESSLOG_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ACCESS_MAX_LINE = 65536, ACCESS_MAX_ROUTE = 120 };

/* The methods that have a label value of their own, and one for all others. */
enum access_method {
    ACCESS_GET,
    ACCESS_HEAD,
    ACCESS_POST,
    ACCESS_PUT,
    ACCESS_DELETE,
    ACCESS_PATCH,
    ACCESS_OPTIONS,
    ACCESS_OTHER,
    ACCESS_METHODS
};

/* Label values, to be indexed by `method` and `status_class`. */
extern const char *const ACCESS_METHOD_LABELS[ACCESS_METHODS];
extern const char *const ACCESS_STATUS_LABELS[6];

struct access {
    enum access_method method;
    int status_class; /* 1 to 5 */
    uint64_t bytes;
    size_t route_length;
    char route[ACCESS_MAX_ROUTE + 1]; /* UTF-8 that may hold NUL: the length counts */
};

/* Reads a line without its line end; false: it is malformed.
 *
 * The path is unescaped in place, so the line is not the same afterwards.
 */
bool access_parse(char *line, size_t length, struct access *access);

#endif
