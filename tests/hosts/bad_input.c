/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Bad text, labels, bounds and options: each gets its status and names its field. */
#include "host.h"

#include <math.h>

static tallyport_counter *counter;
static tallyport_histogram *histogram;
static tallyport_engine *engine;
static tallyport_buf buf;

static tallyport_status labelled(const tallyport_label *labels, size_t count, tallyport_error **err) {
    return tallyport_counter_get(engine, TALLYPORT_STR("requests_total"), labels, count, &counter,
                                 err);
}

static void text(void) {
    const tallyport_str broken = TALLYPORT_STR("caf\xc3");
    tallyport_label three[] = {{TALLYPORT_STR("a"), TALLYPORT_STR("1")},
                               {TALLYPORT_STR("b"), TALLYPORT_STR("2")},
                               {TALLYPORT_STR("c"), TALLYPORT_STR("3")}};
    tallyport_error *error = NULL;

    FAILS(TALLYPORT_INVALID_UTF8, "name",
          tallyport_counter_get(engine, broken, NULL, 0, &counter, &err));
    three[2].name = broken;
    CHECK(labelled(three, 3, &error) == TALLYPORT_INVALID_UTF8);
    CHECK(is(tallyport_error_message(error), "`labels[2].name` is not UTF-8 at byte 3"));
    tallyport_error_free(error);
    three[2].name = TALLYPORT_STR("c");
    three[1].value = broken;
    FAILS(TALLYPORT_INVALID_UTF8, "labels[1].value", labelled(three, 3, &err));
    three[1].value.ptr = NULL;
    FAILS(TALLYPORT_NULL_ARGUMENT, "labels[1].value", labelled(three, 3, &err));
    three[1].value.ptr = "x";
    three[1].value.len = SIZE_MAX;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "labels[1].value", labelled(three, 3, &err));

    const char *const broken_z[] = {"a", "1", "b", "\xff", NULL};
    const char *const no_value[] = {"a", "1", "b", NULL};
    FAILS(TALLYPORT_INVALID_UTF8, "labels[1].value",
          tallyport_counter_get_z(engine, "requests_total", broken_z, &counter, &err));
    FAILS(TALLYPORT_NULL_ARGUMENT, "labels[1].value",
          tallyport_counter_get_z(engine, "requests_total", no_value, &counter, &err));
    CHECK(counter == NULL);

    /* UTF-8 and what other formats would trip over are fine. */
    three[1].value = TALLYPORT_STR("caf\xc3\xa9 \"\n\\=SUM(A1)");
    OK(labelled(three, 3, &err));
    tallyport_counter_free(counter);
}

static void names_and_labels(void) {
    tallyport_label two[] = {{TALLYPORT_STR("a"), TALLYPORT_STR("1")},
                             {TALLYPORT_STR("a"), TALLYPORT_STR("2")}};
    static tallyport_label many[5000];
    const tallyport_str empty = {NULL, 0};

    FAILS(TALLYPORT_INVALID_ARGUMENT, "name",
          tallyport_counter_get(engine, empty, NULL, 0, &counter, &err));
    FAILS(TALLYPORT_INVALID_ARGUMENT, "name",
          tallyport_counter_get(engine, TALLYPORT_STR("a\0b"), NULL, 0, &counter, &err));
    FAILS(TALLYPORT_INVALID_ARGUMENT, "labels", labelled(two, 2, &err));
    two[1].name = TALLYPORT_STR("__reserved");
    FAILS(TALLYPORT_INVALID_ARGUMENT, "labels", labelled(two, 2, &err));
    for (size_t i = 0; i < sizeof many / sizeof *many; i++) many[i] = two[0];
    FAILS(TALLYPORT_INVALID_ARGUMENT, "labels", labelled(many, 65, &err));
    FAILS(TALLYPORT_INVALID_ARGUMENT, "labels", labelled(many, 5000, &err));
    FAILS(TALLYPORT_INVALID_ARGUMENT, "labels", labelled(many, SIZE_MAX, &err));
    FAILS(TALLYPORT_INVALID_ARGUMENT, "labels",
          labelled((const tallyport_label *)(const void *)((const char *)many + 1), 1, &err));
    two[1].name = TALLYPORT_STR("le");
    FAILS(TALLYPORT_INVALID_ARGUMENT, "labels",
          tallyport_histogram_get(engine, str("took"), NULL, 0, two, 2, &histogram, &err));
}

