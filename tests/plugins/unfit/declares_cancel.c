/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Declares CANCEL and has no `cancel`. */
#include "unfit.h"

UNFIT_CAPS("com.example.declares-cancel", TALLYPORT_CAP_CANCEL, .create = good_create, .export_snapshot = fit_export, .destroy = good_destroy)
