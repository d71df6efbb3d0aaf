//! Every class of error with its exact place, several at once, and what a good file becomes.

use std::{fs, path::Path};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Config, ConfigErrors, LogLevel, PluginConfig, TargetConfig, types::MAX_BOUNDS};
use crate::{
    metrics::{Cells, Metrics, Share},
    model::{Error, ErrorKind, SystemClock, schema::Schema},
};

const EXAMPLE: &str = include_str!("example.toml");

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, "t.toml", Path::new("/etc/shop"))
}

/// The lines that are said about a text that is wrong, without the file's name.
fn problems(text: &str) -> Vec<String> {
    let said = parse(text).expect_err("the text is wrong").to_string();
    said.lines().map(|line| line.strip_prefix("t.toml:").unwrap_or(line).to_owned()).collect()
}

fn options(toml: &str) -> Value {
    let config = parse(&format!("schema = 1\n[plugins.x.options]\n{toml}")).expect("valid");
    Value::Object(config.plugins["x"].options.clone())
}

#[test]
fn the_documented_example_parses() {
    let config = parse(EXAMPLE).expect("the example is valid");
    assert_eq!(config.service_name, "shop");
    assert_eq!(config.log.level, LogLevel::Info);
    assert_eq!(config.base_dir, Path::new("/etc/shop"));
    assert_eq!(config.source.origin(), "t.toml");
    let defaults = Config::default();
    assert_eq!(config.limits, defaults.limits);
    assert_eq!(config.histogram, defaults.histogram);
    let statsd = &config.plugins["statsd"];
    assert_eq!(statsd.exporter.as_deref(), Some("statsd_lines"));
    assert!(statsd.enabled && statsd.required);
    assert_eq!(Value::Object(statsd.options.clone()), json!({ "prefix": "shop." }));
    let file = statsd.file(&config.base_dir).expect("a path");
    assert_eq!(file, Path::new("/etc/shop/plugins/libstatsd_lines.so"));
    let line = 1 + EXAMPLE.lines().position(|line| line == "[plugins.statsd]").expect("a table");
    assert_eq!(statsd.line, line);
    let csv = &config.plugins["csv"];
    assert!(csv.enabled && !csv.required);
    assert_eq!(csv.file(&config.base_dir), None);
    assert_eq!(csv.options["columns"][3], "labels");
    assert_eq!(config.check(), Ok(()));
}

#[test]
fn the_schema_version_is_enough() {
    let mut config = parse("schema = 1").expect("valid");
    (config.base_dir, config.source) = Default::default();
    assert_eq!(config, Config::default());
}

#[test]
fn an_absolute_plugin_path_stays() {
    let config = parse("schema = 1\nplugins.x.path = '/opt/x.so'").expect("valid");
    assert_eq!(config.plugins["x"].file(&config.base_dir).as_deref(), Some(Path::new("/opt/x.so")));
}

#[test]
fn the_schema_version_is_required_and_must_be_known() {
    for empty in ["", "# nothing\n", "service_name = 'x'"] {
        assert_eq!(problems(empty), ["1:1: missing key `schema`"]);
    }
    assert_eq!(problems("\nschema = 2"), ["2:10: `schema`: must be 1"]);
    assert_eq!(problems("schema = '1'"), ["1:10: `schema`: expected an integer, found a string"]);
}

#[test]
fn an_unknown_key_names_the_nearest_one() {
    assert_eq!(
        problems("schema = 1\nservce_name = 'x'\ncolour = 'red'"),
        [
            "2:1: unknown key `servce_name` (did you mean `service_name`?)",
            "3:1: unknown key `colour`"
        ]
    );
    assert_eq!(
        problems("schema = 1\n[plugins.csv]\n  optoins = {}"),
        ["3:3: unknown key `plugins.csv.optoins` (did you mean `options`?)"]
    );
    assert_eq!(
        problems("schema = 1\n\n[limts]\nmax_series = 1"),
        ["3:2: unknown key `limts` (did you mean `limits`?)"]
    );
}

