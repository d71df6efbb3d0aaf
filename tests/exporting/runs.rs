//! One run of a target: whose data, under which lease, told to whom, and what a failure leaves.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    sync::{Arc, Mutex, mpsc::channel},
    thread,
    time::Duration,
};

use serde_json::Value;
use tallyport_core::{
    engine::{Part, RunOptions},
    event::Listen,
    export::{Again, Ending, Fencing, Gathered, Skip},
    model::ErrorKind,
    store::{Claim, Leases, Owner, SqliteStore, Wish},
};

use crate::{
    add, engine, export,
    testing::{RedisServer, free_port},
};

const FILE: &str = "[targets.main]\nexporter = 'prometheus'\npath = 'out.prom'\n";
const SQLITE: &str = "[store]\nkind = 'sqlite'\npath = 'store.db'\n";

fn metric(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|number| number.parse().unwrap())
}

fn read(folder: &Path) -> String {
    fs::read_to_string(folder.join("out.prom")).unwrap()
}

#[test]
fn an_export_for_all_syncs_first_and_is_fenced() {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!("{SQLITE}{FILE}mode = '0640'\n");
    let (a, b) = (engine(&toml, folder.path()), engine(&toml, folder.path()));
    add(&a, 3);
    add(&b, 4);
    a.sync().unwrap();
    let first = export(&b, "main");
    assert!(matches!(first.ending, Ending::Delivered), "{first:?}");
    assert_eq!(first.gathered, Some(Gathered::Shared { instances: 2 }));
    assert_eq!(first.fencing, Fencing::Fenced);
    assert_eq!(metric(&read(folder.path()), "requests_total"), Some(7));
    let mode = fs::metadata(folder.path().join("out.prom")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let second = export(&a, "main");
    assert!(second.token > first.token, "{second:?}");
    // The lease was given back, and its token is remembered.
    let standing = a.target_lease("main").unwrap();
    assert_eq!((standing.token, standing.holder), (second.token, None));
    let own = a.snapshot().unwrap();
    let mut text = Vec::new();
    a.export_snapshot(&own, "prometheus", &mut |bytes| {
        text.extend_from_slice(bytes);
        Ok(())
    })
    .unwrap();
    let text = String::from_utf8(text).unwrap();
    for (name, value) in [
        ("tallyport_export_runs_total{target=\"main\"}", 1),
        ("tallyport_export_duration_seconds_count{target=\"main\"}", 1),
    ] {
        assert_eq!(metric(&text, name), Some(value), "{text}");
    }
    assert!(text.contains("tallyport_export_last_success_timestamp_seconds{target=\"main\"} 1"));
}

#[test]
fn a_lease_that_another_process_has_makes_a_run_needless() {
    let folder = tempfile::tempdir().unwrap();
    let one = engine(&format!("{SQLITE}{FILE}"), folder.path());
    let path = folder.path().join("store.db");
    let mut store = SqliteStore::open(&path, Duration::from_secs(10)).unwrap();
    let wish = Wish {
        lease: "export:main",
        owner: Owner(1),
        holder: "web:7",
        term: Duration::from_secs(3600),
    };
    assert!(matches!(store.acquire(&wish).unwrap(), Claim::Granted(_)));
    let run = export(&one, "main");
    let Ending::Skipped(Skip::Leased { holder, left }) = &run.ending else { panic!("{run:?}") };
    assert_eq!(holder, "web:7");
    assert!(*left > Duration::from_secs(3000) && run.is_success());
    assert!(!folder.path().join("out.prom").exists());
    // It synced all the same: whoever exports has its data.
    assert_eq!(one.sync_status().syncs, 1);
    let json = run.to_json();
    assert_eq!((&json["ending"], &json["skipped"]), (&"skipped".into(), &"leased".into()));
    assert_eq!(json["holder"], "web:7");
}

#[test]
fn where_nobody_can_be_asked_each_exports_its_own_and_says_so() {
    let port = free_port();
    let store =
        format!("[store]\nkind = 'redis'\nurl = 'redis://127.0.0.1:{port}/'\ndeadline_ms = 5000\n");
    let folder = tempfile::tempdir().unwrap();
    let one = engine(&format!("{store}{FILE}"), folder.path());
    add(&one, 3);
    let run = export(&one, "main");
    assert!(matches!(run.ending, Ending::Delivered), "{run:?}");
    let Some(Gathered::Own { because: Some(because) }) = &run.gathered else { panic!("{run:?}") };
    assert!(because.contains("the lease of target `main`: Redis store: connect"), "{because}");
    assert_eq!((run.fencing, run.token), (Fencing::Absent, None));
    assert_eq!(metric(&read(folder.path()), "requests_total"), Some(3));
    // Who has no data of its own has nothing to fall back to.
    let options = RunOptions { part: Part::Observer, ..RunOptions::default() };
    let run = one.export_target("main", &options).unwrap();
    let Ending::Failed { error, again, .. } = run.ending else { panic!() };
    assert_eq!((error.kind(), again), (ErrorKind::Io, Again::Later));
    let strict = engine(&format!("{store}{FILE}without_lease = 'fail'\n"), folder.path());
    assert!(!export(&strict, "main").is_success());

    // It is there again: the next run exports for all.
    let _server = RedisServer::start_at(port, &[]);
    let run = export(&strict, "main");
    assert_eq!(run.gathered, Some(Gathered::Shared { instances: 1 }), "{run:?}");
    assert_eq!((run.fencing, run.attempt), (Fencing::Fenced, 2));
}

#[test]
fn without_a_store_each_exports_its_own_and_needs_no_lease() {
    let folder = tempfile::tempdir().unwrap();
    let one = engine(FILE, folder.path());
    add(&one, 3);
    let run = export(&one, "main");
    assert_eq!(run.gathered, Some(Gathered::Own { because: None }));
    assert_eq!(one.target_lease("main").unwrap_err().kind(), ErrorKind::Unsupported);
    let error = one.export_target("mian", &RunOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("configured: main"), "{error}");
    let observer = RunOptions { part: Part::Observer, ..RunOptions::default() };
    let run = one.export_target("main", &observer).unwrap();
    let Ending::Failed { error, again, .. } = run.ending else { panic!() };
    assert_eq!((error.kind(), again), (ErrorKind::Unsupported, Again::Never));
}

#[test]
fn a_run_is_told_as_events_of_one_id() {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!("{SQLITE}{FILE}[targets.bad]\nexporter = 'prometheus'\npath = 'no/out'\n");
    let one = engine(&toml, folder.path());
    let told = Arc::new(Mutex::new(Vec::<Value>::new()));
    let heard = Arc::clone(&told);
    let listen = Listen::to(&["export.*", "cache.synced"]);
    let _subscription = one.events().subscribe(listen, move |event| {
        heard.lock().unwrap().push(event.to_json());
        Ok(())
    });
    let good = export(&one, "main");
    let bad = export(&one, "bad");
    let Ending::Failed { error, again, retry } = &bad.ending else { panic!("{bad:?}") };
    assert_eq!((error.kind(), *again, *retry), (ErrorKind::Io, Again::Never, None));
    let told = told.lock().unwrap();
    let names: Vec<_> = told.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "cache.synced",
            "export.requested",
            "export.completed",
            "cache.synced",
            "export.requested",
            "export.failed"
        ]
    );
    for (index, run) in [(1, &good), (2, &good), (4, &bad), (5, &bad)] {
        let payload = &told[index]["payload"];
        assert_eq!(payload["export_id"], run.export_id.as_str());
        assert_eq!(payload["target"], run.target.as_str());
        one.events().catalogue().get(names[index]).unwrap().check(payload).unwrap();
    }
}

