/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * An export makes the file UNTIL.began, writes a line, and waits until the file UNTIL exists, which the
 * option `until` names; then it writes until the sink refuses, 1 MiB at most. It asks nobody whether
 * it was cancelled.
 */
#include "hang.h"

#include <stdio.h>
#include <unistd.h>

struct waits {
    tallyport_exporter base; /* first, so that good_destroy frees it */
    char until[512];
};

/* The options have one key and no escapes: {"until":"PATH"}. */
static tallyport_status create(const tallyport_host *host, tallyport_str config_json,
                               tallyport_exporter **exporter, tallyport_error *error) {
    static const char key[] = "{\"until\":\"";
    (void)error;
    if (config_json.len < sizeof key + 1 || memcmp(config_json.ptr, key, sizeof key - 1) != 0)
        return TALLYPORT_INVALID_ARGUMENT;
    const size_t len = config_json.len - (sizeof key - 1) - 2;
    struct waits *self = calloc(1, sizeof *self);
    if (self == NULL || len >= sizeof self->until) return TALLYPORT_PLUGIN_FAILED;
    memcpy(self->until, config_json.ptr + sizeof key - 1, len);
    self->base.host = host;
    *exporter = &self->base;
    return TALLYPORT_OK;
}

static tallyport_status export_snapshot(tallyport_exporter *exporter, const tallyport_call *call,
                                        const tallyport_snapshot *snapshot, tallyport_sink *sink,
                                        tallyport_error *error) {
    const struct waits *self = (const struct waits *)exporter;
    char began[sizeof self->until + 8];
    uint8_t bytes[4096];
    snprintf(began, sizeof began, "%s.began", self->until);
    FILE *file = fopen(began, "w");
    if (file != NULL) fclose(file);
    tallyport_status status = good_export(exporter, call, snapshot, sink, error);
    while (access(self->until, F_OK) != 0) hang_a_moment();
    memset(bytes, '.', sizeof bytes);
    for (int written = 0; status == TALLYPORT_OK && written < 256; written++)
        status = self->base.host->sink_write(self->base.host, sink, bytes, sizeof bytes);
    return status;
}

static const tallyport_plugin_v1 plugin = {GOOD_HEAD("com.example.waits"), .create = create,
                                           .export_snapshot = export_snapshot,
                                           .destroy = good_destroy};
TALLYPORT_PLUGIN_FILE("com.example.waits", "1.0.0");
GOOD_ENTRY(&plugin, 1)
