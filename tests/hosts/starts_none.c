/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a host does that asked for no thread: it records, syncs, exports to a file and over HTTP to a
 * name that has to be looked up.
 *
 * starts_none FOLDER PORT [ANYTHING: it asks for a background sync as well]
 */
#include "host.h"

int main(int count, char **arguments) {
    char toml[1024];
    tallyport_engine_options options;
    tallyport_engine *engine;
    tallyport_counter *counter;
    tallyport_buf buf;
    CHECK(count >= 3);
    const int length =
        snprintf(toml, sizeof toml,
                 "schema = 1\n"
                 "store = { kind = 'sqlite', path = 'none.db' }\n"
                 "[targets.file]\nexporter = 'prometheus'\npath = 'none.prom'\n"
                 "[targets.push]\nexporter = 'openmetrics'\ndestination = 'http'\n"
                 "[targets.push.http]\nurl = 'http://localhost:%s/metrics'\ngzip = true\n",
                 arguments[2]);
    CHECK(length > 0 && (size_t)length < sizeof toml);
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.config_toml = str(toml);
    options.base_dir = str(arguments[1]);
    OK(tallyport_engine_open_with(&options, &engine, &err));
    const char *const labels[] = {"method", "GET", NULL};
    OK(tallyport_counter_get_z(engine, "requests_total", labels, &counter, &err));
    tallyport_counter_add(counter, 7);
    OK(tallyport_sync(engine, &err));
    OK(tallyport_target_export_z(engine, "file", 0, &buf, &err));
    CHECK(has(&buf, "\"ending\":\"delivered\""));
    tallyport_buf_free(&buf);
    OK(tallyport_target_export_z(engine, "push", 0, &buf, &err));
    CHECK(has(&buf, "\"ending\":\"delivered\""));
    tallyport_buf_free(&buf);
    if (count > 3) OK(tallyport_sync_start(engine, &err));
    OK(tallyport_export_z(engine, "prometheus", &buf, &err));
    CHECK(has(&buf, "requests_total{method=\"GET\"} 7"));
    tallyport_buf_free(&buf);
    tallyport_counter_free(counter);
    tallyport_engine_close(engine);
    return 0;
}
