//! The functions of tallyport.h, read from the header, and a C program that calls each of them with
//! every wrong handle and every pointer that must not be NULL. Nothing here is a list by hand, so a
//! new function is covered when it is written.

use std::fmt::Write as _;

/// One function of the header.
pub(crate) struct Function {
    pub(crate) returns: String,
    pub(crate) name: String,
    pub(crate) arguments: Vec<Argument>,
}

/// One argument: its type without `struct` and `const`, its name, and the function that it is of.
pub(crate) struct Argument {
    of: String,
    pub(crate) ty: String,
    pub(crate) name: String,
}

/// Objects that have handles, with how a host gets one.
const HANDLES: &[(&str, &str)] = &[
    ("tallyport_engine", "tallyport_engine_open_z(NULL, &H, NULL)"),
    ("tallyport_counter", "tallyport_counter_get_z(engine, \"c\", NULL, &H, NULL)"),
    ("tallyport_counter_f64", "tallyport_counter_f64_get(engine, str(\"cf\"), NULL, 0, &H, NULL)"),
    ("tallyport_up_down_counter", "tallyport_up_down_counter_get_z(engine, \"u\", NULL, &H, NULL)"),
    (
        "tallyport_up_down_counter_f64",
        "tallyport_up_down_counter_f64_get(engine, str(\"uf\"), NULL, 0, &H, NULL)",
    ),
    ("tallyport_gauge", "tallyport_gauge_get_z(engine, \"g\", NULL, &H, NULL)"),
    ("tallyport_histogram", "tallyport_histogram_get_z(engine, \"h\", NULL, 0, NULL, &H, NULL)"),
    (
        "tallyport_counter_family",
        "tallyport_counter_family_get(engine, str(\"cv\"), NULL, 0, &H, NULL)",
    ),
    (
        "tallyport_counter_f64_family",
        "tallyport_counter_f64_family_get(engine, str(\"cfv\"), NULL, 0, &H, NULL)",
    ),
    (
        "tallyport_up_down_counter_family",
        "tallyport_up_down_counter_family_get(engine, str(\"uv\"), NULL, 0, &H, NULL)",
    ),
    (
        "tallyport_up_down_counter_f64_family",
        "tallyport_up_down_counter_f64_family_get(engine, str(\"ufv\"), NULL, 0, &H, NULL)",
    ),
    (
        "tallyport_gauge_family",
        "tallyport_gauge_family_get(engine, str(\"gv\"), NULL, 0, &H, NULL)",
    ),
    (
        "tallyport_histogram_family",
        "tallyport_histogram_family_get(engine, str(\"hv\"), NULL, 0, NULL, 0, &H, NULL)",
    ),
    ("tallyport_snapshot_handle", "tallyport_snapshot_take(engine, &H, NULL)"),
    ("tallyport_subscription", "tallyport_event_subscribe(engine, &listener, &H, NULL)"),
    ("tallyport_collector", "tallyport_collector_register(engine, fresh_collector(), &H, NULL)"),
    ("tallyport_log_ring", "tallyport_log_ring_new(&ring_options, &H, NULL)"),
    ("tallyport_topic", "tallyport_topic_get(engine, str(\"task.failed\"), &H, NULL)"),
    ("tallyport_error", "TALLYPORT_OK == tallyport_export_z(engine, \"none\", &buf, &H)"),
];

/// Pointers that may be NULL, as the header says.
const OPTIONAL: &[&str] = &[
    "tallyport_engine_open_z.config_path",
    "tallyport_counter_get_z.labels",
    "tallyport_up_down_counter_get_z.labels",
    "tallyport_gauge_get_z.labels",
    "tallyport_histogram_get_z.labels",
    "tallyport_export_cb.data",
    "tallyport_subscription_drain.data",
    "tallyport_log_ring_drain.data",
];

/// Handles that nobody gave out.
const INVENTED: &[&str] = &[
    "1",
    "8",
    "0x1000",
    "0x7fffffffffff",
    "0x1100000001000000",
    "0x21ffffffffffffff",
    "UINTPTR_MAX",
];

