//! `tallyport export --target|--all`: one attempt per target, and an exit code that says what to do.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod common;

use std::{
    net::{Ipv4Addr, TcpListener},
    time::Duration,
};

use common::Place;
use serde_json::Value;
use tallyport_core::{
    engine::{Engine, config::Config},
    store::{Claim, Held, Leases, Owner, SqliteStore, Wish},
};

const STORE: &str = "schema = 1\n[store]\nkind = \"sqlite\"\npath = \"store.db\"\n";
const MAIN: &str = "[targets.main]\nexporter = \"prometheus\"\npath = \"main.prom\"\n";
const BAD: &str = "[targets.bad]\nexporter = \"prometheus\"\npath = \"absent/bad.prom\"\n";

/// A place with a configuration and a store that a host has synced 5 requests to.
fn place(targets: &str) -> Place {
    let place = Place::new();
    let text = format!("{STORE}{targets}");
    let config = Config::load(place.write("tallyport.toml", text)).unwrap();
    let host = Engine::builder().config(config).build().unwrap();
    host.metrics().counter("requests_total", &[]).unwrap().add(5);
    host.sync().unwrap();
    place
}

fn unused_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn push(name: &str, port: u16) -> String {
    format!(
        "[targets.{name}]\nexporter = \"prometheus\"\ndestination = \"http\"\n\
         [targets.{name}.http]\nurl = \"http://127.0.0.1:{port}/\"\n"
    )
}

#[test]
fn every_enabled_target_is_exported_for_all_instances() {
    let off = "[targets.off]\nexporter = \"csv\"\npath = \"off.csv\"\nenabled = false\n";
    let place =
        place(&format!("{MAIN}[targets.second]\nexporter = \"csv\"\npath = \"b.csv\"\n{off}"));
    place.run("export --all -c tallyport.toml").exits(0).silent();
    assert!(place.read("main.prom").contains("requests_total 5\n"));
    assert!(place.read("b.csv").contains("requests_total"));
    assert!(!place.path("off.csv").exists());
    place.run("export --target off -c tallyport.toml").exits(0).silent();
    assert!(place.path("off.csv").exists());
    let run = place.run("export -t main -c tallyport.toml --report text").exits(0);
    assert!(run.stderr.contains("target `main`: "), "{run:?}");
    assert!(run.stderr.contains("of 1 instances") && run.stderr.contains("(fenced)"), "{run:?}");
    let run = place.run("export --all -c tallyport.toml --report json").exits(0);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["schema"], "tallyport.targets/1");
    let names: Vec<_> =
        report["targets"].as_array().unwrap().iter().map(|it| &it["target"]).collect();
    assert_eq!(names, ["main", "second"]);
    let one = &report["targets"][0];
    assert_eq!((&one["ending"], &one["fencing"]), (&"delivered".into(), &"fenced".into()));
    assert_eq!(one["data"]["of"], "all");
}

#[test]
fn exit_codes_say_what_failed_and_whether_to_come_again() {
    let later = push("later", unused_port());
    let place = place(&format!("{MAIN}{BAD}{later}"));
    let command = |targets: &str| place.run(&format!("export {targets} -c tallyport.toml"));
    command("-t main").exits(0);
    command("-t bad").fails(10, &["target `bad`", "No such file", "a later try will fail too"]);
    command("-t later").fails(5, &["target `later`", "a later try may succeed"]);
    command("-t bad -t later").fails(5, &["`bad`", "`later`"]);
    command("-t main -t bad").fails(4, &["1 of 2 targets failed"]);
    command("--all").fails(4, &["2 of 3 targets failed"]);
    command("-t mian").fails(2, &["no target is called `mian`", "configured: bad, later, main"]);
    place.run("export --all").fails(2, &["--config FILE"]);
    command("--all --format csv").exits(2);
    command("--shared --format csv --lock wait").fails(2, &["are for targets"]);
    command("--all --timeout 1d").exits(2);
    let run = command("-t bad --report json").exits(10);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let one = &report["targets"][0];
    assert_eq!((&one["retryable"], &one["retry_after_ms"]), (&false.into(), &Value::Null));
    let run = command("-t later --report json").exits(5);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(report["targets"][0]["retry_after_ms"].as_f64().unwrap() >= 1000.0, "{report}");
}

#[test]
fn a_held_lease_is_success_unless_it_is_asked_for() {
    let place = place(MAIN);
    let mut store = SqliteStore::open(&place.path("store.db"), Duration::from_secs(10)).unwrap();
    let wish = |term| Wish { lease: "export:main", owner: Owner(1), holder: "web:7", term };
    let Claim::Granted(token) = store.acquire(&wish(Duration::from_secs(3600))).unwrap() else {
        panic!("taken")
    };
    let export = |more: &str| place.run(&format!("export --all -c tallyport.toml {more}"));
    export("").exits(0).silent();
    let run = export("--report text").exits(0);
    assert!(run.stderr.contains("skipped: `web:7` exports it"), "{run:?}");
    export("--fail-on-skip").fails(6, &["another process exports"]);
    export("--lock wait --timeout 300ms").fails(8, &["until the deadline"]);
    assert!(!place.path("main.prom").exists());
    // Who waits exports as soon as it can.
    assert!(
        store
            .renew(&Held { lease: "export:main", owner: Owner(1), token }, Duration::from_secs(1))
            .unwrap()
    );
    export("--lock wait --timeout 60s").exits(0).silent();
    assert!(place.path("main.prom").exists());
}

#[test]
fn a_command_that_shares_nothing_has_nothing_to_export() {
    let place = Place::new();
    place.write("tallyport.toml", format!("schema = 1\n{MAIN}"));
    place.run("export --all -c tallyport.toml").fails(10, &["hosts export it themselves"]);
    place.write("tallyport.toml", "schema = 1\n");
    place.run("export --all -c tallyport.toml").fails(2, &["no target is enabled"]);
    let wrong = format!("schema = 1\n{MAIN}strategy = \"sheduled\"\n");
    place.write("tallyport.toml", wrong);
    place.run("export --all -c tallyport.toml").fails(3, &["tallyport.toml:5:", "scheduled"]);
    place.write(
        "tallyport.toml",
        format!("{STORE}[targets.main]\nexporter = \"csw\"\npath = \"x\"\n"),
    );
    place
        .run("export --all -c tallyport.toml")
        .fails(10, &["no exporter or format is called `csw`"]);
}

#[test]
fn a_target_on_stdout_keeps_the_report_on_stderr() {
    let place = place("[targets.out]\nexporter = \"prometheus\"\ndestination = \"stdout\"\n");
    let run = place.run("export --all -c tallyport.toml --report json").exits(0);
    assert!(run.stdout.contains("requests_total 5\n") && !run.stdout.contains('{'), "{run:?}");
    let report: Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!(report["targets"][0]["fencing"], "advisory");
}
