/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Declares FORK_AWARE and has no `after_fork_child`. */
#include "unfit.h"

UNFIT_CAPS("com.example.no-fork-function", TALLYPORT_CAP_FORK_AWARE, .create = good_create, .export_snapshot = fit_export, .destroy = good_destroy)