/// Every function that the header declares.
pub(crate) fn functions(header: &str) -> Vec<Function> {
    let mut code = String::new();
    let mut rest = header;
    while let Some((before, comment)) = rest.split_once("/*") {
        code.push_str(before);
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    code.push_str(rest);
    let lines: Vec<&str> = code.lines().filter(|line| !line.starts_with('#')).collect();
    // A struct's fields end in `;` too; only declarations begin at the margin.
    let mut found = Vec::new();
    let mut lines = lines.into_iter();
    while let Some(line) = lines.next() {
        let declares = line.starts_with(|c: char| c.is_alphabetic()) && line.contains("tallyport_");
        if !declares || line.starts_with("typedef") || !line.contains('(') {
            continue;
        }
        let mut text = line.to_owned();
        while !text.ends_with(';') {
            text.push_str(lines.next().expect("a declaration ends"));
        }
        found.push(function(&text));
    }
    found
}

fn function(text: &str) -> Function {
    let (head, arguments) = text.split_once('(').expect("a function");
    let at = head.rfind([' ', '*']).expect("a type and a name") + 1;
    let inside = arguments.trim_end_matches(';').trim_end().trim_end_matches(')');
    let mut depth = 0;
    let split = inside.split(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    });
    let arguments = split.map(str::trim).filter(|text| !matches!(*text, "" | "void"));
    let of = &head[at..];
    Function {
        returns: words(&head[..at]),
        name: of.to_owned(),
        arguments: arguments.map(|text| argument(of, text)).collect(),
    }
}

fn argument(of: &str, text: &str) -> Argument {
    let of = of.to_owned();
    if let Some((_, name)) = text.split_once("(*") {
        let name = name.split(')').next().unwrap_or_default();
        return Argument { of, ty: "function *".to_owned(), name: name.to_owned() };
    }
    let at = text.rfind([' ', '*']).expect("a type and a name") + 1;
    Argument { of, ty: words(&text[..at]), name: text[at..].to_owned() }
}

/// The type's words without `const` and `struct`.
fn words(ty: &str) -> String {
    let spaced = ty.replace('*', " * ");
    let words = spaced.split_whitespace().filter(|word| !matches!(*word, "const" | "struct"));
    words.collect::<Vec<_>>().join(" ").replace("* *", "**")
}

impl Argument {
    /// The object that this is a handle of.
    fn handle(&self) -> Option<&'static str> {
        let object = self.ty.strip_suffix(" *")?;
        HANDLES.iter().map(|(name, _)| *name).find(|name| *name == object)
    }

    fn is_output(&self) -> bool {
        self.ty.ends_with(" **") && self.ty != "char **" || self.ty == "tallyport_buf *"
    }

    /// A good value.
    fn valid(&self) -> String {
        match (self.ty.as_str(), self.name.as_str()) {
            ("tallyport_str" | "char *", "name") => self.text("fresh"),
            ("tallyport_str" | "char *", "selector") => self.text("prometheus"),
            ("tallyport_str", "options_json") => "str(\"{}\")".to_owned(),
            ("tallyport_str" | "char *", _) => self.text("/nowhere/at/all"),
            ("tallyport_error **", _) => "&err".to_owned(),
            ("tallyport_plugin_options *", _) => "&plugin".to_owned(),
            ("tallyport_listener_options *", _) => "&listener".to_owned(),
            ("tallyport_collector_options *", _) => "fresh_collector()".to_owned(),
            ("tallyport_log_ring_options *", _) => "&ring_options".to_owned(),
            ("tallyport_engine_options *", _) => "&engine_options".to_owned(),
            ("tallyport_family_options *", _) => "&family".to_owned(),
            ("function *", "write") => "write_nothing".to_owned(),
            ("function *", _) if self.of == "tallyport_log_ring_drain" => "read_nothing".to_owned(),
            ("function *", _) => "hear_nothing".to_owned(),
            ("tallyport_plugin_v1 *" | "void *", _) => "(void *)&family".to_owned(),
            ("tallyport_buf *", _) => "&buf".to_owned(),
            (ty, name) if ty.ends_with(" **") && name != "labels" => format!("&{name}_out"),
            _ if self.handle().is_some() => {
                self.handle().map_or_else(String::new, |object| variable("live", object))
            }
            (ty, _) if ty.ends_with('*') => "NULL".to_owned(),
            _ => "0".to_owned(),
        }
    }

    fn text(&self, text: &str) -> String {
        if self.ty == "char *" { format!("\"{text}\"") } else { format!("str(\"{text}\")") }
    }

    /// The value that must be refused, if this is a pointer.
    fn null(&self) -> Option<&'static str> {
        match self.ty.as_str() {
            "tallyport_str" => Some("null_with_length"),
            ty if ty.ends_with('*') => Some("NULL"),
            _ => None,
        }
    }
}

fn variable(state: &str, object: &str) -> String {
    match (state, object) {
        ("live", "tallyport_engine") => "engine".to_owned(),
        _ => format!("{state}_{}", object.trim_start_matches("tallyport_")),
    }
}

