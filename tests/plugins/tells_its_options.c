/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Says its options where it can: in the log, in the error of `create` (with "fail" among them) and
 * in that of every second export. What it exports is its options.
 */
#include "good.h"

struct teller {
    const tallyport_host *host;
    size_t exports;
    size_t len;
    char options[1024];
};

static tallyport_status create(const tallyport_host *host, tallyport_str config_json,
                               tallyport_exporter **exporter, tallyport_error *error) {
    host->log(host, TALLYPORT_LOG_WARN, config_json);
    host->error_detail(host, error, good_text("options"), config_json);
    struct teller *self = calloc(1, sizeof *self);
    if (self == NULL || config_json.len >= sizeof self->options) {
        free(self);
        return TALLYPORT_LIMIT;
    }
    self->host = host;
    self->len = config_json.len;
    memcpy(self->options, config_json.ptr, config_json.len);
    if (strstr(self->options, "fail") != NULL) {
        host->error_set(host, error, TALLYPORT_PLUGIN_FAILED, config_json);
        free(self);
        return TALLYPORT_PLUGIN_FAILED;
    }
    *exporter = (tallyport_exporter *)self;
    return TALLYPORT_OK;
}

static tallyport_status tells(tallyport_exporter *exporter, const tallyport_call *call,
                              const tallyport_snapshot *snapshot, tallyport_sink *sink,
                              tallyport_error *error) {
    struct teller *self = (struct teller *)exporter;
    (void)call;
    (void)snapshot;
    const tallyport_str options = {self->options, self->len};
    if (self->exports++ % 2 == 1) {
        self->host->error_set(self->host, error, TALLYPORT_PLUGIN_FAILED, options);
        return TALLYPORT_PLUGIN_FAILED;
    }
    return self->host->sink_write(self->host, sink, (const uint8_t *)options.ptr, options.len);
}

static const tallyport_plugin_v1 plugin = {
    GOOD_HEAD("com.example.tells-its-options"),
    .create = create,
    .export_snapshot = tells,
    .destroy = good_destroy,
    .config_schema_json =
        TALLYPORT_STR_INIT("{\"properties\":{\"dsn\":{\"type\":\"string\",\"maxLength\":40},"
                           "\"password\":{\"type\":\"string\"},\"mode\":{\"enum\":[\"fail\"]}},"
                           "\"additionalProperties\":false}"),
};
TALLYPORT_PLUGIN_FILE("com.example.tells-its-options", "1.0.0");
GOOD_ENTRY(&plugin, 1)