static void bounds_and_conflicts(void) {
    const double falling[] = {1, 2, 2};
    const double infinite[] = {1, HUGE_VAL};
    const double good[] = {1, 2};
    const double other[] = {1, 3};
    tallyport_family_options family;

    FAILS(TALLYPORT_INVALID_ARGUMENT, "bounds",
          tallyport_histogram_get_z(engine, "took", falling, 3, NULL, &histogram, &err));
    FAILS(TALLYPORT_INVALID_ARGUMENT, "bounds",
          tallyport_histogram_get_z(engine, "took", infinite, 2, NULL, &histogram, &err));
    FAILS(TALLYPORT_INVALID_ARGUMENT, "bounds",
          tallyport_histogram_get_z(engine, "took", good, SIZE_MAX, NULL, &histogram, &err));
    OK(tallyport_histogram_get_z(engine, "took", good, 2, NULL, &histogram, &err));
    tallyport_histogram_free(histogram);
    FAILS(TALLYPORT_CONFLICT, "name",
          tallyport_histogram_get_z(engine, "took", other, 2, NULL, &histogram, &err));
    FAILS(TALLYPORT_CONFLICT, "name",
          tallyport_counter_get_z(engine, "took", NULL, &counter, &err));

    memset(&family, 0, sizeof family);
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.size", tallyport_family_describe(engine, &family, &err));
    family.size = sizeof family;
    family.flags = 2;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.flags", tallyport_family_describe(engine, &family, &err));
    family.flags = 0;
    family.name = TALLYPORT_STR("new");
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.kind", tallyport_family_describe(engine, &family, &err));
    family.kind = TALLYPORT_KIND_GAUGE;
    family.number = TALLYPORT_NUMBER_U64;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.number", tallyport_family_describe(engine, &family, &err));
    family.number = TALLYPORT_NUMBER_F64;
    family.help = TALLYPORT_STR("\xff");
    FAILS(TALLYPORT_INVALID_UTF8, "options.help", tallyport_family_describe(engine, &family, &err));
}

static void engines_and_plugins(void) {
    const double falling[] = {2, 1};
    tallyport_engine *other = NULL;
    tallyport_engine_options options;
    tallyport_plugin_options plugin;
    tallyport_error *error = NULL;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.config_toml = TALLYPORT_STR("schema = 1\n[limits]\nmax_seires = 5\n");
    CHECK(tallyport_engine_open_with(&options, &other, &error) == TALLYPORT_CONFIG);
    CHECK(strstr(tallyport_error_message(error).ptr, ":3:1:"));
    CHECK(strstr(tallyport_error_message(error).ptr, "did you mean `max_series`"));
    tallyport_error_free(error);
    options.config_path = TALLYPORT_STR("both.toml");
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.config_toml",
          tallyport_engine_open_with(&options, &other, &err));
    options.config_path = TALLYPORT_STR("a\0b");
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.config_path",
          tallyport_engine_open_with(&options, &other, &err));
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.cells = 9;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.cells",
          tallyport_engine_open_with(&options, &other, &err));
    options.cells = 0;
    options.default_bounds = falling;
    options.default_bound_count = 2;
    CHECK(tallyport_engine_open_with(&options, &other, &error) == TALLYPORT_CONFIG);
    CHECK(strstr(tallyport_error_message(error).ptr, "histogram.default_bounds"));
    tallyport_error_free(error);
    CHECK(other == NULL);

    memset(&plugin, 0, sizeof plugin);
    plugin.size = sizeof plugin;
    plugin.name = TALLYPORT_STR("mine");
    plugin.path = TALLYPORT_STR("/dev/null");
    FAILS(TALLYPORT_PLUGIN_REFUSED, "path", tallyport_plugin_load(engine, &plugin, &err));
    plugin.options_json = TALLYPORT_STR("[1]");
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.options_json",
          tallyport_plugin_load(engine, &plugin, &err));
    plugin.path = TALLYPORT_STR("");
    plugin.exporter = TALLYPORT_STR("json");
    plugin.options_json = TALLYPORT_STR("{\"prety\": true}");
    CHECK(tallyport_plugin_load(engine, &plugin, &error) == TALLYPORT_CONFIG);
    CHECK(strstr(tallyport_error_message(error).ptr, "did you mean `pretty`"));
    tallyport_error_free(error);
    FAILS(TALLYPORT_NOT_FOUND, "name", tallyport_export_z(engine, "xml", &buf, &err));
    FAILS(TALLYPORT_UNSUPPORTED, "format", tallyport_export_z(engine, "csv/json", &buf, &err));
    FAILS(TALLYPORT_INVALID_ARGUMENT, "fd",
          tallyport_export_fd(engine, TALLYPORT_STR("json"), -1, &err));
    FAILS(TALLYPORT_IO, "fd", tallyport_export_fd(engine, TALLYPORT_STR("json"), 999, &err));
}

static int32_t told(void *data, const tallyport_event *event) {
    (void)data;
    (void)event;
    return 0;
}

static tallyport_status published(const tallyport_event_field *fields, size_t count,
                                  tallyport_error **err) {
    return tallyport_event_publish(engine, str("task.failed"), str(""), fields, count, err);
}

