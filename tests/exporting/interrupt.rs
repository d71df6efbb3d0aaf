//! `tallyport export` that is told to end in the middle: exit codes, and nothing that is left behind.

use std::{
    fs,
    io::Read,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tallyport_core::engine::Engine;
use tallyport_tests::{plugin, served::tallyport};

use crate::{add, engine, testing::RedisServer};

const PATIENCE: Duration = Duration::from_secs(60);

struct Command {
    child: Child,
}

impl Command {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = tallyport();
        command.current_dir(folder).arg("export").args(arguments);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        Self { child }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its exit code, how long it took from now on, and what it said.
    fn ends(mut self) -> (Option<i32>, Duration, String) {
        let start = Instant::now();
        let status = self.child.wait().unwrap();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (status.code(), start.elapsed(), said)
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for what must happen.
fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

fn holder(engine: &Engine, target: &str) -> Option<String> {
    engine.target_lease(target).unwrap().holder.map(|(holder, _)| holder)
}

/// A configuration file, and a host that recorded and synced what is exported.
fn host(folder: &Path, toml: &str) -> Engine {
    fs::write(folder.join("tallyport.toml"), format!("schema = 1\n{toml}")).unwrap();
    let host = engine(toml, folder);
    add(&host, 5);
    host.sync().unwrap();
    host
}

fn temporary(folder: &Path) -> usize {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".tmp")).count()
}

const ALL: [&str; 3] = ["--all", "--config", "tallyport.toml"];

#[test]
fn a_push_that_nobody_answers_ends_by_a_signal_and_gives_its_lease_back() {
    let redis = RedisServer::start(&[]);
    for (store, signal, code) in [
        ("kind = 'sqlite'\npath = 'store.db'".to_owned(), Signal::TERM, 143),
        (format!("kind = 'redis'\nurl = '{}'", redis.url()), Signal::INT, 130),
    ] {
        let folder = tempfile::tempdir().unwrap();
        // It accepts, and never answers.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let host = host(
            folder.path(),
            &format!(
                "[store]\n{store}\n[export]\nlease_ms = 600000\n[targets.push]\n\
                 exporter = 'prometheus'\ndestination = 'http'\ntimeout_ms = 300000\n\
                 [targets.push.http]\nurl = 'http://127.0.0.1:{port}/'\ntimeout_ms = 300000\n"
            ),
        );
        let command = Command::start(folder.path(), &ALL);
        let (stream, _) = listener.accept().unwrap();
        assert!(holder(&host, "push").is_some());
        command.signal(signal);
        let (ended, took, said) = command.ends();
        assert_eq!(ended, Some(code), "{said}");
        assert!(took < Duration::from_secs(30), "{took:?}");
        assert!(said.contains("ended by SIG"), "{said}");
        assert_eq!(holder(&host, "push"), None, "others need not wait for ten minutes");
        drop(stream);
    }
}

#[test]
fn an_exporter_that_hangs_leaves_the_old_file_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let hangs = plugin("hangs_in_export.c");
    let host = host(
        folder.path(),
        &format!(
            "[store]\nkind = 'sqlite'\npath = 'store.db'\n[export]\nlease_ms = 600000\n\
             [plugins.hangs]\npath = '{}'\nprobe = 'never'\n\
             [targets.file]\nexporter = 'hangs'\npath = 'out.prom'\ntimeout_ms = 300000\n",
            hangs.display()
        ),
    );
    fs::write(folder.path().join("out.prom"), "old").unwrap();
    let command = Command::start(folder.path(), &ALL);
    until("no file beside the old one", || temporary(folder.path()) == 1);
    assert!(holder(&host, "file").is_some());
    command.signal(Signal::TERM);
    let (ended, took, said) = command.ends();
    assert_eq!(ended, Some(143), "{said}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert_eq!(fs::read_to_string(folder.path().join("out.prom")).unwrap(), "old");
    assert_eq!(temporary(folder.path()), 0);
    assert_eq!(holder(&host, "file"), None);

    // Of a snapshot: there is no lease, and the file goes too. The second signal is for the impatient.
    host.save_snapshot(&folder.path().join("app.snap")).unwrap();
    let arguments = ["--from", "app.snap", "--format", "hangs", "--output", "out.prom"];
    let arguments = [&arguments[..], &["--config", "tallyport.toml"]].concat();
    let command = Command::start(folder.path(), &arguments);
    until("no file beside the old one", || temporary(folder.path()) == 1);
    command.signal(Signal::INT);
    command.signal(Signal::INT);
    let (ended, _, said) = command.ends();
    assert_eq!(ended, Some(130), "{said}");
    assert_eq!(temporary(folder.path()), 0);
    assert_eq!(fs::read_to_string(folder.path().join("out.prom")).unwrap(), "old");
}

