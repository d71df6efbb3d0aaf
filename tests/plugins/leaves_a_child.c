/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Starts a process that outlives it and keeps its descriptors; prints a lot. In the helper only, so
 * that a test which loads it afterwards stays readable.
 */
#define _POSIX_C_SOURCE 200809L
#include "good.h"

#include <stdio.h>
#include <unistd.h>

static int in_the_helper(void) {
    char name[32] = {0};
    FILE *comm = fopen("/proc/self/comm", "r");
    if (comm == NULL) return 0;
    const int known = fgets(name, sizeof name, comm) != NULL;
    fclose(comm);
    return known && strncmp(name, "tallyport-plugi", 15) == 0;
}

static tallyport_status create(const tallyport_host *host, tallyport_str config_json,
                               tallyport_exporter **exporter, tallyport_error *error) {
    if (!in_the_helper()) return good_create(host, config_json, exporter, error);
    for (int line = 0; line < 20000; line++) {
        puts("tallyport-probe/1 done? not from me");
        fputs("and on the other one\n", stderr);
    }
    fflush(stdout);
    if (fork() == 0) {
        sleep(60);
        _exit(0);
    }
    return good_create(host, config_json, exporter, error);
}

static const tallyport_plugin_v1 plugin = {GOOD_HEAD("com.example.leaves-a-child"),
                                           .create = create, .export_snapshot = good_export,
                                           .destroy = good_destroy};
TALLYPORT_PLUGIN_FILE("com.example.leaves-a-child", "1.0.0");
GOOD_ENTRY(&plugin, 1)
