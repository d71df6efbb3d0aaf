//! SQLite: full, busy, killed, damaged, someone else's.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tallyport_core::{
    model::ErrorKind,
    store::{
        Answer, Claim, Epoch, FencingToken, Held, Identity, Lease, Leases, Owner, SqliteStore,
        Store, Wish,
    },
};

use crate::instances::{Instance, named};

fn at(path: &Path, deadline: Duration) -> Instance {
    Instance::new(Box::new(SqliteStore::open(path, deadline).unwrap()), named("a"))
}

/// Runs a test of this program in a process of its own, with a variable that says where the file is.
fn child(test: &str, path: &Path, before: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{before} exec \"$0\" \"$@\"")])
        .arg(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env("TALLYPORT_TEST_STORE", path);
    command
}

/// The file that a child process was given; `None` in the run of all tests.
fn given() -> Option<std::path::PathBuf> {
    env::var_os("TALLYPORT_TEST_STORE").map(Into::into)
}

/// Syncs while another process has the file, which ends in a time-out after 300 ms, and once more after.
#[track_caller]
fn waits_for_another_process(deadline: Duration, step: Option<Duration>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let mut a = at(&path, deadline);
    a.add("requests", "/", 5);
    a.sync();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    a.add("requests", "/", 1);
    let (start, snapshot) = (Instant::now(), a.snapshot());
    a.session.end_by(step.map(|step| start + step));
    let error = a.session.sync(&snapshot).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("store.db"), "{error}");
    assert!((0.2..30.0).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
    other.execute_batch("ROLLBACK").unwrap();
    a.session.end_by(None);
    a.sync();
    assert_eq!(a.total("requests", "/"), 6);
}

#[test]
fn a_store_that_another_process_writes_to_is_waited_for_until_the_deadline() {
    waits_for_another_process(Duration::from_millis(300), None);
}

#[test]
fn a_step_waits_for_another_process_no_longer_than_its_sync_may_take() {
    waits_for_another_process(Duration::from_secs(60), Some(Duration::from_millis(300)));
}

#[test]
fn a_step_waits_no_longer_where_others_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let deadline = Duration::from_secs(2);
    let mut store = SqliteStore::open(&path, deadline).unwrap();
    let other = Connection::open(&path).unwrap();
    // First nothing can be read, then nothing written: two statements wait.
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let (took, result) = std::thread::scope(|scope| {
        let step = scope.spawn(|| {
            let start = Instant::now();
            let result = store.probe();
            (start.elapsed(), result)
        });
        // The pause is what is tested, not a way to wait for something.
        std::thread::sleep(deadline * 9 / 10);
        other.execute_batch("COMMIT; BEGIN IMMEDIATE").unwrap();
        step.join().unwrap()
    });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Timeout);
    assert!((deadline..deadline * 3 / 2).contains(&took), "{took:?}");
}

#[test]
fn what_is_given_for_a_time_is_given_for_it_after_the_wait_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let mut store = SqliteStore::open(&path, Duration::from_secs(20)).unwrap();
    let (alive, pause) = (Duration::from_secs(3600), Duration::from_secs(1));
    let (id, owner) = (Identity(1), Owner(2));
    let lease = Lease { alive, data: alive };
    let Answer { epoch, .. } = store.register(id, "a", Epoch(7), lease).unwrap();
    let wish = Wish { lease: "export", owner, holder: "a", term: alive };
    let Claim::Granted(token) = store.acquire(&wish).unwrap() else { panic!() };
    let other = Connection::open(&path).unwrap();
    let ends = |sql| other.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    // The steps that give something, and where its end stands.
    type Does<'a> = &'a (dyn Fn(&mut SqliteStore) + Sync);
    let steps: [(Does<'_>, _); 3] = [
        (
            &|store| {
                store.publish(id, (epoch, epoch), lease, &[]).unwrap();
            },
            "SELECT lease_ms FROM instance WHERE id = x'00000000000000000000000000000001'",
        ),
        (
            &|store| {
                store.register(Identity(2), "b", epoch, lease).unwrap();
            },
            "SELECT lease_ms FROM instance WHERE id = x'00000000000000000000000000000002'",
        ),
        (
            &|store| {
                let held = Held { lease: "export", owner, token };
                assert!(store.renew(&held, alive).unwrap());
            },
            "SELECT until_ms FROM lease",
        ),
    ];
    for (step, end) in steps {
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let (begins, begun) = std::sync::mpsc::channel();
        let released = std::thread::scope(|scope| {
            scope.spawn(|| {
                begins.send(()).unwrap();
                step(&mut store);
            });
            begun.recv().unwrap();
            // The pause is what is tested, not a way to wait for something.
            std::thread::sleep(pause);
            let released = uptime_ms();
            other.execute_batch("COMMIT").unwrap();
            released
        });
        let left = ends(end) - released;
        assert!(left >= alive.as_millis() as i64, "{end}: {left} ms");
    }
}

/// CLOCK_BOOTTIME, cut to 10 ms.
fn uptime_ms() -> i64 {
    let text = fs::read_to_string("/proc/uptime").unwrap();
    let seconds: f64 = text.split(' ').next().unwrap().parse().unwrap();
    (seconds * 1000.0) as i64
}

