/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Preloaded: a system that copies every page into forked children (before Linux 4.14). */
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>

int madvise(void *start, size_t len, int advice);

int madvise(void *start, size_t len, int advice) {
    if (advice == 18) { /* MADV_WIPEONFORK */
        errno = EINVAL;
        return -1;
    }
    int (*next)(void *, size_t, int);
    *(void **)&next = dlsym(RTLD_NEXT, "madvise");
    return next(start, len, advice);
}
