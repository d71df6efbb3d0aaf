/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * flat_json.h: the options of a small plugin, without a JSON library.
 *
 * Reads one flat JSON object whose values are strings or booleans, strictly: a key that is not
 * declared, a key given twice, a value of another type, a text that is too long, and anything that
 * is not JSON are refused with a message that names the key or the byte. It allocates nothing.
 * A plugin with lists, numbers or nested tables should use a real JSON library instead.
 *
 * For C99 and C++11; the host promises valid UTF-8, so only the syntax is checked here.
 */
#ifndef FLAT_JSON_H
#define FLAT_JSON_H

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define FLAT_JSON_TEXT_BYTES 256

enum flat_json_kind { FLAT_JSON_STRING, FLAT_JSON_BOOL };

/* One option: declare key, kind and the default; flat_json_read overwrites the default. */
typedef struct flat_json_option {
    const char *key;
    enum flat_json_kind kind;
    char text[FLAT_JSON_TEXT_BYTES]; /* of a string, NUL-terminated */
    int flag;                        /* of a boolean */
    int given;
} flat_json_option;

/* Where reading stands, and why it stopped. */
typedef struct flat_json {
    const char *at, *end, *start;
    char key[FLAT_JSON_TEXT_BYTES]; /* the option that `why` speaks of, or "" */
    char why[512];
} flat_json;

static inline int flat_json_fail(flat_json *json, const char *why) {
    if (json->key[0] != '\0')
        snprintf(json->why, sizeof json->why, "option `%.200s`: %s", json->key, why);
    else
        snprintf(json->why, sizeof json->why, "options: %s at byte %lu", why,
                 (unsigned long)(json->at - json->start));
    return 0;
}

static inline void flat_json_space(flat_json *json) {
    while (json->at < json->end && strchr(" \t\r\n", *json->at) != NULL && *json->at != '\0')
        json->at++;
}

/* Takes `text` if it comes next. */
static inline int flat_json_take(flat_json *json, const char *text) {
    const size_t length = strlen(text);
    if ((size_t)(json->end - json->at) < length || memcmp(json->at, text, length) != 0) return 0;
    json->at += length;
    return 1;
}

/* The four hexadecimal digits of \uXXXX; -1 when they are not. */
static inline long flat_json_hex(flat_json *json) {
    long number = 0;
    for (int digit = 0; digit < 4; digit++) {
        const char c = json->at < json->end ? *json->at : '\0';
        if (c >= '0' && c <= '9')
            number = number * 16 + (c - '0');
        else if (c >= 'a' && c <= 'f')
            number = number * 16 + (c - 'a' + 10);
        else if (c >= 'A' && c <= 'F')
            number = number * 16 + (c - 'A' + 10);
        else
            return -1;
        json->at++;
    }
    return number;
}

/* One escape, after its backslash, as UTF-8 in `bytes`; returns their number, 0 when it is wrong. */
static inline size_t flat_json_escape(flat_json *json, char bytes[4]) {
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const char letter = json->at < json->end ? *json->at++ : '\0';
    const char *known = letter == '\0' ? NULL : strchr(letters, letter);
    if (known != NULL) {
        bytes[0] = meanings[known - letters];
        return 1;
    }
    long code = letter == 'u' ? flat_json_hex(json) : -1;
    if (code >= 0xd800 && code <= 0xdbff) { /* the first half of a surrogate pair */
        const long low = flat_json_take(json, "\\u") ? flat_json_hex(json) : -1;
        if (low < 0xdc00 || low > 0xdfff) return 0;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code <= 0 || (code >= 0xdc00 && code <= 0xdfff)) {
        return 0; /* a lone half, or NUL, which a C string cannot hold */
    }
    size_t count = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char first[] = {0, 0x00, 0xc0, 0xe0, 0xf0};
    for (size_t at = count - 1; at > 0; at--) {
        bytes[at] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    bytes[0] = (char)(first[count] | code);
    return count;
}

/* A string literal into `out`. */
static inline int flat_json_string(flat_json *json, char out[FLAT_JSON_TEXT_BYTES]) {
    char text[FLAT_JSON_TEXT_BYTES];
    size_t used = 0;
    if (!flat_json_take(json, "\"")) return flat_json_fail(json, "expected a string");
    while (json->at < json->end && *json->at != '"') {
        char bytes[4] = {0, 0, 0, 0};
        size_t count = 1;
        if ((unsigned char)*json->at < 0x20)
            return flat_json_fail(json, "control character in a string");
        bytes[0] = *json->at++;
        if (bytes[0] == '\\') count = flat_json_escape(json, bytes);
        if (count == 0) return flat_json_fail(json, "invalid escape in a string");
        if (used + count >= sizeof text) return flat_json_fail(json, "longer than 255 bytes");
        memcpy(text + used, bytes, count);
        used += count;
    }
    if (!flat_json_take(json, "\"")) return flat_json_fail(json, "unterminated string");
    text[used] = '\0';
    memcpy(out, text, used + 1);
    return 1;
}

static inline int flat_json_value(flat_json *json, flat_json_option *option) {
    if (option->kind == FLAT_JSON_STRING) return flat_json_string(json, option->text);
    option->flag = flat_json_take(json, "true");
    if (option->flag || flat_json_take(json, "false")) return 1;
    return flat_json_fail(json, "expected true or false");
}

static inline int flat_json_member(flat_json *json, flat_json_option *options, size_t count) {
    char key[FLAT_JSON_TEXT_BYTES];
    flat_json_space(json);
    if (!flat_json_string(json, key)) return 0;
    memcpy(json->key, key, sizeof key);
    flat_json_space(json);
    if (!flat_json_take(json, ":")) return flat_json_fail(json, "expected a colon after the key");
    flat_json_space(json);
    for (size_t at = 0; at < count; at++) {
        if (strcmp(options[at].key, key) != 0) continue;
        if (options[at].given) return flat_json_fail(json, "given twice");
        options[at].given = 1;
        if (!flat_json_value(json, &options[at])) return 0;
        json->key[0] = '\0';
        flat_json_space(json);
        return 1;
    }
    return flat_json_fail(json, "unknown option");
}

/* Reads `len` bytes of JSON into `options`. Returns 1, or 0 with `json->why` and `json->key`. */
static inline int flat_json_read(flat_json *json, const char *text, size_t len,
                                 flat_json_option *options, size_t count) {
    json->at = json->start = len == 0 ? "" : text;
    json->end = json->at + len;
    json->key[0] = json->why[0] = '\0';
    flat_json_space(json);
    if (json->at == json->end) return 1; /* no options are the defaults */
    if (!flat_json_take(json, "{")) return flat_json_fail(json, "expected an object");
    flat_json_space(json);
    if (!flat_json_take(json, "}")) {
        do {
            if (!flat_json_member(json, options, count)) return 0;
        } while (flat_json_take(json, ","));
        if (!flat_json_take(json, "}")) return flat_json_fail(json, "expected a comma or a brace");
    }
    flat_json_space(json);
    return json->at == json->end || flat_json_fail(json, "text after the object");
}

#endif /* FLAT_JSON_H */
