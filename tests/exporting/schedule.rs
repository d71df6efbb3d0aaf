//! The schedule's thread: what it does when, its end, its children. When is what is due is the
//! planner's, which is tested without time.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tallyport_core::{
    engine::Engine,
    event::Listen,
    export::{Ending, Gathered},
    model::ErrorKind,
};

use crate::{add, engine};

const LONG: Duration = Duration::from_secs(60);

fn until(what: &str, engine: &Engine, test: impl Fn() -> bool) {
    let start = Instant::now();
    while !test() {
        assert!(start.elapsed() < LONG, "{what}: {:?}", engine.export_history());
        thread::yield_now();
    }
}

fn delivered(engine: &Engine, target: &str) -> usize {
    let runs = engine.export_history();
    let of = runs.iter().filter(|run| run.target == target);
    of.filter(|run| matches!(run.ending, Ending::Delivered)).count()
}

#[test]
fn a_schedule_exports_until_it_is_stopped_and_then_once_more() {
    let folder = tempfile::tempdir().unwrap();
    let toml = "[targets.often]\nexporter = 'prometheus'\npath = 'often.prom'\ninterval_ms = 10\n\
                [targets.late]\nexporter = 'csv'\npath = 'late.csv'\ninterval_ms = 3600000\n\
                [targets.off]\nexporter = 'csv'\npath = 'off.csv'\nenabled = false\n";
    let one = engine(toml, folder.path());
    add(&one, 1);
    let told = Arc::new(AtomicUsize::new(0));
    let heard = Arc::clone(&told);
    let _subscription = one.events().subscribe(Listen::to(&["export.*"]), move |_| {
        heard.fetch_add(1, SeqCst);
        Ok(())
    });
    assert!(one.target_status().iter().all(|target| target.next_run_ns.is_none()));
    one.start_schedule().unwrap();
    assert_eq!(one.start_schedule().unwrap_err().kind(), ErrorKind::AlreadyExists);
    until("three exports", &one, || delivered(&one, "often") >= 3);
    let status = one.target_status();
    let late = status.iter().find(|target| target.name == "late").unwrap();
    assert!(late.next_run_ns.is_some(), "{late:?}");
    assert_eq!(delivered(&one, "late"), 0);
    add(&one, 41);
    one.stop_schedule(LONG).unwrap();
    assert!(!one.schedule_runs());
    // The last values are out.
    for name in ["often.prom", "late.csv"] {
        let text = fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(text.contains("42"), "{name}: {text}");
    }
    assert!(!folder.path().join("off.csv").exists());
    assert_eq!(told.load(SeqCst), 0, "the thread calls no listener of the host");
    let done = one.export_history().len();
    one.stop_schedule(LONG).unwrap();
    assert_eq!(one.export_history().len(), done);
    assert!(one.target_status().iter().all(|target| target.next_run_ns.is_none()));
    // It can be started again, and ends with the engine.
    one.start_schedule().unwrap();
    drop(one);
}

#[test]
fn an_event_and_a_number_of_changes_ask_for_an_export() {
    let folder = tempfile::tempdir().unwrap();
    let toml = "[targets.told]\nexporter = 'prometheus'\npath = 'told.prom'\nstrategy = 'event'\n\
                event = 'shop.closed'\n\
                [targets.many]\nexporter = 'prometheus'\npath = 'many.prom'\n\
                strategy = 'threshold'\nchanges = 3\ncheck_ms = 10\n";
    let one = engine(toml, folder.path());
    add(&one, 1);
    one.start_schedule().unwrap();
    one.events().publish("shop.closed", &[]).unwrap();
    until("the event's export", &one, || delivered(&one, "told") == 1);
    assert_eq!(delivered(&one, "many"), 0);
    for path in ["/a", "/b"] {
        one.metrics().counter("pages_total", &[("path", path)]).unwrap().inc();
    }
    until("the third series' export", &one, || delivered(&one, "many") == 1);
    // One more change is not three.
    add(&one, 1);
    one.events().publish("shop.closed", &[]).unwrap();
    until("the second event's export", &one, || delivered(&one, "told") == 2);
    assert_eq!(delivered(&one, "many"), 1);
    one.stop_schedule(LONG).unwrap();
    assert_eq!((delivered(&one, "told"), delivered(&one, "many")), (3, 2), "the last exports");
}