static void events(void) {
    const tallyport_str none = {NULL, 0}, broken = TALLYPORT_STR("caf\xc3");
    tallyport_event_field two[2];
    tallyport_listener_options options;
    tallyport_subscription *subscription = NULL;
    tallyport_topic *topic = NULL;

    const char *const names[] = {"", "task", "task.", ".x", "a..b", "task.*", "a b.c", "caf\xc3\xa9.x"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        FAILS(TALLYPORT_INVALID_ARGUMENT, "name",
              tallyport_event_publish(engine, str(names[i]), none, NULL, 0, &err));
        FAILS(TALLYPORT_INVALID_ARGUMENT, "name",
              tallyport_event_define(engine, str(names[i]), none, none, &err));
    }
    FAILS(TALLYPORT_INVALID_ARGUMENT, "correlation_id",
          tallyport_event_publish(engine, str("a.b"), str("two words"), NULL, 0, &err));
    FAILS(TALLYPORT_INVALID_UTF8, "correlation_id",
          tallyport_event_publish(engine, str("a.b"), broken, NULL, 0, &err));
    FAILS(TALLYPORT_INVALID_ARGUMENT, "payload_json",
          tallyport_event_publish_json(engine, str("a.b"), none, str("[1]"), &err));
    FAILS(TALLYPORT_INVALID_ARGUMENT, "payload_json",
          tallyport_event_publish_json(engine, str("a.b"), none, str("{\"a\":"), &err));
    OK(tallyport_event_publish_json(engine, str("a.b"), none, none, &err));
    FAILS(TALLYPORT_NOT_FOUND, "name", tallyport_topic_get(engine, str("a.b"), &topic, &err));

    memset(two, 0, sizeof two);
    OK(published(two, 2, &err)); /* names may be empty */
    two[1].name = broken;
    FAILS(TALLYPORT_INVALID_UTF8, "fields[1].name", published(two, 2, &err));
    two[1].name = none;
    two[1].type = 7;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "fields[1].type", published(two, 2, &err));
    two[1].type = TALLYPORT_FIELD_STR;
    two[1].text.len = 3;
    FAILS(TALLYPORT_NULL_ARGUMENT, "fields[1].text", published(two, 2, &err));
    two[1].text = broken;
    FAILS(TALLYPORT_INVALID_UTF8, "fields[1].text", published(two, 2, &err));
    two[1].type = TALLYPORT_FIELD_JSON;
    two[1].text = TALLYPORT_STR("{");
    FAILS(TALLYPORT_INVALID_ARGUMENT, "fields[1].text", published(two, 2, &err));
    two[1].text = none;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "fields[1].text", published(two, 2, &err));
    FAILS(TALLYPORT_INVALID_ARGUMENT, "fields", published(two, SIZE_MAX, &err));
    static tallyport_event_field many[100];
    OK(published(many, 100, &err));

    FAILS(TALLYPORT_INVALID_ARGUMENT, "schema_json",
          tallyport_event_define(engine, str("a.b"), none, str("[]"), &err));
    FAILS(TALLYPORT_INVALID_ARGUMENT, "schema_json",
          tallyport_event_define(engine, str("a.b"), none, str("{\"type\":\"sum\"}"), &err));
    FAILS(TALLYPORT_ALREADY_EXISTS, "name",
          tallyport_event_define(engine, str("task.failed"), none, none, &err));

    memset(&options, 0, sizeof options);
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.size",
          tallyport_event_subscribe(engine, &options, &subscription, &err));
    options.size = sizeof options;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.events",
          tallyport_event_subscribe(engine, &options, &subscription, &err));
    options.events = TALLYPORT_STR("task.* *.failed");
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.events",
          tallyport_event_subscribe(engine, &options, &subscription, &err));
    options.events = TALLYPORT_STR("*");
    options.name = TALLYPORT_STR("a b");
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.name",
          tallyport_event_subscribe(engine, &options, &subscription, &err));
    options.name = none;
    options.queue_events = UINT64_MAX;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.queue_events",
          tallyport_event_subscribe(engine, &options, &subscription, &err));
    options.queue_events = 1;
    options.function = told;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.queue_events",
          tallyport_event_subscribe(engine, &options, &subscription, &err));
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.queue_events",
          tallyport_handler_register(engine, &options, &err));
    options.queue_events = 0;
    FAILS(TALLYPORT_INVALID_ARGUMENT, "options.name",
          tallyport_handler_register(engine, &options, &err));
    options.name = TALLYPORT_STR("bill");
    FAILS(TALLYPORT_NOT_FOUND, "options.name", tallyport_handler_replace(engine, &options, &err));
    options.function = NULL;
    FAILS(TALLYPORT_NULL_ARGUMENT, "options.function",
          tallyport_handler_register(engine, &options, &err));
    CHECK(subscription == NULL && topic == NULL);
}

int main(void) {
    OK(tallyport_engine_open_z(NULL, &engine, &err));
    text();
    names_and_labels();
    bounds_and_conflicts();
    engines_and_plugins();
    events();
    tallyport_engine_close(engine);
    return 0;
}
