/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Nothing is wrong: it needs libneeded.so.1 (needed.c), and writes what that says. */
#include "good.h"

const char *needed_word(void);

static tallyport_status says(tallyport_exporter *self, const tallyport_call *call,
                             const tallyport_snapshot *snapshot, tallyport_sink *sink,
                             tallyport_error *error) {
    (void)call;
    (void)snapshot;
    (void)error;
    const tallyport_str word = good_text(needed_word());
    return self->host->sink_write(self->host, sink, (const uint8_t *)word.ptr, word.len);
}

static const tallyport_plugin_v1 plugin = {GOOD_HEAD("com.example.needs-library"),
                                           .create = good_create, .export_snapshot = says,
                                           .destroy = good_destroy};
TALLYPORT_PLUGIN_FILE("com.example.needs-library", "1.0.0");
GOOD_ENTRY(&plugin, 1)
