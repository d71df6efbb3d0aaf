/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Ends the process when it is loaded. */
#include "unfit.h"

__attribute__((constructor)) static void loaded(void) { exit(0); }

UNFIT("com.example.exits-at-load", .create = good_create, .export_snapshot = fit_export, .destroy = good_destroy)