#[test]
fn every_problem_is_reported_at_once_in_the_order_of_the_file() {
    let text = "\
servce_name = 'x'
[plugins.'a b']
path = ''
[plugins.csv]
optoins = {}
enabled = 'yes'
[limits]
max_series = 0
max_series_per_family = 'x'
[log]
level = 'inof'
[histogram]
default_bounds = [1, nan, 'x']
";
    assert_eq!(
        problems(text),
        [
            "1:1: unknown key `servce_name` (did you mean `service_name`?)",
            "1:1: missing key `schema`",
            "2:1: `plugins.\"a b\"`: a plugin's name has 1 to 64 letters, digits, `.`, `_` and `-` only",
            "3:8: `plugins.\"a b\".path`: must have at least 1 character, has 0",
            "5:1: unknown key `plugins.csv.optoins` (did you mean `options`?)",
            "6:11: `plugins.csv.enabled`: expected a boolean, found a string",
            "8:14: `limits.max_series`: must be at least 1, is 0",
            "9:25: `limits.max_series_per_family`: expected an integer, found a string",
            "11:9: `log.level`: must be \"off\", \"error\", \"warn\", \"info\", \"debug\" or \
             \"trace\" (did you mean `info`?)",
            "13:22: `histogram.default_bounds[1]`: must be a finite number",
            "13:27: `histogram.default_bounds[2]`: expected a number, found a string",
        ]
    );
}

#[test]
fn a_wrong_type_names_the_expected_one() {
    for (line, said) in [
        ("service_name = 1", "16: `service_name`: expected a string, found an integer"),
        ("limits = 5", "10: `limits`: expected a table, found an integer"),
        ("plugins = []", "11: `plugins`: expected a table, found an array"),
        ("plugins.x = 'csv'", "13: `plugins.x`: expected a table, found a string"),
        ("plugins.x.path = true", "18: `plugins.x.path`: expected a string, found a boolean"),
        ("plugins.x.options = 1", "21: `plugins.x.options`: expected a table, found an integer"),
        ("log.level = 3", "13: `log.level`: expected a string, found an integer"),
        ("limits.max_series = 1.0", "21: `limits.max_series`: expected an integer, found a number"),
        (
            "histogram.default_bounds = {}",
            "28: `histogram.default_bounds`: expected an array, found a table",
        ),
        (
            "service_name = 1979-05-27\nlimits.max_series = 07:32:00",
            "21: `limits.max_series`: expected an integer, found a string",
        ),
    ] {
        let line_number = line.lines().count() + 1;
        assert_eq!(problems(&format!("schema = 1\n{line}")), [format!("{line_number}:{said}")]);
    }
}

#[test]
fn limits_have_a_range() {
    for key in ["max_series", "max_series_per_family", "max_cell_bytes"] {
        for value in ["0", "-1", "4_611_686_018_427_387_904", "18_446_744_073_709_551_615"] {
            let found = problems(&format!("schema = 1\n[limits]\n{key} = {value}"));
            let place = format!("3:{}: `limits.{key}`: must be at ", key.len() + 4);
            assert!(found[0].starts_with(&place) && found.len() == 1, "{found:?}");
        }
    }
    let found = problems("schema = 1\nlimits.max_series = 18446744073709551616");
    assert_eq!(found, ["2:21: `limits.max_series`: does not fit in 64 bits"]);
    // The engine's limit comes first, so a higher one per family is no contradiction.
    assert!(parse("schema = 1\nlimits.max_series = 10").is_ok());
}

#[test]
fn histogram_bounds_are_finite_increasing_and_not_empty() {
    let found =
        |bounds: &str| problems(&format!("schema = 1\n[histogram]\ndefault_bounds = {bounds}"));
    let key = "`histogram.default_bounds";
    assert_eq!(found("[]"), [format!("3:18: {key}`: must have at least 1 element, has 0")]);
    for (bounds, column) in [("[1, inf]", 22), ("[1, -inf]", 22), ("[nan]", 19), ("[1e999]", 19)] {
        let index = usize::from(column == 22);
        assert_eq!(
            found(bounds),
            [format!("3:{column}: {key}[{index}]`: must be a finite number")]
        );
    }
    assert_eq!(
        found("[1, 2.5, 2.5, 2, 3]"),
        [
            format!("3:27: {key}[2]`: must be more than the bound before it, 2.5, is 2.5"),
            format!("3:32: {key}[3]`: must be more than the bound before it, 2.5, is 2"),
        ]
    );
    let many: Vec<_> = (0..=MAX_BOUNDS).map(|bound| bound.to_string()).collect();
    assert_eq!(
        found(&format!("[{}]", many.join(","))),
        [format!("3:18: {key}`: must have at most 512 elements, has 513")]
    );
}