/// A C program that makes every wrong call and checks every answer.
pub(crate) fn program(functions: &[Function]) -> String {
    let mut out = PRELUDE.to_owned();
    let mut setup = String::new();
    for (object, make) in HANDLES {
        let free = match *object {
            "tallyport_engine" => "tallyport_engine_close".to_owned(),
            _ => format!("{}_free", object.trim_end_matches("_handle")),
        };
        let (live, freed) = (variable("live", object), variable("freed", object));
        let _ = writeln!(out, "static {object} *{live}, *{freed};");
        for handle in [&live, &freed] {
            let _ =
                writeln!(setup, "    CHECK(({}) == 0);", make.replace("&H", &format!("&{handle}")));
        }
        let _ = writeln!(setup, "    {free}({freed});");
    }
    let mut calls = 0;
    for function in functions {
        let _ = writeln!(out, "\nstatic void wrong_{}(void) {{", function.name);
        let outputs = function.arguments.iter().filter(|argument| argument.is_output());
        for output in outputs.filter(|output| output.ty.ends_with("**") && output.name != "err") {
            let ty = output.ty.trim_end_matches('*');
            let _ = writeln!(out, "    {ty}*{}_out = NULL;", output.name);
        }
        for index in 0..function.arguments.len() {
            calls += function.wrong_calls(index, &mut out);
        }
        out.push_str("}\n");
    }
    let _ = write!(out, "\nint main(void) {{\n{setup}");
    for function in functions {
        let _ = writeln!(out, "    wrong_{}();", function.name);
    }
    let _ = writeln!(out, "{TEARDOWN}    printf(\"{calls} wrong calls\\n\");\n    return 0;\n}}");
    out
}

impl Function {
    /// Writes the wrong calls for one argument, and says how many.
    fn wrong_calls(&self, index: usize, out: &mut String) -> usize {
        let argument = &self.arguments[index];
        let place = format!("{}.{}", self.name, argument.name);
        let optional = OPTIONAL.contains(&place.as_str());
        let mut wrong: Vec<(String, &str)> = Vec::new();
        if let Some(null) = argument.null().filter(|_| !optional) {
            wrong.push((null.to_owned(), "TALLYPORT_NULL_ARGUMENT"));
        }
        if let Some(object) = argument.handle() {
            let bad = "TALLYPORT_BAD_HANDLE";
            wrong.push((variable("freed", object), bad));
            for (other, _) in HANDLES.iter().filter(|(other, _)| *other != object) {
                wrong.push((format!("(void *){}", variable("live", other)), bad));
            }
            wrong.extend(
                INVENTED.iter().map(|number| (format!("(void *)(uintptr_t){number}"), bad)),
            );
        }
        for (value, status) in &wrong {
            self.wrong_call(index, value, status, out);
        }
        wrong.len()
    }

    fn wrong_call(&self, index: usize, value: &str, status: &str, out: &mut String) {
        let wrong = &self.arguments[index];
        let values = self.arguments.iter().enumerate().map(|(at, argument)| match argument {
            _ if at == index => value.to_owned(),
            // A NULL array is wrong when it has elements.
            _ if at == index + 1 && argument.name.ends_with("_count") => "1".to_owned(),
            _ => argument.valid(),
        });
        let call = format!("{}({})", self.name, values.collect::<Vec<_>>().join(", "));
        let name = &wrong.name;
        if self.arguments.last().is_some_and(|last| last.name == "err") {
            if name == "err" {
                // What fails without a place for its error fails all the same.
                let first = &self.arguments[0];
                let (null, valid) = (first.null().unwrap_or("NULL"), first.valid());
                let call = call.replacen(&format!("({valid}"), &format!("({null}"), 1);
                let _ = writeln!(out, "    (void){call};");
                // One that NULL does not make wrong opens an engine, whose gigabytes of reserved cells
                // a leak check would read.
                if self.arguments.iter().any(|argument| argument.ty == "tallyport_engine **") {
                    let _ = writeln!(out, "    tallyport_engine_close(engine_out);");
                }
                return;
            }
            let _ = writeln!(out, "    refused(\"{name}\", {status}, {call});");
            for output in self.arguments.iter().filter(|a| a.is_output() && a.name != "err") {
                let place = match output.ty.as_str() {
                    "tallyport_buf *" => "buf.ptr".to_owned(),
                    _ => format!("{}_out", output.name),
                };
                let _ = writeln!(out, "    CHECK({place} == NULL);");
            }
        } else if self.records() {
            let _ = writeln!(out, "    misused({call});");
            if self.returns == "tallyport_status" {
                let _ = writeln!(out, "    CHECK({call} == TALLYPORT_BAD_HANDLE);");
            } else if self.returns != "void" {
                let _ = writeln!(out, "    CHECK(!({call} > 0));");
            }
        } else if self.returns == "tallyport_str" {
            let _ = writeln!(out, "    CHECK({call}.len == 0);");
        } else {
            let _ = writeln!(out, "    (void){call};");
        }
    }