#[test]
fn a_writer_that_is_killed_leaves_the_store_as_it_was() {
    if let Some(path) = given() {
        let connection = Connection::open(path).unwrap();
        // More than the cache holds, so that the file itself is changed before the commit.
        connection.execute_batch("PRAGMA cache_size = 2; BEGIN IMMEDIATE").unwrap();
        connection.execute_batch("UPDATE instance SET version = 77; DELETE FROM series").unwrap();
        for key in 0..2000_u32 {
            let row = (key.to_be_bytes().repeat(20), vec![7_u8; 200]);
            connection.execute("INSERT INTO total VALUES (?1, ?2)", row).unwrap();
        }
        println!("ready");
        std::thread::park();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let mut a = at(&path, Duration::from_secs(10));
    a.add("requests", "/", 5);
    a.sync();
    let name = "on_disk::a_writer_that_is_killed_leaves_the_store_as_it_was";
    let mut writer = child(name, &path, "").stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("ready")));
    assert!(fs::metadata(folder.path().join("store.db-journal")).unwrap().len() > 0);
    writer.kill().unwrap();
    writer.wait().unwrap();
    assert_eq!(a.total("requests", "/"), 5);
    a.add("requests", "/", 1);
    a.sync();
    assert_eq!(a.total("requests", "/"), 6);
    assert_eq!(a.session.mishaps(), Default::default());
}

#[test]
fn a_full_disk_is_an_error_and_changes_nothing() {
    if let Some(path) = given() {
        let mut b = at(&path, Duration::from_secs(10));
        for number in 0..2000 {
            b.add("requests", &format!("{}{number}", "long".repeat(50)), 1);
        }
        let snapshot = b.snapshot();
        let error = b.session.sync(&snapshot).unwrap_err();
        println!("refused {:?}: {error}", error.kind());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let mut a = at(&path, Duration::from_secs(10));
    a.add("requests", "/", 5);
    a.sync();
    let name = "on_disk::a_full_disk_is_an_error_and_changes_nothing";
    // No file of the child grows past 100 KiB; writes past it fail.
    let mut full = child(name, &path, "trap '' XFSZ; ulimit -f 200;");
    let output = full.stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("refused Io: SQLite store"), "{text}");
    a.add("requests", "/", 1);
    a.sync();
    assert_eq!(a.total("requests", "/"), 6);
}

#[test]
fn a_full_file_system_is_an_error_and_what_it_holds_stays() {
    if let Some(path) = given() {
        let mut a = at(&path, Duration::from_secs(10));
        a.add("requests", "/", 5);
        a.sync();
        let filler = path.with_file_name("filler");
        let mut file = fs::File::create(&filler).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
        for number in 0..2000 {
            a.add("requests", &format!("{}{number}", "long".repeat(10)), 1);
        }
        let snapshot = a.snapshot();
        let error = a.session.sync(&snapshot).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.to_string().contains("full"), "{error}");
        assert_eq!(a.total("requests", "/"), 5);
        drop(file);
        fs::remove_file(&filler).unwrap();
        a.sync();
        assert_eq!(crate::instances::values(&a.everyone().snapshot).len(), 2001);
        assert_eq!(a.session.mishaps(), Default::default());
        println!("all is there");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let name = "on_disk::a_full_file_system_is_an_error_and_what_it_holds_stays";
    // In name spaces of its own: nobody else sees the file system, and it needs no root.
    let mount = format!("mount -t tmpfs -o size=2m none '{}' &&", folder.path().display());
    let inside = child(name, &folder.path().join("store.db"), &mount);
    let mut outside = Command::new("unshare");
    outside.args(["-rm", "--"]).arg(inside.get_program()).args(inside.get_args());
    outside.envs(inside.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = outside.stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("all is there"), "{text}");
    assert!(!folder.path().join("store.db").exists(), "it was not mounted");
}

#[test]
fn a_damaged_file_is_an_error_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let mut a = at(&path, Duration::from_secs(2));
    a.add("requests", "/", 5);
    a.sync();
    let whole = fs::read(&path).unwrap();
    let mut none = whole.clone();
    none[..100].fill(b'x');
    let mut torn = whole.clone();
    let half = torn.len() / 2;
    torn[4096..half.max(12_288)].fill(0xff);
    for damaged in [none, torn] {
        fs::write(&path, &damaged).unwrap();
        a.add("requests", "/", 1);
        let snapshot = a.snapshot();
        let error = a.session.sync(&snapshot).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        let mut now = Vec::new();
        fs::File::open(&path).unwrap().read_to_end(&mut now).unwrap();
        assert!(now == damaged, "the file was changed");
    }
    fs::write(&path, &whole).unwrap();
    a.sync();
    assert_eq!(a.total("requests", "/"), 7);
}

#[test]
fn a_database_of_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE mine (a); INSERT INTO mine VALUES (1)").unwrap();
    let error = SqliteStore::open(&path, Duration::from_secs(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    assert!(error.to_string().contains("something else"), "{error}");
    let tables = |sql| other.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(tables("SELECT count(*) FROM sqlite_schema"), 1);
    let missing = SqliteStore::open(&folder.path().join("no/store.db"), Duration::from_secs(1));
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn leases_of_an_earlier_boot_have_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let mut a = at(&path, Duration::from_secs(2));
    a.add("requests", "/", 5);
    a.metrics.gauge("temperature", &[]).unwrap().set(20.0);
    a.sync();
    let other = Connection::open(&path).unwrap();
    // As after a restart of the system, whose clock begins anew.
    let before = "UPDATE shard SET boot = 'before'; UPDATE instance SET lease_ms = 1 << 60;
        INSERT INTO lease VALUES ('export', x'01', 1 << 60, 1 << 50, 'gone')";
    other.execute_batch(before).unwrap();
    let mut b = at(&path, Duration::from_secs(2));
    let overview = b.everyone();
    assert_eq!(overview.instances, 0);
    let mut store = SqliteStore::open(&path, Duration::from_secs(2)).unwrap();
    let standing = store.standing("export").unwrap();
    assert_eq!((standing.token, standing.holder), (Some(FencingToken(1 << 50)), None));
    let all = crate::instances::values(&overview.snapshot);
    assert_eq!(all.into_iter().collect::<Vec<_>>(), [("requests{path=/}".into(), "5".into())]);
}