#[test]
fn metrics_take_as_many_bounds_as_the_configuration_does() {
    let take = |count: u32| {
        let bounds: Vec<_> = (0..count).map(f64::from).collect();
        Metrics::new(
            Default::default(),
            Cells::Shared,
            &Share::Auto,
            &bounds,
            std::sync::Arc::new(SystemClock::default()),
        )
    };
    let most = u32::try_from(MAX_BOUNDS).unwrap();
    assert!(take(most).is_ok());
    assert!(take(most + 1).is_err());
}

#[test]
fn plugin_names_paths_and_exporters_are_usable() {
    let good = "schema = 1\n[plugins.\"vendor.x-1_B\"]\npath = 'a b/ü.so'";
    assert!(parse(good).is_ok());
    for name in ["", "a b", "ü", "a/b", "a\\nb"] {
        let found = problems(&format!("schema = 1\n[plugins.\"{name}\"]"));
        assert!(found[0].starts_with("2:1: `plugins.\"") && found.len() == 1, "{found:?}");
        assert!(found[0].ends_with("letters, digits, `.`, `_` and `-` only"), "{found:?}");
    }
    assert_eq!(
        problems("schema = 1\nplugins.x = { path = \"a\\u0000b\", exporter = '' }"),
        [
            "2:22: `plugins.x.path`: must not contain a NUL character",
            "2:45: `plugins.x.exporter`: must have at least 1 character, has 0"
        ]
    );
}

#[test]
fn dotted_keys_inline_tables_and_arrays_of_tables_have_places() {
    assert_eq!(
        problems("schema = 1\nplugins.csv.enabledd = true"),
        ["2:13: unknown key `plugins.csv.enabledd` (did you mean `enabled`?)"]
    );
    assert_eq!(
        problems("schema = 1\nplugins = { csv = { path = 3, x.y = 1 } }"),
        [
            "2:28: `plugins.csv.path`: expected a string, found an integer",
            "2:31: unknown key `plugins.csv.x`"
        ]
    );
    assert_eq!(
        problems("schema = 1\n[[plugins.x]]\npath = 'a'\n[[plugins.x]]"),
        ["2:1: `plugins.x`: expected a table, found an array"]
    );
    assert_eq!(
        problems(
            "schema = 1\n[plugins.x]\n[[plugins.x.options.to]]\na = 1\n[[plugins.x.options.to]]\na = [[1], [nan]]"
        ),
        ["6:12: `plugins.x.options.to[1].a[1][0]`: must be a finite number"]
    );
}

#[test]
fn line_ends_and_a_byte_order_mark_do_not_shift_places() {
    let unix = "schema = 1\nx = 1\n[log]\nlevel = 'loud'\n";
    let expected = problems(unix);
    assert_eq!(expected[0], "2:1: unknown key `x`");
    assert!(expected[1].starts_with("4:9: `log.level`"));
    assert_eq!(problems(&unix.replace('\n', "\r\n")), expected);
    assert_eq!(problems(&format!("\u{feff}{unix}")), expected);
    assert_eq!(problems("\u{feff}x = 1\nschema = 1"), ["1:1: unknown key `x`"]);
}

#[test]
fn columns_count_characters() {
    assert_eq!(
        problems("schema = 1\nplugins = { \"é✓\" = { \tx = 1 } }"),
        [
            "2:20: `plugins.\"é✓\"`: a plugin's name has 1 to 64 letters, digits, `.`, `_` and `-` only",
            "2:23: unknown key `plugins.\"é✓\".x`"
        ]
    );
}

#[test]
fn all_syntax_errors_are_reported_one_a_line() {
    let found = problems("schema = 1\nlog = \n[limits\nmax = == 2\n[plugins.x]\nn = 01\n");
    let lines: Vec<_> = found.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["2", "3", "4", "6"], "{found:?}");
    assert_eq!(
        problems("schema = 1\nlog.level = \"info"),
        ["2:18: invalid basic string, expected `\"`"]
    );
}

#[test]
fn a_duplicate_key_is_named() {
    assert_eq!(
        problems("schema = 1\n[plugins.x]\nenabled = true\nenabled = false\n[plugins.x]\n"),
        ["4:1: duplicate key `enabled`", "5:10: duplicate key `x`"]
    );
}