#[test]
fn an_exporter_that_hangs_in_its_end_is_left_by_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let hangs = plugin("hangs_in_shutdown.c");
    let store = "[store]\nkind = 'sqlite'\npath = 'store.db'\n";
    // Without the plugin: this process ends, too.
    let _host = host(folder.path(), store);
    let toml = format!(
        "schema = 1\n{store}\
         [plugins.hangs]\npath = '{}'\nprobe = 'never'\n\
         [targets.file]\nexporter = 'hangs'\npath = 'out.prom'\n",
        hangs.display()
    );
    fs::write(folder.path().join("tallyport.toml"), toml).unwrap();
    let command = Command::start(folder.path(), &ALL);
    until("it is not delivered", || folder.path().join("out.prom").exists());
    command.signal(Signal::TERM);
    let (ended, took, said) = command.ends();
    assert_eq!(ended, Some(143), "{said}");
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn an_exporter_that_goes_on_and_on_is_stopped_between_two_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let floods = plugin("floods.c");
    let host = host(
        folder.path(),
        &format!(
            "[store]\nkind = 'sqlite'\npath = 'store.db'\n\
             [plugins.floods]\npath = '{}'\nprobe = 'never'\n\
             [targets.file]\nexporter = 'floods'\npath = 'out.prom'\n\
             [targets.after]\nexporter = 'prometheus'\npath = 'after.prom'\n",
            floods.display()
        ),
    );
    let named = ["--target", "file", "--target", "after", "--config", "tallyport.toml"];
    let command = Command::start(folder.path(), &named);
    until("no file is written", || temporary(folder.path()) == 1);
    command.signal(Signal::TERM);
    let (ended, _, said) = command.ends();
    assert_eq!(ended, Some(143), "{said}");
    assert!(said.contains("told to end") || said.contains("nobody stopped"), "{said}");
    assert_eq!(temporary(folder.path()), 0);
    assert!(!folder.path().join("out.prom").exists());
    assert!(!folder.path().join("after.prom").exists(), "the next target was not begun");
    assert_eq!(holder(&host, "file"), None);
}

#[test]
fn waiting_for_a_lease_ends_by_a_signal() {
    use tallyport_core::store::{Claim, Leases, Owner, SqliteStore, Wish};
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.db");
    let _host = host(
        folder.path(),
        "[store]\nkind = 'sqlite'\npath = 'store.db'\n\
         [targets.file]\nexporter = 'prometheus'\npath = 'out.prom'\n",
    );
    let mut other = SqliteStore::open(&store, PATIENCE).unwrap();
    let (lease, owner, term) = ("export:file", Owner(7), Duration::from_secs(600));
    let wish = Wish { lease, owner, holder: "another:1", term };
    assert!(matches!(other.acquire(&wish).unwrap(), Claim::Granted(_)));
    let arguments = [&ALL[..], &["--lock", "wait", "--timeout", "10m"]].concat();
    let command = Command::start(folder.path(), &arguments);
    // It has opened the store, and waits.
    let descriptors = format!("/proc/{}/task", command.child.id());
    until("it does not begin", || fs::read_dir(&descriptors).unwrap().count() >= 3);
    command.signal(Signal::INT);
    let (ended, took, said) = command.ends();
    assert_eq!(ended, Some(130), "{said}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    let standing = other.standing(lease).unwrap();
    assert_eq!(standing.holder.unwrap().0, "another:1", "it is another one's");
}
