/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Has an options schema, and takes whatever it is given. */
#include "unfit.h"

UNFIT("com.example.takes-anything", .create = good_create, .export_snapshot = fit_export, .destroy = good_destroy, .config_schema_json = TALLYPORT_STR_INIT(
          "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
          "\"level\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":9,\"default\":3}}}"))
