/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Cannot be configured: create gives a text and a detail and returns a status. */
#include "good.h"

static tallyport_status create(const tallyport_host *host, tallyport_str config_json,
                               tallyport_exporter **exporter, tallyport_error *error) {
    (void)config_json;
    (void)exporter;
    host->error_set(host, error, TALLYPORT_INVALID_ARGUMENT,
                    good_text("option `endpoint`: it is required"));
    host->error_detail(host, error, good_text("option"), good_text("endpoint"));
    return TALLYPORT_INVALID_ARGUMENT;
}

static const tallyport_plugin_v1 plugin = {GOOD_HEAD("com.example.create-fails"),
                                           .create = create, .export_snapshot = good_export,
                                           .destroy = good_destroy};
TALLYPORT_PLUGIN_FILE("com.example.create-fails", "1.0.0");
GOOD_ENTRY(&plugin, 1)
