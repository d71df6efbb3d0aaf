/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Nothing is wrong: what the others here break is whole in this one. */
#include "unfit.h"

static void cancel(tallyport_exporter *self) { (void)self; }

UNFIT_CAPS("com.example.fit", TALLYPORT_CAP_CONCURRENT | TALLYPORT_CAP_CANCEL, .create = good_create, .export_snapshot = fit_export, .destroy = good_destroy, .flush = fit_outside, .shutdown = fit_outside, .cancel = cancel)
