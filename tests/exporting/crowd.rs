//! Five processes with one store export one file every 200 ms, while they are stopped for up to three
//! lease times and killed at random.
//!
//! Each life writes down the tokens that it committed; the watcher reads the file all the time. No
//! token is committed twice; what the file shows never falls, which an older export over a newer one
//! would make it do; and there is no longer time without an export than the formula says.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tallyport_core::export::{
    Ending,
    timing::{Backoff, longest_gap},
};

use crate::{add, engine, testing::RedisServer};

const PROCESSES: usize = 5;
const INTERVAL: Duration = Duration::from_millis(200);
const LEASE: Duration = Duration::from_millis(600);
const TIMEOUT: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(50);
const STORE: &str = "TALLYPORT_TEST_STORE";
const LIFE: &str = "TALLYPORT_TEST_LIFE";

fn configuration(store: &str, folder: &Path) -> String {
    let store = match store.strip_prefix("redis:") {
        Some(_) => format!("kind = 'redis'\nurl = '{store}'\nshards = 2\n"),
        None => format!("kind = 'sqlite'\npath = '{store}'\n"),
    };
    format!(
        "[store]\n{store}[sync]\ninterval_ms = 1000\nlease_ms = 6000\nbreaker_failures = 0\n\
         [export]\nlease_ms = {}\n\
         [targets.main]\nexporter = 'prometheus'\npath = '{}/out.prom'\ninterval_ms = {}\n\
         without_lease = 'fail'\nretry_ms = {}\ntimeout_ms = {}\n",
        LEASE.as_millis(),
        folder.display(),
        INTERVAL.as_millis(),
        RETRY.as_millis(),
        TIMEOUT.as_millis(),
    )
}

/// What says that a life has begun to export.
fn log_of_start(log: &Path) -> PathBuf {
    log.with_extension("up")
}

/// One life: records and exports on schedule until it is killed, or the file `stop` is there.
fn live(store: &str, log_path: &Path) {
    let folder = log_path.parent().unwrap();
    let one = engine(&configuration(store, folder), folder);
    let mut log = OpenOptions::new().append(true).open(log_path).unwrap();
    one.start_schedule().unwrap();
    File::create(log_of_start(log_path)).unwrap();
    let mut known = BTreeSet::new();
    let mut write = |log: &mut File| {
        for run in one.export_history() {
            if let (Ending::Delivered, Some(token)) = (&run.ending, run.token)
                && known.insert(token)
            {
                writeln!(log, "{token}").unwrap();
            }
        }
    };
    while !folder.join("stop").exists() {
        add(&one, 1);
        write(&mut log);
        // The pace of what is recorded, nothing is waited for.
        thread::sleep(Duration::from_millis(5));
    }
    one.stop_schedule(Duration::from_secs(60)).unwrap();
    write(&mut log);
}

struct Crowd {
    store: String,
    folder: PathBuf,
    test: &'static str,
    lives: usize,
    children: Vec<Child>,
    /// The log of each child.
    logs: Vec<PathBuf>,
}

impl Crowd {
    /// Starts a life in this place.
    fn start(&mut self, index: usize) {
        self.lives += 1;
        let log = self.folder.join(format!("{}.life", self.lives));
        File::create(&log).unwrap();
        let child = self.spawn(&log);
        if index < self.children.len() {
            (self.children[index], self.logs[index]) = (child, log);
        } else {
            self.children.push(child);
            self.logs.push(log);
        }
    }

    /// Lives besides this one that have begun to export.
    fn others(&self, index: usize) -> usize {
        let up = |(other, log): &(usize, &PathBuf)| *other != index && log_of_start(log).exists();
        self.logs.iter().enumerate().filter(up).count()
    }

