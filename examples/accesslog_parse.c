/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "accesslog_parse.h"

#include <string.h>

const char *const ACCESS_METHOD_LABELS[ACCESS_METHODS] = {
    "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "other",
};
const char *const ACCESS_STATUS_LABELS[6] = {"", "1xx", "2xx", "3xx", "4xx", "5xx"};

enum { MAX_BYTES_DIGITS = 15 };

/* 9 stands for any digit, A for a capital, a for a small letter, + for either sign. */
static const char TIME_SHAPE[] = " [99/Aaa/9999:99:99:99 +9999] ";

/* What is left to read; the functions below take from its front. */
struct text {
    char *at;
    char *end;
};

static size_t left(const struct text *text) {
    return (size_t)(text->end - text->at);
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool starts_with(const struct text *text, const char *prefix) {
    const size_t length = strlen(prefix);
    return left(text) >= length && memcmp(text->at, prefix, length) == 0;
}

static bool equals(const struct text *text, const char *other) {
    return left(text) == strlen(other) && starts_with(text, other);
}

static bool skip(struct text *text, const char *literal) {
    if (!starts_with(text, literal)) {
        return false;
    }
    text->at += strlen(literal);
    return true;
}

/* Takes what stands before the next `separator`, or all of it. */
static struct text take_until(struct text *text, char separator) {
    char *found = memchr(text->at, separator, left(text));
    const struct text taken = {text->at, found != NULL ? found : text->end};
    text->at = taken.end;
    return taken;
}

static bool take_quoted(struct text *text, struct text *content) {
    if (!skip(text, "\"")) {
        return false;
    }
    content->at = text->at;
    while (text->at < text->end) {
        if (*text->at == '"') {
            content->end = text->at;
            text->at++;
            return true;
        }
        /* A backslash takes the next byte with it, if there is one. */
        text->at += *text->at == '\\' && left(text) > 1 ? 2 : 1;
    }
    return false;
}

static bool has_time_shape(const char *at) {
    for (const char *shape = TIME_SHAPE; *shape != '\0'; shape++, at++) {
        bool fits;
        switch (*shape) {
        case '9': fits = is_digit(*at); break;
        case 'A': fits = *at >= 'A' && *at <= 'Z'; break;
        case 'a': fits = *at >= 'a' && *at <= 'z'; break;
        case '+': fits = *at == '+' || *at == '-'; break;
        default: fits = *at == *shape;
        }
        if (!fits) {
            return false;
        }
    }
    return true;
}

/* ADDRESS - USER [TIME] and the space after it. The user may look like all of these, so what ends
 * it is counted back from the first quote of the line. */
static bool skip_client(struct text *text) {
    const struct text client = take_until(text, '"');
    struct text user = client;
    const struct text address = take_until(&user, ' ');
    const size_t time_length = sizeof TIME_SHAPE - 1;
    return left(&address) > 0 && skip(&user, " - ") && left(&user) > time_length
        && has_time_shape(client.end - time_length);
}

static bool take_status(struct text *text, int *status_class) {
    if (left(text) < 3 || text->at[0] < '1' || text->at[0] > '5' || !is_digit(text->at[1])
        || !is_digit(text->at[2])) {
        return false;
    }
    *status_class = text->at[0] - '0';
    text->at += 3;
    return true;
}

static bool take_bytes(struct text *text, uint64_t *bytes) {
    *bytes = 0;
    if (skip(text, "-")) {
        return true;
    }
    const char *first = text->at;
    while (text->at < text->end && is_digit(*text->at)) {
        if (text->at - first == MAX_BYTES_DIGITS) {
            return false;
        }
        *bytes = *bytes * 10 + (uint64_t)(*text->at - '0');
        text->at++;
    }
    return text->at > first;
}

static int hex_value(char c) {
    if (is_digit(c)) {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Undoes nginx's escapes in place. The result is never longer, so it cannot overtake the source. */
static void unescape(struct text *path) {
    char *to = path->at;
    for (const char *from = path->at; from < path->end; to++) {
        const size_t rest = (size_t)(path->end - from);
        if (*from == '\\' && rest >= 4 && from[1] == 'x' && hex_value(from[2]) >= 0
            && hex_value(from[3]) >= 0) {
            *to = (char)(unsigned char)(hex_value(from[2]) * 16 + hex_value(from[3]));
            from += 4;
        } else if (*from == '\\' && rest >= 2 && (from[1] == '\\' || from[1] == '"')) {
            *to = from[1];
            from += 2;
        } else {
            *to = *from;
            from++;
        }
    }
    path->end = to;
}

static bool is_continuation(char c) {
    return ((unsigned char)c & 0xC0) == 0x80;
}

/* Length of the character at the front of the text; 0: it is not UTF-8. */
static size_t utf8_length(const struct text *text) {
    const unsigned char *at = (const unsigned char *)text->at;
    if (at[0] < 0x80) {
        return 1;
    }
    size_t length;
    /* The second byte's range is what keeps out overlong forms, surrogates and too high ones. */
    unsigned char lowest = 0x80, highest = 0xBF;
    if (at[0] >= 0xC2 && at[0] <= 0xDF) {
        length = 2;
    } else if (at[0] >= 0xE0 && at[0] <= 0xEF) {
        length = 3;
        lowest = at[0] == 0xE0 ? 0xA0 : lowest;
        highest = at[0] == 0xED ? 0x9F : highest;
    } else if (at[0] >= 0xF0 && at[0] <= 0xF4) {
        length = 4;
        lowest = at[0] == 0xF0 ? 0x90 : lowest;
        highest = at[0] == 0xF4 ? 0x8F : highest;
    } else {
        return 0;
    }
    if (left(text) < length || at[1] < lowest || at[1] > highest) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if (!is_continuation(text->at[i])) {
            return 0;
        }
    }
    return length;
}

static bool is_utf8(struct text text) {
    while (text.at < text.end) {
        const size_t length = utf8_length(&text);
        if (length == 0) {
            return false;
        }
        text.at += length;
    }
    return true;
}

/* Appends to the route as far as there is room; its last byte only says where a character ends. */
static void append(struct access *access, const char *bytes, size_t length) {
    const size_t room = sizeof access->route - access->route_length;
    const size_t fitting = length < room ? length : room;
    memcpy(access->route + access->route_length, bytes, fitting);
    access->route_length += fitting;
}

static void append_segment(struct access *access, const struct text *segment) {
    const char *at = segment->at;
    while (at < segment->end && is_digit(*at)) {
        at++;
    }
    append(access, "/", 1);
    if (at == segment->end) {
        append(access, ":id", 3);
    } else {
        append(access, segment->at, left(segment));
    }
}

static void set_route(struct access *access, const char *route) {
    access->route_length = 0;
    append(access, route, strlen(route));
}

/* The first two segments of the path; false: the path is not UTF-8. */
static bool read_route(struct text target, struct access *access) {
    if (!starts_with(&target, "/")) {
        set_route(access, "none");
        return true;
    }
    struct text path = take_until(&target, '?');
    unescape(&path);
    if (!is_utf8(path)) {
        return false;
    }
    set_route(access, "");
    for (int segments = 0; segments < 2 && skip(&path, "/");) {
        const struct text segment = take_until(&path, '/');
        if (left(&segment) > 0) {
            append_segment(access, &segment);
            segments++;
        }
    }
    if (access->route_length == 0) {
        set_route(access, "/");
    }
    if (access->route_length > ACCESS_MAX_ROUTE) {
        access->route_length = ACCESS_MAX_ROUTE;
        while (is_continuation(access->route[access->route_length])) {
            access->route_length--;
        }
    }
    return true;
}

static enum access_method method_of(const struct text *text) {
    int method = ACCESS_GET;
    while (method != ACCESS_OTHER && !equals(text, ACCESS_METHOD_LABELS[method])) {
        method++;
    }
    return (enum access_method)method;
}

static bool read_request(struct text request, struct access *access) {
    const struct text method = take_until(&request, ' ');
    const bool has_target = skip(&request, " ");
    const struct text target = take_until(&request, ' ');
    const bool has_protocol = skip(&request, " ");
    const struct text protocol = take_until(&request, ' ');
    if (has_target && has_protocol && left(&request) == 0 && starts_with(&protocol, "HTTP/")) {
        access->method = method_of(&method);
        return read_route(target, access);
    }
    /* Anything that a client sends is logged: TLS, nothing at all, a path with a space. */
    access->method = ACCESS_OTHER;
    set_route(access, "none");
    return true;
}

bool access_parse(char *line, size_t length, struct access *access) {
    struct text text = {line, line + length};
    struct text request, ignored;
    return length <= ACCESS_MAX_LINE && memchr(line, '\0', length) == NULL
        && skip_client(&text)
        && take_quoted(&text, &request)
        && skip(&text, " ") && take_status(&text, &access->status_class)
        && skip(&text, " ") && take_bytes(&text, &access->bytes)
        && skip(&text, " ") && take_quoted(&text, &ignored)
        && skip(&text, " ") && take_quoted(&text, &ignored)
        && left(&text) == 0 && read_request(request, access);
}
