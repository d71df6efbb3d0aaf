/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Changes the working directory, when it is loaded. */
#define _POSIX_C_SOURCE 200809L
#include "unfit.h"

#include <unistd.h>

__attribute__((constructor)) static void loaded(void) {
    if (chdir("/") != 0) abort();
}

UNFIT("com.example.changes-folder", .create = good_create, .export_snapshot = fit_export, .destroy = good_destroy)
