/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * In the place of tallyport-plugin-host: plays its part for a while, then says nonsense. What it
 * says comes from a seed in the environment. It replays answers that a real helper gave: a file of
 * packets, each after its length.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uint64_t seed;

static uint32_t next(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 16);
}

static unsigned char packet[65536];

/* A header with a kind and a length that may lie. */
static size_t header(unsigned kind, unsigned flags, size_t len, size_t said) {
    memcpy(packet, "TLYI", 4);
    packet[4] = 1;
    packet[5] = 0;
    packet[6] = (unsigned char)kind;
    packet[7] = (unsigned char)(kind >> 8);
    for (int i = 0; i < 4; i++) {
        packet[8 + i] = (unsigned char)(flags >> (8 * i));
        packet[12 + i] = (unsigned char)(said >> (8 * i));
    }
    return 16 + len;
}

int main(void) {
    const char *text = getenv("TALLYPORT_TEST_SEED");
    seed = (text == NULL ? 1 : strtoull(text, NULL, 10)) * 2654435761u + 88172645463325252u;
    for (int i = 0; i < 8; i++) (void)next();
    const unsigned truths = next() % 3;
    static unsigned char received[65536];
    for (unsigned said = 0; said < 40; said++) {
        if (said % 4 == 0 && recv(3, received, sizeof received, 0) <= 0) return 0;
        if (said < truths) {
            /* "Ready", then nothing that could follow it. */
            (void)send(3, packet, header(101, 0, 0, 0), 0);
            continue;
        }
        const size_t len = next() % 200;
        size_t total = header(100 + next() % 9, next() % 4 == 0, len, next() % 5 ? len : next());
        for (size_t at = 16; at < total; at++) packet[at] = next() % 3 ? 0 : (unsigned char)next();
        if (next() % 3 == 0) {
            /* Bytes of the header change as well. */
            packet[next() % 16] = (unsigned char)next();
        }
        if (next() % 5 == 0) total = 1 + next() % total;
        (void)send(3, packet, total, 0);
    }
    return (int)(next() % 4);
}