#[test]
fn a_run_of_a_target_that_runs_is_skipped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let one = engine("[targets.out]\nexporter = 'prometheus'\npath = 'out.prom'\n", folder.path());
    add(&one, 1);
    let (begun, wait) = channel();
    let (go_on, stopped) = channel::<()>();
    let stopped = Mutex::new(stopped);
    // A listener of its own run's event holds it up.
    let _subscription = one.events().subscribe(Listen::to(&["export.requested"]), move |_| {
        begun.send(()).unwrap();
        stopped.lock().unwrap().recv().unwrap();
        Ok(())
    });
    let other = one.clone();
    let first = thread::spawn(move || export(&other, "out"));
    wait.recv().unwrap();
    let second = export(&one, "out");
    assert!(matches!(second.ending, Ending::Skipped(Skip::Overlap)), "{second:?}");
    go_on.send(()).unwrap();
    assert!(matches!(first.join().unwrap().ending, Ending::Delivered));
    assert_eq!(one.export_history().len(), 2);
}

#[test]
fn a_full_disk_leaves_the_old_file_and_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let mount = |options: &str| {
        let mut command = Command::new("mount");
        let status = command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder.path());
        assert!(status.status().unwrap().success(), "mounting a tmpfs needs root");
    };
    mount("size=64k");
    let one = engine(FILE, folder.path());
    add(&one, 1);
    assert!(export(&one, "main").is_success());
    let before = read(folder.path());
    for number in 0..3000 {
        let path = format!("/a/rather/long/path/{number}");
        one.metrics().counter("pages_total", &[("path", path.as_str())]).unwrap().inc();
    }
    let run = export(&one, "main");
    let now = read(folder.path());
    let names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    mount("remount,size=8m");
    let again = export(&one, "main");
    let unmounted = Command::new("umount").arg(folder.path()).status().unwrap();
    assert!(unmounted.success());
    let Ending::Failed { error, again: may, retry } = run.ending else { panic!("{run:?}") };
    assert_eq!((error.kind(), error.os_error()), (ErrorKind::Io, Some(28)), "{error}");
    assert_eq!((may, retry.is_some()), (Again::Later, true));
    assert!(now == before, "the old file was touched");
    assert_eq!(names, ["out.prom"]);
    assert!(matches!(again.ending, Ending::Delivered), "{again:?}");
    let text = String::from_utf8(one.export_to_vec("prometheus").unwrap()).unwrap();
    let name = "tallyport_export_failures_total{target=\"main\",reason=\"io\"}";
    let other = "tallyport_export_failures_total{reason=\"io\",target=\"main\"}";
    assert_eq!(metric(&text, name).or(metric(&text, other)), Some(1), "{text}");
}

