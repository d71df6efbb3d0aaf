//! `tallyport export`: data, reports, and how a run ends.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;

use common::{Place, plugin};
use tallyport_plugin_api::abi::{
    TALLYPORT_INTERNAL, TALLYPORT_IO, TALLYPORT_LIMIT, TALLYPORT_PLUGIN_FAILED, TALLYPORT_TIMEOUT,
    TALLYPORT_UNAVAILABLE,
};

const FROM: &str = "export --from app.snap --format";

#[test]
fn stdout_has_the_data_and_nothing_else() {
    let place = Place::new();
    let text = place.run(&format!("{FROM} prometheus")).exits(0).silent().stdout;
    assert!(text.contains("requests_total{method=\"GET\",path=\"/a\\\"b\\\\c\\nd\"} 7"), "{text}");
    let open = place.run(&format!("{FROM} openmetrics")).exits(0).silent().stdout;
    assert!(open.ends_with("# EOF\n"), "{open}");
    let json = place.run(&format!("{FROM} json")).exits(0).silent().json();
    assert_eq!(json["total_metrics"], json["metrics"].as_array().unwrap().len());
    let csv = place.run(&format!("{FROM} csv")).exits(0).silent().stdout;
    assert!(csv.starts_with("timestamp,name,type,value,labels"), "{csv}");
}

#[test]
fn a_selector_is_a_name_a_format_or_both() {
    let place = Place::new();
    place.config("mine", "");
    let with = |selector: &str| {
        place.run(&format!("{FROM} {selector} --report text -c tallyport.toml")).exits(0).stderr
    };
    assert!(with("mine").contains("by `mine` as names (text/plain; charset=utf-8)"));
    assert!(with("names").contains("by `mine` as names"));
    assert!(with("mine/other").contains("by `mine` as other (text/other)"));
    assert!(with("prometheus/openmetrics").contains("by `prometheus` as openmetrics"));
}

