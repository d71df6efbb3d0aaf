/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Allocates until there is no more, and gives up then. */
#include "good_or_bad.h"

static tallyport_status bad(tallyport_exporter *self, const tallyport_call *call,
                            tallyport_sink *sink, tallyport_error *error) {
    void **all = NULL;
    for (;;) {
        void **more = malloc(1 << 20);
        if (more == NULL) break;
        memset(more, 1, 1 << 20);
        *more = all;
        all = more;
    }
    while (all != NULL) {
        void **next = *all;
        free(all);
        all = next;
    }
    (void)call;
    (void)sink;
    return good_failure(self, error, "no memory is left");
}

GOOD_OR_BAD("com.example.eats-memory")
