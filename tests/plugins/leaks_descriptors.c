/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Opens files until it cannot, and closes none. */
#include "good_or_bad.h"

#include <fcntl.h>

static tallyport_status bad(tallyport_exporter *self, const tallyport_call *call,
                            tallyport_sink *sink, tallyport_error *error) {
    while (open("/dev/null", O_RDONLY) >= 0) {
    }
    (void)call;
    (void)sink;
    return good_failure(self, error, "no descriptor is left");
}

GOOD_OR_BAD("com.example.leaks-descriptors")