    fn spawn(&self, log: &Path) -> Child {
        Command::new(env::current_exe().unwrap())
            .args([self.test, "--exact", "--nocapture", "--test-threads=1"])
            .env(STORE, &self.store)
            .env(LIFE, log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What the file shows, and which file it is.
fn look(path: &Path) -> Option<(u64, u64)> {
    let file = File::open(path).ok()?;
    let metadata = file.metadata().unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut &file, &mut text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("requests_total "));
    // A file is whole, whenever it is read.
    assert!(text.ends_with('\n'), "torn: {text:?}");
    let change = metadata.ino() ^ (metadata.ctime_nsec() as u64) << 20;
    Some((line.map_or(0, |number| number.parse().unwrap()), change))
}

fn stands_it(test: &'static str, store: String, folder: &Path, lasting: Duration) {
    let (children, logs) = Default::default();
    let mut crowd = Crowd { store, folder: folder.into(), test, lives: 0, children, logs };
    for index in 0..PROCESSES {
        crowd.start(index);
    }
    let path = folder.join("out.prom");
    let begin = Instant::now();
    while look(&path).is_none() {
        assert!(begin.elapsed() < Duration::from_secs(60), "no first export");
        thread::yield_now();
    }
    let pause = LEASE * 3;
    let backoff = Backoff { first: RETRY, ..Backoff::default() };
    let bound = longest_gap((INTERVAL, 0.1), LEASE, pause, backoff, TIMEOUT);
    let mut random = u64::from(std::process::id());
    let mut next = move |below: u64| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let (mut seen, mut change) = look(&path).unwrap();
    let (mut changes, mut kills, mut stops, mut longest) = (0, 0, 0, Duration::ZERO);
    let (start, mut last) = (Instant::now(), Instant::now());
    // How long this process was not run at a stretch, since the last export: nobody was, then.
    let (mut looked, mut late) = (start, Duration::ZERO);
    let mut turn = start;
    let mut stopped: Vec<(usize, JoinHandle<()>)> = Vec::new();
    while start.elapsed() < lasting {
        let (total, now) = look(&path).unwrap();
        assert!(total >= seen, "an older export came over a newer one: {total} after {seen}");
        seen = total;
        late = late.max(looked.elapsed());
        looked = Instant::now();
        let gap = last.elapsed();
        longest = longest.max(gap);
        assert!(
            gap <= bound + late,
            "no export for {gap:?}, {bound:?} at most; this process was not run for {late:?}"
        );
        if now != change {
            (change, last, changes, late) = (now, Instant::now(), changes + 1, Duration::ZERO);
        }
        stopped.retain(|(_, going_on)| !going_on.is_finished());
        if turn.elapsed() < Duration::from_millis(150) {
            thread::sleep(Duration::from_millis(2));
            continue;
        }
        turn = Instant::now();
        let index = next(PROCESSES as u64) as usize;
        if stopped.iter().any(|(other, _)| *other == index) {
            continue;
        }
        if next(4) == 0 {
            // The bound is of those that export: one that is starting takes what it takes.
            if crowd.others(index) < PROCESSES - 2 {
                continue;
            }
            crowd.children[index].kill().unwrap();
            crowd.children[index].wait().unwrap();
            crowd.start(index);
            kills += 1;
        } else if stopped.len() < 2 {
            let process = Pid::from_child(&crowd.children[index]);
            kill_process(process, Signal::STOP).unwrap();
            let time = Duration::from_millis(next(pause.as_millis() as u64));
            stopped.push((
                index,
                thread::spawn(move || {
                    // The pause is what is tested, not a way to wait for something.
                    thread::sleep(time);
                    kill_process(process, Signal::CONT).unwrap();
                }),
            ));
            stops += 1;
        }
    }
    for (_, going_on) in stopped {
        going_on.join().unwrap();
    }
    File::create(folder.join("stop")).unwrap();
    for child in &mut crowd.children {
        assert!(child.wait().unwrap().success());
    }
    let (total, _) = look(&path).unwrap();
    assert!(total >= seen);
    let mut tokens = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "life") {
            let text = fs::read_to_string(path).unwrap();
            tokens.extend(text.lines().map(|line| line.parse::<u64>().unwrap()));
        }
    }
    let commits = tokens.len();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), commits, "a token was committed twice");
    let fence = fs::read_to_string(folder.join(".out.prom.fence")).unwrap();
    let fence: u64 = fence.trim().parse().unwrap();
    assert!(tokens.last() <= Some(&fence), "a token above the fence");
    println!(
        "{test}: {} lives, {kills} killed, {stops} stopped, {commits} commits known, \
         {changes} files seen, longest without one {longest:.1?} of {bound:.1?}, total {total}",
        crowd.lives
    );
    assert!(kills > 2 && stops > 3 && changes > 5, "{kills} {stops} {changes}");
}

/// Lives, if this process is one of the crowd.
fn is_one_of_many() -> bool {
    let (Some(store), Some(log)) = (env::var_os(STORE), env::var_os(LIFE)) else { return false };
    live(store.to_str().unwrap(), Path::new(&log));
    true
}

/// Seconds of one run; the campaign has more.
fn lasting() -> Duration {
    let seconds = env::var("TALLYPORT_EXPORT_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(30))
}

#[test]
fn a_paused_or_killed_exporter_never_overtakes_and_nobody_stalls_in_redis() {
    if !is_one_of_many() {
        let (server, folder) = (RedisServer::start(&[]), tempfile::tempdir().unwrap());
        let test = "crowd::a_paused_or_killed_exporter_never_overtakes_and_nobody_stalls_in_redis";
        stands_it(test, server.url(), folder.path(), lasting());
    }
}

#[test]
fn a_paused_or_killed_exporter_never_overtakes_and_nobody_stalls_in_sqlite() {
    if !is_one_of_many() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store.db").to_str().unwrap().to_owned();
        let test = "crowd::a_paused_or_killed_exporter_never_overtakes_and_nobody_stalls_in_sqlite";
        stands_it(test, store, folder.path(), lasting());
    }
}
