/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Does not come back from being loaded. */
#define _POSIX_C_SOURCE 200809L
#include "unfit.h"

#include <unistd.h>

__attribute__((constructor)) static void loaded(void) {
    for (;;) pause();
}

UNFIT("com.example.hangs-at-load", .create = good_create, .export_snapshot = fit_export, .destroy = good_destroy)