#[test]
fn deep_nesting_is_an_error_not_a_crash() {
    for text in [
        format!("{}a = 1", "a.".repeat(50_000)),
        format!("[{}a]", "a.".repeat(50_000)),
        format!("a = {}", "[".repeat(50_000)),
        format!("a = {}", "{a=".repeat(50_000)),
    ] {
        assert!(parse(&text).is_err());
    }
}

#[test]
fn a_flood_of_problems_is_cut_and_counted() {
    let text: String = (0..20_000).map(|n| format!("key{n}=1\n")).collect();
    let errors = parse(&text).expect_err("unknown keys");
    assert_eq!(errors.problems.len(), 201);
    assert_eq!(errors.problems[200].message, "and 19801 more");
    assert_eq!(errors.problems[199].line, 199);
    let text = "=\n".repeat(20_000);
    assert_eq!(parse(&text).expect_err("syntax").problems.len(), 201);
}

#[test]
fn options_keep_their_types() {
    let toml = "i = -3\nbig = 9223372036854775807\nhex = 0xff\nf = 2.0\nexp = 1e3\ns = 'x'\nb = true\n\
                a = [1, 'x', [2.5]]\nt.u = {}\n";
    assert_eq!(
        options(toml),
        json!({
            "i": -3, "big": i64::MAX, "hex": 255, "f": 2.0, "exp": 1000.0, "s": "x", "b": true,
            "a": [1, "x", [2.5]], "t": { "u": {} },
        })
    );
    assert!(options("f = 2.0")["f"].is_f64());
}

#[test]
fn datetimes_become_text() {
    assert_eq!(
        options(
            "a = 1979-05-27T07:32:00Z\nb = 1979-05-27 00:32:00.5-07:00\nc = 1979-05-27\nd = 07:32:00"
        ),
        json!({
            "a": "1979-05-27T07:32:00Z", "b": "1979-05-27T00:32:00.5-07:00", "c": "1979-05-27",
            "d": "07:32:00",
        })
    );
}

#[test]
fn every_default_equals_the_one_in_the_schema() {
    let schema = Config::json_schema();
    let defaults = |at: &Value| {
        let properties = at["properties"].as_object().expect("properties").clone();
        properties
            .into_iter()
            .filter_map(|(key, mut one)| Some((key, one.get_mut("default")?.take())))
    };
    let compare = |at: &Value, actual: Value| {
        let mut compared = 0;
        for (key, default) in defaults(at) {
            assert_eq!(actual[&key], default, "{key}");
            compared += 1;
        }
        compared
    };
    let actual = serde_json::to_value(Config::default()).unwrap();
    assert_eq!(compare(&schema, actual.clone()), 12);
    let definitions = &schema["$defs"];
    assert_eq!(compare(&definitions["ServeConfig"], actual["serve"].clone()), 18);
    assert_eq!(compare(&definitions["Limits"], actual["limits"].clone()), 5);
    assert_eq!(compare(&definitions["RecordingConfig"], actual["recording"].clone()), 4);
    assert_eq!(compare(&definitions["HistogramConfig"], actual["histogram"].clone()), 1);
    assert_eq!(compare(&definitions["LoadingConfig"], actual["loading"].clone()), 6);
    assert_eq!(compare(&definitions["StoreConfig"], actual["store"].clone()), 8);
    assert_eq!(compare(&definitions["SyncConfig"], actual["sync"].clone()), 11);
    assert_eq!(compare(&definitions["ExportConfig"], actual["export"].clone()), 4);
    let target = serde_json::to_value(TargetConfig::default()).unwrap();
    assert_eq!(compare(&definitions["TargetConfig"], target.clone()), 18);
    assert_eq!(compare(&definitions["HttpConfig"], target["http"].clone()), 11);
    assert_eq!(compare(&definitions["LogConfig"], actual["log"].clone()), 1);
    let plugin = serde_json::to_value(PluginConfig::default()).unwrap();
    assert_eq!(compare(&definitions["PluginConfig"], plugin.clone()), 11);
    assert_eq!(compare(&definitions["RunConfig"], plugin["run"].clone()), 10);
    assert_eq!(compare(&definitions["HelperConfig"], plugin["helper"].clone()), 3);
    let schema = Schema::compile(&schema).expect("the own schema compiles");
    assert_eq!(schema.check(&actual), []);
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let config = Config::default();
    assert_eq!(config.limits.max_series, 1_000_000);
    assert_eq!(config.limits.max_series_per_family, 100_000);
    let bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    assert_eq!(config.histogram.default_bounds, bounds);
}