#[test]
fn a_json_report_takes_stdout_only_when_the_data_does_not() {
    let place = Place::new();
    let report =
        place.run(&format!("{FROM} csv -o out.csv --report json")).exits(0).silent().json();
    assert_eq!(report["schema"], "tallyport.export/1");
    assert_eq!(report["exporter"], "csv");
    assert_eq!(report["format"], "csv");
    assert!(report["content_type"].as_str().unwrap().starts_with("text/csv"));
    assert!(report["series"].as_u64().unwrap() >= 4);
    assert_eq!(report["bytes"], place.read("out.csv").len());
    assert!(report["duration_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(report["output"], "out.csv");
    let keys: Vec<_> = report.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys.len(), 8, "{keys:?}");

    let run = place.run(&format!("{FROM} csv --report json")).exits(0);
    assert_eq!(run.stdout, place.read("out.csv"));
    let report: serde_json::Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!(report["output"], "-");

    let run = place.run(&format!("{FROM} csv -o out.csv --report text")).exits(0);
    assert_eq!(run.stdout, "");
    run.says(&["exported ", "`csv`", "bytes to `out.csv`"]);
    place.run(&format!("{FROM} csv -o out.csv --report text -q")).exits(0).silent();
}

#[test]
fn usage_says_what_is_missing() {
    let place = Place::new();
    place.run("export --format json").fails(2, &["snapshot file", "--from FILE", "hint: "]);
    place.run("export --from app.snap").fails(2, &["--format", "plugins list"]);
    place.run("export").fails(2, &["snapshot file"]);
    place.run(&format!("{FROM} xml")).fails(
        2,
        &["`xml`", "prometheus (prometheus, openmetrics, prometheus_utf8, openmetrics_utf8)"],
    );
    place.run(&format!("{FROM} json/xml")).fails(2, &["`json` does not write `xml`"]);
    place.write("t.toml", "schema = 1\n[plugins.json]\nenabled = false\n");
    place
        .run(&format!("{FROM} json -c t.toml"))
        .fails(2, &["`json` is disabled", "set `enabled = true` at t.toml:2"]);
}

#[test]
fn what_a_plugin_answers_decides_the_exit_code() {
    let place = Place::new();
    for (status, code) in [
        (TALLYPORT_PLUGIN_FAILED, 10),
        (TALLYPORT_LIMIT, 10),
        (TALLYPORT_IO, 5),
        (TALLYPORT_TIMEOUT, 8),
        (TALLYPORT_INTERNAL, 1),
        (TALLYPORT_UNAVAILABLE, 5),
    ] {
        place.config("mine", &format!("fail = {status}"));
        let run = place.run(&format!("{FROM} mine -c tallyport.toml")).exits(code);
        run.says(&["tallyport: export: ", "plugin `mine`", "failed, as told"]);
    }
    place.config("mine", "panic = true");
    let run = place.run(&format!("{FROM} mine -c tallyport.toml")).exits(10);
    assert_eq!(run.signal, None);
    // A long export shows how far it came, and that it is not whole by the exit code alone.
    place.config("mine", &format!("repeat = 100000, fail = {TALLYPORT_PLUGIN_FAILED}"));
    let run = place.run(&format!("{FROM} mine -c tallyport.toml")).exits(10);
    assert!(run.stdout.contains("requests_total\n"));
}

#[test]
fn a_plugin_that_is_refused_matters_only_to_those_who_need_it() {
    let place = Place::new();
    place.write("broken.so", "no library");
    place.write("t.toml", "schema = 1\n[plugins.mine]\npath = \"broken.so\"\n");
    let run = place.run(&format!("{FROM} json -c t.toml")).exits(0);
    assert!(run.json()["metrics"].is_array());
    run.says(&["tallyport: warning: t.toml:2: plugin `mine`", "not an ELF file"]);
    place.run(&format!("{FROM} json -c t.toml -q")).exits(0).silent();

    let needed = ["plugin `mine`: refused", "t.toml:2: plugin `mine`", "not an ELF file"];
    place.run(&format!("{FROM} mine -c t.toml")).fails(9, &needed);
    place.run(&format!("{FROM} mine/other -c t.toml")).fails(9, &needed);
    // Nobody knows which formats it would have had.
    place.run(&format!("{FROM} names -c t.toml")).fails(9, &["`names`", "not an ELF file"]);

    place.write("t.toml", "schema = 1\n[plugins.mine]\npath = \"none.so\"\nrequired = true\n");
    place
        .run(&format!("{FROM} json -c t.toml"))
        .fails(9, &["plugin `mine`: required and refused", "none.so", "has no none.so"]);
}

#[test]
fn a_refused_exporter_is_not_replaced_by_another_of_its_format() {
    let place = Place::new();
    place.write(
        "t.toml",
        "schema = 1\n[plugins.csv]\npath = \"none.so\"\n[plugins.sheet]\nexporter = \"csv\"\n",
    );
    place.run(&format!("{FROM} csv -c t.toml")).fails(9, &["plugin `csv`: refused"]);
    place.run(&format!("{FROM} sheet -c t.toml")).exits(0).says(&["warning: "]);
}

#[test]
fn options_that_break_the_exporters_schema_are_the_configurations_fault() {
    let place = Place::new();
    place.config("mine", "warnn = \"x\", repeat = -1");
    let run = place.run(&format!("{FROM} mine -c tallyport.toml"));
    run.fails(3, &["tallyport.toml:5:", "warnn", "did you mean `warn`?", "repeat"]);
    place.config("mine", "refuse = true");
    place.run(&format!("{FROM} mine -c tallyport.toml")).fails(9, &["refused, as told"]);
}

#[test]
fn an_invalid_configuration_ends_before_anything_runs() {
    let place = Place::new();
    place.write("t.toml", "schema = 1\nservce_name = \"x\"\n");
    let run = place.run("export --from none.snap --format json -c t.toml");
    run.fails(3, &["t.toml:2:1: ", "did you mean `service_name`?"]);
}

#[test]
fn what_a_plugin_logs_is_heard_and_the_engine_only_when_asked() {
    let place = Place::new();
    place.config("mine", "warn = \"mind\\u001B[31m the gap\"");
    let words = format!("{FROM} mine -c tallyport.toml");
    let run = place.run(&words).exits(0);
    assert_eq!(run.stderr, "tallyport: warning: plugin `mine`: mind\\u{1b}[31m the gap\n");
    place.run(&format!("{words} -v")).exits(0).says(&["info: plugin `mine`: registered"]);
    place.run(&format!("{words} -vv")).exits(0).says(&["debug: plugin `mine`: a word for dev"]);
    place.run(&format!("{words} -q")).exits(0).silent();
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let place = Place::new();
    place.config("mine", "repeat = 100000");
    let script = format!("(tallyport {FROM} mine -c tallyport.toml; echo $? >code) | head -n 1");
    let run = place.shell(&script).exits(0).silent();
    assert_eq!(run.stdout.lines().count(), 1);
    assert_eq!(place.read("code"), "141\n");
    // A pipe that closed before it was written to.
    place.shell("mkfifo p; (tallyport plugins list; echo $? >code) >p & : <p; wait").silent();
    assert!(["0\n", "141\n"].contains(&place.read("code").as_str()));
}

#[test]
fn a_stdout_that_cannot_be_written_is_an_error() {
    let place = Place::new();
    let shell = |script: &str| place.shell(&format!("tallyport {script}"));
    shell(&format!("{FROM} json >/dev/full")).fails(5, &["stdout: No space left"]);
    shell("plugins list >/dev/full").fails(5, &["stdout: No space left"]);
    shell("--help >/dev/full").fails(5, &["stdout: No space left"]);
    shell(&format!("{FROM} json 1</dev/null")).fails(10, &["stdout: Bad file descriptor"]);
    // Each standard stream may be closed; nothing lands in a file that took its number.
    let before = std::fs::read(place.path("app.snap")).unwrap();
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let run = shell(&format!("{FROM} json -o out.json {closed}")).exits(0);
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""), "{closed}");
        assert!(place.read("out.json").starts_with('{'));
    }
    assert_eq!(std::fs::read(place.path("app.snap")).unwrap(), before);
}