#[test]
fn a_failed_export_is_tried_again_by_the_schedule() {
    let folder = tempfile::tempdir().unwrap();
    let toml = "[targets.main]\nexporter = 'prometheus'\npath = 'out.prom'\nstrategy = 'event'\n\
                event = 'shop.closed'\nretry_ms = 10\n";
    let one = engine(toml, folder.path());
    // A fence that another process keeps does not concern one without a lease; a folder that is
    // missing is for good.
    one.start_schedule().unwrap();
    fs::create_dir(folder.path().join("out.prom")).unwrap();
    one.events().publish("shop.closed", &[]).unwrap();
    until("a failure", &one, || !one.export_history().is_empty());
    let run = one.export_history().remove(0);
    assert!(matches!(run.ending, Ending::Failed { retry: None, .. }), "{run:?}");
    fs::remove_dir(folder.path().join("out.prom")).unwrap();
    one.stop_schedule(LONG).unwrap();
    assert_eq!(delivered(&one, "main"), 1);
}

#[test]
fn of_two_schedules_one_exports_in_each_interval() {
    let folder = tempfile::tempdir().unwrap();
    let toml = "[store]\nkind = 'sqlite'\npath = 'store.db'\n\
                [targets.main]\nexporter = 'prometheus'\npath = 'out.prom'\ninterval_ms = 2000\n";
    let (a, b) = (engine(toml, folder.path()), engine(toml, folder.path()));
    add(&a, 3);
    add(&b, 4);
    a.start_schedule().unwrap();
    b.start_schedule().unwrap();
    let runs = |engine: &Engine| engine.export_history();
    until("exports", &a, || delivered(&a, "main") + delivered(&b, "main") >= 3);
    // From now on each exports for the last time, and leaves its turn to the other one.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let stopped = since.as_nanos() as u64;
    a.stop_schedule(LONG).unwrap();
    b.stop_schedule(LONG).unwrap();
    let mut tokens = Vec::new();
    let mut ends = Vec::new();
    for run in runs(&a).into_iter().chain(runs(&b)) {
        if let Ending::Delivered = run.ending {
            assert!(matches!(run.gathered, Some(Gathered::Shared { .. })), "{run:?}");
            tokens.push(run.token.unwrap());
            ends.push(run.started_ns);
        }
    }
    let count = tokens.len();
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), count, "a token twice");
    assert!(
        fs::read_to_string(folder.path().join("out.prom")).unwrap().contains("requests_total 7")
    );
    ends.retain(|start| *start < stopped);
    ends.sort();
    assert!(ends.len() >= 3, "{ends:?}");
    for pair in ends.windows(2) {
        let apart = pair[1] - pair[0];
        assert!(apart > 1_000_000_000, "{apart} ns between two exports of one interval");
    }
}

#[test]
fn no_target_is_no_schedule() {
    let folder = tempfile::tempdir().unwrap();
    let one = engine("", folder.path());
    assert_eq!(one.start_schedule().unwrap_err().kind(), ErrorKind::NotFound);
    one.stop_schedule(Duration::ZERO).unwrap();
}

#[test]
fn a_schedule_whose_exporter_hangs_is_left_at_the_deadline_of_its_stop() {
    let folder = tempfile::tempdir().unwrap();
    let hangs = tallyport_tests::plugin("hangs_in_export.c");
    let toml = format!(
        "[loading]\nprobe = 'never'\n[plugins.hangs]\npath = '{}'\n[targets.main]\n\
         exporter = 'hangs'\npath = 'out.prom'\ninterval_ms = 10\n",
        hangs.display()
    );
    let one = engine(&toml, folder.path());
    one.start_schedule().unwrap();
    // It is in the exporter when the file is there that it writes.
    until("the exporter's call", &one, || {
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.into_iter().any(|name| name.to_string_lossy().ends_with(".tmp"))
    });
    let error = one.stop_schedule(Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(!folder.path().join("out.prom").exists());
    // Its thread never ends, and an engine waits for its own.
    std::mem::forget(one);
}
