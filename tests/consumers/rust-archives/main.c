/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A program with two archives that Rust made, each with std of its own in it. */
#include <tallyport.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int64_t other_sum(int64_t count);

int main(void) {
    tallyport_engine *engine = NULL;
    tallyport_counter *sums = NULL;
    tallyport_buf text = {0, 0, 0};
    if (tallyport_engine_open_z(NULL, &engine, NULL)) return 1;
    if (tallyport_counter_get_z(engine, "sums_total", NULL, &sums, NULL)) return 2;
    tallyport_counter_add(sums, (uint64_t)other_sum(5));
    if (other_sum(-1) != -1) return 3;
    if (tallyport_export_z(engine, "prometheus", &text, NULL)) return 4;
    fwrite(text.ptr, 1, text.len, stdout);
    tallyport_buf_free(&text);
    tallyport_counter_free(sums);
    tallyport_engine_close(engine);
#ifdef PLANTED_BUG
    char *gone = malloc(8);
    free(gone);
    return *(volatile char *)gone;
#else
    return 0;
#endif
}
