/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Changes the locale of the process. */
#include "unfit.h"

#include <locale.h>

static tallyport_status create(CREATE) {
    setlocale(LC_ALL, "C.UTF-8");
    return good_create(host, config_json, exporter, error);
}

UNFIT("com.example.changes-locale", .create = create, .export_snapshot = fit_export, .destroy = good_destroy)
