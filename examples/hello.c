/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* hello.c: the shortest host in C. It counts, observes, and prints what Prometheus scrapes. */
#include "tallyport.h"

#include <stdio.h>

int main(void) {
    tallyport_error *err = NULL;
    tallyport_engine *engine = NULL;
    tallyport_counter *hits = NULL;
    tallyport_histogram *took = NULL;
    tallyport_buf text = {0};
    const char *const labels[] = {"method", "GET", NULL};

    /* NULL: no configuration file. The path of one would load exporters from it. */
    if (tallyport_engine_open_z(NULL, &engine, &err)) goto done;
    if (tallyport_counter_get_z(engine, "http_requests_total", labels, &hits, &err)) goto done;
    if (tallyport_histogram_get_z(engine, "http_request_seconds", NULL, 0, NULL, &took, &err))
        goto done;

    tallyport_counter_add(hits, 1); /* any thread, async-signal-safe, cannot fail */
    tallyport_histogram_observe(took, 0.042);

    if (tallyport_export_z(engine, "prometheus", &text, &err)) goto done;
    fwrite(text.ptr, 1, text.len, stdout);

done:
    if (err != NULL) fprintf(stderr, "hello: %s\n", tallyport_error_message(err).ptr);
    const int code = err != NULL;
    tallyport_error_free(err); /* each of these does nothing when given NULL */
    tallyport_buf_free(&text);
    tallyport_histogram_free(took);
    tallyport_counter_free(hits);
    tallyport_engine_close(engine);
    return code;
}