#[test]
fn every_key_of_the_schema_is_described() {
    let schema = Config::json_schema();
    let mut tables: Vec<_> = schema["$defs"].as_object().unwrap().values().collect();
    tables.push(&schema);
    for table in tables {
        let described =
            |one: &Value| one["description"].as_str().is_some_and(|text| text.len() > 5);
        assert!(described(table));
        let properties = table["properties"].as_object().into_iter().flatten();
        for (key, property) in properties {
            assert!(described(property), "{key}");
        }
    }
}

#[test]
fn a_configuration_from_code_is_checked_by_the_same_rules() {
    let mut config = Config::default();
    assert_eq!(config.check(), Ok(()));
    config.limits.max_series = 0;
    config.histogram.default_bounds = vec![f64::NAN, 1.0];
    let plugin = PluginConfig { path: Some("".into()), ..PluginConfig::default() };
    config.plugins.insert("a/b".to_owned(), plugin);
    let errors = config.check().expect_err("wrong");
    assert_eq!(
        errors.to_string(),
        "`limits.max_series`: must be between 1 and 4294967295, is 0\n\
         `histogram.default_bounds[0]`: must be a finite number\n\
         `plugins.\"a/b\"`: a plugin's name has 1 to 64 letters, digits, `.`, `_` and `-` only\n\
         `plugins.\"a/b\".path`: must not be empty; leave the key out instead"
    );
    assert_eq!((errors.problems[0].line, errors.problems[0].column), (0, 0));
}

#[test]
fn wrong_options_are_placed_in_the_file() {
    let config =
        parse("schema = 1\n[plugins.csv.options]\nheader = 'yes'\ncolums = []").expect("valid");
    let schema = json!({
        "properties": { "header": { "type": "boolean" }, "columns": {} },
        "additionalProperties": false,
        "required": ["separator"],
    });
    let check = |config: &Config| {
        let options = Value::Object(config.plugins["csv"].options.clone());
        let violations = Schema::compile(&schema).unwrap().check(&options);
        config.options_errors("csv", violations).to_string()
    };
    assert_eq!(
        check(&config),
        "t.toml:2:1: missing key `plugins.csv.options.separator`\n\
         t.toml:3:10: `plugins.csv.options.header`: expected a boolean, found a string\n\
         t.toml:4:1: unknown key `plugins.csv.options.colums` (did you mean `columns`?)"
    );
    let by_code = Config { plugins: config.plugins, ..Config::default() };
    assert!(check(&by_code).starts_with("unknown key `plugins.csv.options.colums`"));
}

#[test]
fn what_is_served_has_addresses_paths_and_credentials() {
    let serve = |keys: &str| problems(&format!("schema = 1\n[serve]\n{keys}"));
    for (keys, wanted) in [
        ("listen = 'nowhere'", "`serve.listen`"),
        ("listen = 'localhost:9464'", "127.0.0.1:9464"),
        ("metrics_path = 'metrics'", "`serve.metrics_path`"),
        ("metrics_path = '/a?b'", "`serve.metrics_path`"),
        ("health_path = '/metrics'", "its own"),
        ("formats = []", "`serve.formats`"),
        ("formats = ['']", "`serve.formats`"),
        ("auth = 'bearer'", "is needed"),
        ("credentials_file = 'x'", "only used"),
        ("workers = 0", "`serve.workers`"),
        ("max_head_bytes = 100", "`serve.max_head_bytes`"),
        ("idle_timeout_ms = 0", "`serve.idle_timeout_ms`"),
    ] {
        let said = serve(keys);
        assert_eq!(said.len(), 1, "{said:?}");
        // What is missing is placed at its table.
        assert!(said[0].contains(wanted) && said[0].starts_with(['2', '3']), "{said:?}");
    }
    assert!(parse("schema = 1\n[serve]\nlisten = '[::1]:0'").is_ok());
}