    /// Whether it is called through a recording handle, so that misuse is counted.
    fn records(&self) -> bool {
        let object = self.arguments.first().and_then(Argument::handle);
        let cold = [
            "tallyport_engine",
            "tallyport_snapshot_handle",
            "tallyport_error",
            "tallyport_subscription",
            "tallyport_topic",
            "tallyport_collector",
            "tallyport_log_ring",
        ];
        object.is_some_and(|object| !cold.contains(&object)) && !self.name.ends_with("_free")
    }
}

const PRELUDE: &str = r#"/* Generated by tests/hosts/prototypes.rs from include/tallyport.h. */
#include "host.h"

static tallyport_error *err;
static tallyport_buf buf;
static const tallyport_str null_with_length = {NULL, 5};
static tallyport_plugin_options plugin = {.size = sizeof plugin};
static tallyport_engine_options engine_options = {.size = sizeof engine_options};
static tallyport_family_options family = {.size = sizeof family};
static tallyport_listener_options listener = {
    .size = sizeof listener, .events = TALLYPORT_STR_INIT("task.*")};

static int32_t write_nothing(void *data, const uint8_t *bytes, size_t len) {
    (void)data;
    (void)bytes;
    (void)len;
    return 0;
}

static int32_t hear_nothing(void *data, const tallyport_event *event) {
    (void)data;
    (void)event;
    return 0;
}

static int32_t read_nothing(void *data, const tallyport_log_line *line) {
    (void)data;
    (void)line;
    return 0;
}

static int32_t collect_nothing(void *data) {
    (void)data;
    return 0;
}

static tallyport_log_ring_options ring_options = {.size = sizeof ring_options};
/* A name has one function, so each registration is under a new one. */
static const tallyport_collector_options *fresh_collector(void) {
    static tallyport_collector_options options = {
        .size = sizeof options, .collect = collect_nothing};
    static char name[16];
    static int made;
    snprintf(name, sizeof name, "collector%d", made++);
    options.name = str(name);
    return &options;
}

static void refused_at(int line, const char *field, tallyport_status wanted, tallyport_status got) {
    if (got != wanted || !is(tallyport_error_field(err), field)) {
        fprintf(stderr, "line %d: %s for `%s`, not %s for `%s`: %s\n", line,
                tallyport_status_name(got), tallyport_error_field(err).ptr,
                tallyport_status_name(wanted), field, tallyport_error_message(err).ptr);
        exit(1);
    }
    tallyport_error_free(err);
    err = NULL;
}
#define refused(field, wanted, call) refused_at(__LINE__, field, wanted, call)
#define misused(call)                                                                              \
    do {                                                                                           \
        const uint64_t before = tallyport_misuse_count();                                          \
        (void)call;                                                                                \
        CHECK(tallyport_misuse_count() == before + 1);                                             \
    } while (0)

"#;

const TEARDOWN: &str = r#"
    /* What is live was left alone. */
    const uint64_t misuse = tallyport_misuse_count();
    tallyport_counter_add(live_counter, 1);
    CHECK(tallyport_counter_value(live_counter) == 1);
    CHECK(tallyport_histogram_count(live_histogram) == 0);
    CHECK(tallyport_error_code(live_error) == TALLYPORT_NOT_FOUND);
    CHECK(tallyport_misuse_count() == misuse);
    CHECK(tallyport_export_z(engine, "prometheus", &buf, NULL) == TALLYPORT_OK);
    CHECK(has(&buf, "c 1\n"));
    tallyport_buf_free(&buf);
    tallyport_counter_free(live_counter);
    tallyport_counter_f64_free(live_counter_f64);
    tallyport_up_down_counter_free(live_up_down_counter);
    tallyport_up_down_counter_f64_free(live_up_down_counter_f64);
    tallyport_gauge_free(live_gauge);
    tallyport_histogram_free(live_histogram);
    tallyport_counter_family_free(live_counter_family);
    tallyport_counter_f64_family_free(live_counter_f64_family);
    tallyport_up_down_counter_family_free(live_up_down_counter_family);
    tallyport_up_down_counter_f64_family_free(live_up_down_counter_f64_family);
    tallyport_gauge_family_free(live_gauge_family);
    tallyport_histogram_family_free(live_histogram_family);
    tallyport_snapshot_free(live_snapshot_handle);
    tallyport_subscription_free(live_subscription);
    tallyport_topic_free(live_topic);
    tallyport_collector_free(live_collector);
    tallyport_log_ring_free(live_log_ring);
    tallyport_error_free(live_error);
    tallyport_engine_close(engine);
"#;