#[test]
fn a_plugin_file_is_found_from_the_configurations_folder() {
    let place = Place::new();
    std::fs::create_dir(place.path("etc")).unwrap();
    std::fs::copy(plugin(), place.path("etc/mine.so")).unwrap();
    place.write("etc/t.toml", "schema = 1\n[plugins.mine]\npath = \"mine.so\"\n");
    place.run(&format!("{FROM} mine -c etc/t.toml")).exits(0).silent();
}

#[test]
fn what_all_instances_have_comes_from_the_store() {
    use tallyport_core::engine::{Engine, config::Config};

    let place = Place::new();
    let toml = "schema = 1\nstore = { kind = \"sqlite\", path = \"store.db\" }\n";
    place.write("tallyport.toml", toml);
    for amount in [3, 4] {
        let config = Config::load(place.path("tallyport.toml")).unwrap();
        let engine = Engine::builder().config(config).build().unwrap();
        engine.metrics().counter("hits_total", &[]).unwrap().add(amount);
        engine.metrics().gauge("level", &[]).unwrap().set(1.0);
        engine.sync().unwrap();
    }
    let run = place.run("export --shared -c tallyport.toml --format prometheus").exits(0);
    assert!(run.stdout.contains("hits_total 7\n"), "{}", run.stdout);
    assert!(run.stderr.contains("gauge `level` of several instances"), "{}", run.stderr);
    let run = place.run("export --shared --format prometheus").exits(3);
    assert!(run.stderr.contains("has no totals of all instances"), "{}", run.stderr);
    place.write("store.db", "x".repeat(5000));
    let run = place.run("export --shared -c tallyport.toml --format prometheus").exits(7);
    assert!(run.stderr.contains("store.db"), "{}", run.stderr);
    let _ = place.run("export --shared --from app.snap --format prometheus").exits(2);
}
