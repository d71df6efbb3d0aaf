/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the hosts of these tests share: checks that say where, and end the program with 1. */
#ifndef TALLYPORT_TESTS_HOST_H
#define TALLYPORT_TESTS_HOST_H

#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L /* fileno, fork, sigaction, threads */
#endif

#include "tallyport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* The call succeeds; if not, its error is told. */
#define OK(call)                                                                                   \
    do {                                                                                           \
        tallyport_error *err = NULL;                                                               \
        const tallyport_status status_ = (call);                                                   \
        if (status_ != TALLYPORT_OK) {                                                             \
            fprintf(stderr, "%s:%d: %s: %s: %s\n", __FILE__, __LINE__, #call,                      \
                    tallyport_status_name(status_), tallyport_error_message(err).ptr);             \
            exit(1);                                                                               \
        }                                                                                          \
        CHECK(err == NULL);                                                                        \
    } while (0)

/* The call fails with that status, and its error names that field. */
#define FAILS(expected, wanted_field, call)                                                        \
    do {                                                                                           \
        tallyport_error *err = NULL;                                                               \
        const tallyport_status status_ = (call);                                                   \
        if (status_ != (expected) || !is(tallyport_error_field(err), wanted_field)) {              \
            fprintf(stderr, "%s:%d: %s: %s, field `%s`: %s\n", __FILE__, __LINE__, #call,          \
                    tallyport_status_name(status_), tallyport_error_field(err).ptr,                \
                    tallyport_error_message(err).ptr);                                             \
            exit(1);                                                                               \
        }                                                                                          \
        CHECK(tallyport_error_code(err) == status_);                                               \
        CHECK(tallyport_error_message(err).len > 0);                                               \
        tallyport_error_free(err);                                                                 \
    } while (0)

static inline int is(tallyport_str text, const char *wanted) {
    return text.len == strlen(wanted) && (text.len == 0 || memcmp(text.ptr, wanted, text.len) == 0);
}

static inline int has(const tallyport_buf *buf, const char *wanted) {
    const size_t len = strlen(wanted);
    for (size_t at = 0; at + len <= buf->len; at++)
        if (memcmp(buf->ptr + at, wanted, len) == 0) return 1;
    return 0;
}

static inline tallyport_str str(const char *z) {
    tallyport_str text;
    text.ptr = z;
    text.len = z == NULL ? 0 : strlen(z);
    return text;
}

#endif