#[test]
fn errors_become_the_engines_error() {
    let error = Error::from(parse("schema = 1\nx = 1\ny = 1").expect_err("wrong"));
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(error.field(), Some("x"));
    assert_eq!(error.to_string(), "t.toml:2:1: unknown key `x`\nt.toml:3:1: unknown key `y`");
    let error = Error::from(parse("=").expect_err("wrong"));
    assert_eq!((error.kind(), error.field()), (ErrorKind::Config, None));
}

#[test]
fn a_loaded_file_resolves_paths_from_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tallyport.toml");
    fs::write(&file, "schema = 1\nplugins.x.path = 'lib/x.so'").unwrap();
    let config = Config::load(&file).expect("valid");
    assert_eq!(config.base_dir, folder.path());
    assert_eq!(config.source.origin(), file.display().to_string());
    let plugin = config.plugins["x"].file(&config.base_dir);
    assert_eq!(plugin, Some(folder.path().join("lib/x.so")));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let said = |name: &str, content: Option<&[u8]>| {
        let file = folder.path().join(name);
        if let Some(content) = content {
            fs::write(&file, content).unwrap();
        }
        let said = Config::load(&file).expect_err("wrong").to_string();
        let rest = said.strip_prefix(&format!("{}:", file.display())).expect("the file's name");
        rest.trim().to_owned()
    };
    assert!(said("absent.toml", None).starts_with("cannot be read: No such file"));
    assert!(said("", None).starts_with("cannot be read: "), "a folder");
    assert_eq!(
        said("latin1.toml", Some(b"schema = 1\nservice_name = \"caf\xe9\"\n")),
        "2:20: is not UTF-8: byte 0xe9 begins no character"
    );
    assert_eq!(
        said("utf16.toml", Some(b"\xff\xfes\0c\0")),
        "1:1: is not UTF-8: byte 0xff begins no character"
    );
    let large = format!("schema = 1\n#{}", "x".repeat(1 << 20));
    assert_eq!(
        said("large.toml", Some(large.as_bytes())),
        "is larger than 1048576 bytes, so it is no configuration file"
    );
    assert_eq!(problems(&large).len(), 1);
    let fits = format!("schema = 1\n#{}", "x".repeat((1 << 20) - 12));
    assert!(parse(&fits).is_ok());
}

/// Lines that are nearly a configuration.
fn nearly() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "schema",
        "limits",
        "max_series",
        "histogram",
        "default_bounds",
        "log",
        "level",
        "plugins",
        "options",
        "path",
        "x",
        "\"é b\"",
        "=",
        " = ",
        ".",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        ",",
        "1",
        "-1",
        "2.5",
        "nan",
        "inf",
        "1e999",
        "99999999999999999999",
        "true",
        "'info'",
        "\"",
        "'''",
        "1979-05-27",
        "\n",
        "\n",
        "\r\n",
        "\r",
        "\t",
        "#",
        "\u{feff}",
        "\u{0}",
        "\\u00",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Keys and values in the right shape, of any type.
fn shaped() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "schema",
        "service_name",
        "limits.max_series",
        "histogram.default_bounds",
        "log.level",
        "plugins.x",
        "plugins.x.path",
        "plugins.y.options",
        "plugins.\"a b\".enabled",
        "colour",
    ]);
    let value = prop::sample::select(vec![
        "1",
        "0",
        "-7",
        "2.5",
        "nan",
        "true",
        "'info'",
        "''",
        "[]",
        "[1, 2]",
        "[2, 1]",
        "[nan, 'x']",
        "{}",
        "{ a = 1 }",
        "{ path = '' }",
        "07:32:00",
    ]);
    prop::collection::vec((key, value), 0..8)
        .prop_map(|lines| lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect())
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in prop_oneof![nearly(), shaped(), any::<String>()]) {
        let said = |errors: ConfigErrors| (errors.to_string(), errors.problems);
        match parse(&text).map_err(said) {
            Ok(config) => prop_assert_eq!(config.check(), Ok(())),
            Err((said, problems)) => {
                prop_assert!(!said.is_empty() && !said.contains("a bug in Tallyport"), "{}", said);
                let lines = text.matches('\n').count() + 1;
                for problem in problems {
                    prop_assert!((1..=lines).contains(&problem.line) && problem.column >= 1);
                }
            }
        }
    }
}
