/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Never returns from create. */
#include "hang.h"

static tallyport_status create(const tallyport_host *host, tallyport_str config_json,
                               tallyport_exporter **exporter, tallyport_error *error) {
    hang();
    return good_create(host, config_json, exporter, error);
}

static const tallyport_plugin_v1 plugin = {GOOD_HEAD("com.example.hangs-in-create"),
                                           .create = create,
                                           .export_snapshot = good_export,
                                           .destroy = good_destroy};
TALLYPORT_PLUGIN_FILE("com.example.hangs-in-create", "1.0.0");
GOOD_ENTRY(&plugin, 1)