#[test]
fn data_of_others_lives_until_the_next_export() {
    let server = RedisServer::start(&[]);
    let store = format!("[store]\nkind = 'redis'\nurl = '{}'\nshards = 1\n", server.url());
    let week = 7 * 86_400_000_u64;
    let windows = format!("[export]\nretention_window_ms = {week}\nsafety_margin_ms = 3600000\n");
    let folder = tempfile::tempdir().unwrap();
    let one = engine(&format!("{store}{windows}{FILE}"), folder.path());
    add(&one, 3);
    one.sync().unwrap();
    let id = one.sync_status().identity.unwrap();
    let key = format!("{{tallyport:tallyport:0}}:i:{id}");
    let left = || -> u64 {
        server.command(&["PTTL", &key]).trim_matches([':', '\r', '\n']).parse().unwrap()
    };
    assert!(left() <= 86_400_000);
    assert!(export(&one, "main").is_success());
    // The next export comes in a week less an hour: what waits for it must live as long.
    assert!(left() > week - 600_000, "{}", left());
}

/// A lease that ends in the middle of a run: asked for right before the send, so nothing is sent.
#[test]
fn a_lease_that_ended_before_the_delivery_delivers_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // It would be asked for nothing.
    let receiver = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    receiver.set_nonblocking(true).unwrap();
    let port = receiver.local_addr().unwrap().port();
    let push = format!(
        "[export]\nlease_ms = 100\n[targets.push]\nexporter = 'prometheus'\n\
         destination = 'http'\n[targets.push.http]\nurl = 'http://127.0.0.1:{port}/'\n"
    );
    let plugin = "[targets.plugin]\nexporter = 'prometheus'\ndestination = 'plugin'\n";
    let one = engine(&format!("{SQLITE}{FILE}{push}{plugin}"), folder.path());
    assert!(export(&one, "main").is_success());
    let before = read(folder.path());
    let leases = ["main", "push", "plugin"].map(|target| format!("export:{target}"));
    let path = folder.path().join("store.db");
    let taken = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&taken);
    // Asked for its value in the middle of a run, it comes back when the run's lease is another one's.
    let take = move || {
        let mut store = SqliteStore::open(&path, Duration::from_secs(20)).unwrap();
        for lease in &leases {
            if store.standing(lease).unwrap().holder.is_none() {
                continue;
            }
            let term = Duration::from_secs(600);
            let wish = Wish { lease, owner: Owner(7), holder: "another:1", term };
            while !matches!(store.acquire(&wish).unwrap(), Claim::Granted(_)) {
                thread::yield_now();
            }
            seen.lock().unwrap().push(lease.clone());
        }
        1.0
    };
    let _function = one.metrics().gauge_fn("slow", &[], take).unwrap();
    for target in ["main", "push", "plugin"] {
        let run = export(&one, target);
        let Ending::Failed { error, again, .. } = &run.ending else { panic!("{run:?}") };
        assert_eq!((error.kind(), *again), (ErrorKind::Unavailable, Again::Later), "{error}");
        let said = format!("the lease `export:{target}` (token ");
        assert!(error.to_string().contains(&said), "{error}");
        assert_eq!(taken.lock().unwrap().last(), Some(&format!("export:{target}")));
    }
    assert_eq!(read(folder.path()), before);
    assert!(receiver.accept().is_err(), "somebody was asked");
}

#[test]
fn an_exporter_that_delivers_by_itself_has_a_lease_that_lasts_for_its_call() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = "[export]\nlease_ms = 100\n[targets.own]\nexporter = 'prometheus'\n\
                  destination = 'plugin'\ntimeout_ms = 600000\n";
    let one = engine(&format!("{SQLITE}{plugin}"), folder.path());
    add(&one, 3);
    let run = export(&one, "own");
    assert!(matches!(run.ending, Ending::Delivered), "{run:?}");
    assert_eq!((run.destination, run.fencing), ("plugin", Fencing::Advisory));
    assert!(run.token.is_some() && run.series > 0 && run.bytes > 0, "{run:?}");
    assert_eq!(run.gathered, Some(Gathered::Shared { instances: 1 }));
}

#[test]
fn the_history_keeps_the_last_runs() {
    let folder = tempfile::tempdir().unwrap();
    let one = engine(&format!("[export]\nhistory = 3\n{FILE}"), folder.path());
    let ids: Vec<String> = (0..5).map(|_| export(&one, "main").export_id).collect();
    let kept: Vec<String> = one.export_history().into_iter().map(|run| run.export_id).collect();
    assert_eq!(kept, ids[2..]);
    let none = engine(&format!("[export]\nhistory = 0\n{FILE}"), folder.path());
    assert!(export(&none, "main").is_success());
    assert!(none.export_history().is_empty());
}
