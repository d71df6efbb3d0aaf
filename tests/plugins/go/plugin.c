/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The tables, which are constants of the file and so are C's; plugin.go has what they call. */
#include "_cgo_export.h"

#include <stdlib.h>

/* cgo declares what Go exports without `const`. */
static tallyport_status create(const tallyport_host *host, tallyport_str config_json,
                               tallyport_exporter **exporter, tallyport_error *error) {
    tallyport_exporter *self = malloc(sizeof *self);
    if (self == NULL) return TALLYPORT_PLUGIN_FAILED;
    self->host = host;
    const tallyport_status status = goCreate(self, config_json, error);
    if (status == TALLYPORT_OK)
        *exporter = self;
    else
        free(self);
    return status;
}

static tallyport_status export_snapshot(tallyport_exporter *self, const tallyport_call *call,
                                        const tallyport_snapshot *snapshot, tallyport_sink *sink,
                                        tallyport_error *error) {
    return goExport(self, (tallyport_call *)call, (tallyport_snapshot *)snapshot, sink, error);
}

static void destroy(tallyport_exporter *self) {
    goDestroy(self);
    free(self);
}

static const tallyport_format formats[] = {
    {TALLYPORT_STR_INIT("statsd"), TALLYPORT_STR_INIT("text/plain; charset=utf-8")},
};

static const tallyport_plugin_v1 plugin = {
    .struct_size = sizeof(tallyport_plugin_v1),
    .abi = TALLYPORT_PLUGIN_ABI,
    .caps = TALLYPORT_CAP_WRITES_SINK | TALLYPORT_CAP_CONCURRENT | TALLYPORT_CAP_OUT_OF_PROC,
    .id = TALLYPORT_STR_INIT("statsd_go"),
    .version = TALLYPORT_STR_INIT("1.0.0"),
    .vendor = TALLYPORT_STR_INIT("Example Ltd"),
    .description = TALLYPORT_STR_INIT("StatsD lines with DogStatsD tags, in Go"),
    .formats = formats,
    .format_count = sizeof formats / sizeof formats[0],
    .signals = TALLYPORT_SIGNAL_METRICS,
    .config_schema_json = TALLYPORT_STR_INIT(
        "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
        "\"prefix\":{\"type\":\"string\",\"maxLength\":255},"
        "\"fail\":{\"enum\":[\"\",\"create\",\"export\",\"process\",\"hang\"]}}}"),
    .create = create,
    .export_snapshot = export_snapshot,
    .destroy = destroy,
};

static const tallyport_plugin_set plugins = {
    .struct_size = sizeof(tallyport_plugin_set),
    .count = 1,
    .stride = sizeof(tallyport_plugin_v1),
    .plugins = &plugin,
};

TALLYPORT_PLUGIN_FILE("com.example.statsd-go", "1.0.0");

TALLYPORT_EXPORT const tallyport_plugin_set *tallyport_plugin_query_v1(uint32_t host_abi) {
    return TALLYPORT_PLUGIN_SERVES(host_abi) ? &plugins : NULL;
}
