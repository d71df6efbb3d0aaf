/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Dies after the case, when the process ends. */
#include "unfit.h"

__attribute__((destructor)) static void unloaded(void) { abort(); }

UNFIT("com.example.crashes-at-exit", .create = good_create, .export_snapshot = fit_export, .destroy = good_destroy)
