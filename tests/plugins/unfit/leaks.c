/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Loses a little memory with each life. */
#include "unfit.h"

static void destroy(tallyport_exporter *self) { (void)self; }

UNFIT("com.example.leaks", .create = good_create, .export_snapshot = fit_export, .destroy = destroy)
