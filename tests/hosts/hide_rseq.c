/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* hide_rseq.c: preloaded, it makes dlsym answer as a glibc before 2.35 does: no __rseq symbols. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

void *dlsym(void *handle, const char *name) {
    static void *(*real)(void *, const char *);
    if (strncmp(name, "__rseq_", 7) == 0) {
        fputs("hidden\n", stdout);
        return NULL;
    }
    if (real == NULL) {
        void *found = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
        memcpy(&real, &found, sizeof real);
    }
    return real(handle, name);
}
