/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Starts a helper program as the library does, and talks nonsense to it: it must end by itself, by no
 * crash of its own. Arguments: the helper, the first seed, how many.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t seed;

static uint32_t next(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 16);
}

static unsigned char packet[65536];

static size_t header(unsigned kind, size_t len, size_t said) {
    memcpy(packet, "TLYI\1\0", 6);
    packet[6] = (unsigned char)kind;
    packet[7] = 0;
    memset(packet + 8, 0, 4);
    for (int i = 0; i < 4; i++) packet[12 + i] = (unsigned char)(said >> (8 * i));
    return 16 + len;
}

static void tell(int socket, size_t len, int descriptor) {
    struct iovec part = {packet, len};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control;
    struct msghdr message = {0};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (descriptor >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), &descriptor, sizeof(int));
    }
    (void)sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void put(size_t *at, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) packet[(*at)++] = (unsigned char)(value >> (8 * i));
}

/* A greeting as it should be: 2 slots of 4096 bytes, no limits. */
static void greet(int socket, int memory) {
    size_t at = 16;
    put(&at, (uint64_t)getpid(), 4);
    for (int limit = 0; limit < 3; limit++) put(&at, 0, 4);
    put(&at, 3, 4);
    put(&at, 2, 4);
    put(&at, 4096, 4);
    tell(socket, header(1, at - 16, at - 16), memory);
}

static int try_once(const char *helper) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return 1;
    const int memory = memfd_create("output", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory < 0 || ftruncate(memory, 8192) != 0) return 1;
    if (next() % 8 != 0) fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
    const pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        dup2(pair[1], 3);
        execl(helper, "tallyport-plugin-host", "serve", (char *)NULL);
        _exit(99);
    }
    close(pair[1]);
    if (next() % 4 != 0) greet(pair[0], memory);
    for (unsigned said = 0; said < 30; said++) {
        const size_t len = next() % 150;
        size_t total = header(next() % 12, len, next() % 6 ? len : next());
        for (size_t at = 16; at < total; at++) packet[at] = next() % 3 ? 0 : (unsigned char)next();
        if (next() % 6 == 0) packet[next() % 16] = (unsigned char)next();
        tell(pair[0], total, next() % 5 == 0 ? memory : -1);
    }
    if (next() % 2 == 0) usleep(next() % 20000);
    close(pair[0]);
    close(memory);
    int status;
    alarm(60);
    if (waitpid(child, &status, 0) != child) return 1;
    alarm(0);
    /* Its own end is an exit, or the SIGKILL that it gives its group. */
    if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL) return 1;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 101) return 1; /* a panic */
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    const uint64_t first = strtoull(argv[2], NULL, 10), count = strtoull(argv[3], NULL, 10);
    for (uint64_t number = first; number < first + count; number++) {
        seed = number * 2654435761u + 88172645463325252u;
        for (int i = 0; i < 8; i++) (void)next();
        if (try_once(argv[1]) != 0) {
            fprintf(stderr, "seed %llu\n", (unsigned long long)number);
            return 1;
        }
    }
    return 0;
}
