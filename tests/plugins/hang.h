/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* hang.h: how plugins under test wait and hang. Include it first: nanosleep is POSIX. */
#ifndef HANG_H
#define HANG_H

#define _POSIX_C_SOURCE 200809L

#include "good.h"

#include <time.h>

static inline void hang_a_moment(void) {
    const struct timespec moment = {0, 2000000};
    nanosleep(&moment, NULL);
}

/* Returns when the process ends. */
static inline void hang(void) {
    for (;;) hang_a_moment();
}

#endif /* HANG_H */
