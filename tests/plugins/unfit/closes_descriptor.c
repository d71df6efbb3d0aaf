/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Closes a descriptor that is not its own. */
#define _POSIX_C_SOURCE 200809L
#include "unfit.h"

#include <unistd.h>

static void destroy(tallyport_exporter *self) {
    close(0);
    free(self);
}

UNFIT("com.example.closes-descriptor", .create = good_create, .export_snapshot = fit_export, .destroy = destroy)
