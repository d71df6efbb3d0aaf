/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* count_threads.c: preloaded, it says at the end how many threads the process started. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static unsigned started;

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument) {
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    void *found = dlsym(RTLD_NEXT, "pthread_create");
    memcpy(&real, &found, sizeof real);
    __atomic_add_fetch(&started, 1, __ATOMIC_RELAXED);
    return real(thread, attributes, run, argument);
}

__attribute__((destructor)) static void say(void) {
    printf("threads started: %u\n", __atomic_load_n(&started, __ATOMIC_RELAXED));
}
