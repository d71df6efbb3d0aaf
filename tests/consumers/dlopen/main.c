/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A host that looks for the library when it runs, and does without it where there is none.
 *
 *     dlopen [LIBRARY]         its SONAME if none is given */
#define _GNU_SOURCE
#include <tallyport.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef SONAME
#error "compile with -DSONAME, for example -DSONAME='\"libtallyport.so.1\"'"
#endif

/* The functions that are used, each of the type that the header gives it. */
#define FUNCTIONS(X)                                                                               \
    X(tallyport_abi_check)                                                                         \
    X(tallyport_engine_open_z)                                                                     \
    X(tallyport_counter_get_z)                                                                     \
    X(tallyport_counter_add)                                                                       \
    X(tallyport_export_z)                                                                          \
    X(tallyport_buf_free)                                                                          \
    X(tallyport_counter_free)                                                                      \
    X(tallyport_engine_close)

#define DECLARE(name) static __typeof__(&name) own_##name;
FUNCTIONS(DECLARE)

static int load(const char *name) {
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "no metrics: %s\n", dlerror());
        return 0;
    }
#define FIND(name)                                                                                 \
    *(void **)(void *)&own_##name = dlsym(library, #name);                                         \
    if (own_##name == NULL) return 0;
    FUNCTIONS(FIND)
    /* The library stays mapped (nodelete): to close it is right, and changes nothing. */
    return dlclose(library) == 0;
}

int main(int argc, char **argv) {
    const char *const labels[] = {"method", "GET", NULL};
    tallyport_engine *engine = NULL;
    tallyport_counter *hits = NULL;
    tallyport_buf text = {0, 0, 0};

    if (!load(argc > 1 ? argv[1] : SONAME)) return 77;
    if (own_tallyport_abi_check(TALLYPORT_ABI_VERSION) != TALLYPORT_OK) return 2;
    if (own_tallyport_engine_open_z(NULL, &engine, NULL)) return 3;
    if (own_tallyport_counter_get_z(engine, "http_requests_total", labels, &hits, NULL)) return 4;
    own_tallyport_counter_add(hits, 2);
    if (own_tallyport_export_z(engine, "prometheus", &text, NULL)) return 5;
    fwrite(text.ptr, 1, text.len, stdout);
    own_tallyport_buf_free(&text);
    own_tallyport_counter_free(hits);
    own_tallyport_engine_close(engine);
#ifdef PLANTED_BUG
    char *gone = malloc(8);
    free(gone);
    return *(volatile char *)gone;
#else
    return 0;
#endif
}
