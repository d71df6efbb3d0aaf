//! Eight processes that are killed, stopped and restarted at random, while another one watches.
//!
//! Each life writes down what it recorded before a sync and what was acknowledged after it. The
//! watcher's totals are at least what was acknowledged before it looked, at most what was sent when it
//! had looked, and never less than before. `arenas` does the same with arena files.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use proptest::{
    prelude::Rng,
    test_runner::{RngAlgorithm, TestRng},
};
use rustix::process::{Pid, Signal, kill_process};
use tallyport_core::{
    store::{Lease, RedisSettings, RedisStore, SqliteStore, Store},
    sync::Settings,
};

use crate::{
    cluster::cluster,
    instances::{Instance, reasons, unless_later, values},
    items::{FolderItems, memcached_at, store_of},
    testing::{MemcachedServer, RedisServer},
};

const PROCESSES: usize = 8;
/// Series that change between two syncs.
const CHANGES: usize = 300;

/// A process that stops for longer is retired, if its syncs take no time.
fn alive() -> Duration {
    Duration::from_millis(setting("TALLYPORT_CROWD_LEASE_MS", 1500) as u64)
}

fn settings(name: String) -> Settings {
    let lease = Lease { alive: alive(), data: Duration::from_secs(3600) };
    Settings { name, lease, ..Settings::default() }
}

fn open(place: &str) -> Box<dyn Store> {
    let deadline = Duration::from_secs(30);
    if place.starts_with("redis:") {
        let (url, namespace) = (place.into(), "crowd".into());
        let settings = RedisSettings { url, namespace, shards: 4, deadline: deadline.into() };
        return Box::new(RedisStore::connect(&settings).unwrap());
    }
    if let Some(address) = place.strip_prefix("memcached:") {
        return memcached_at(address, deadline);
    }
    if let Some(folder) = place.strip_prefix("folder:") {
        return store_of(FolderItems::open(Path::new(folder)), None);
    }
    Box::new(SqliteStore::open(Path::new(place), deadline).unwrap())
}

/// A number that the campaign sets higher.
pub(crate) fn setting(name: &str, otherwise: usize) -> usize {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A folder of thousands of small files: in memory, where there is room.
pub(crate) fn in_memory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.unwrap()
}

/// Syncs of all lives, at the least.
pub(crate) fn least_syncs() -> usize {
    setting("TALLYPORT_CROWD_SYNCS", 50)
}

/// One life: records and syncs until it is killed, or the file `stop` is there.
fn live(place: &str, log: &Path, stop: &Path) {
    let mut log = OpenOptions::new().create(true).append(true).open(log).unwrap();
    let mut one = Instance::new(open(place), settings(format!("p{}", std::process::id())));
    let series = setting("TALLYPORT_CROWD_SERIES", 5000);
    let counters: Vec<_> = (0..series)
        .map(|n| one.metrics.counter("requests", &[("path", &format!("/{n}"))]).unwrap())
        .collect();
    let (mut recorded, mut retired, mut at) = (0_u64, 0, std::process::id() as usize);
    loop {
        let last = stop.exists();
        for _ in 0..CHANGES {
            at = (at + 17) % series;
            counters[at].add(1);
            recorded += 1;
        }
        writeln!(log, "sent {recorded}").unwrap();
        let snapshot = one.snapshot();
        let done = unless_later(one.session.sync(&snapshot));
        match &done {
            Ok(_) => writeln!(log, "acknowledged {recorded}").unwrap(),
            Err(reason) => writeln!(log, "late {reason}").unwrap(),
        }
        let now = one.session.mishaps().retired;
        if now > retired {
            writeln!(log, "retired {now}").unwrap();
            retired = now;
        }
        if last && done.is_ok() {
            return;
        }
    }
}

/// What all lives wrote down.
#[derive(Debug, Default)]
struct Written {
    sent: u64,
    acknowledged: u64,
    syncs: usize,
    /// How often a life found itself retired.
    retired: u64,
    /// Syncs whose time was over, or that others came between.
    late: Vec<String>,
}

fn written_down(folder: &Path) -> Written {
    let mut all = Written::default();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "life") {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        // A line without its end may be half a number.
        let whole = || text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let last = |word: &str| {
            let number = |line: &str| line.strip_prefix(word)?.trim().parse::<u64>().ok();
            whole().filter_map(number).next_back().unwrap_or(0)
        };
        // Half a line of what was sent counts as the most that it can have been.
        let cut = !text.is_empty() && !text.ends_with('\n');
        all.sent += last("sent ") + if cut { CHANGES as u64 } else { 0 };
        all.acknowledged += last("acknowledged ");
        all.retired += last("retired ");
        let lines = |word: &str| whole().filter(|line| line.starts_with(word)).count();
        all.syncs += lines("acknowledged ");
        all.late.extend(whole().filter_map(|line| Some(line.strip_prefix("late ")?.trim().into())));
    }
    all
}

struct Crowd {
    place: String,
    folder: PathBuf,
    test: String,
    lives: usize,
    children: Vec<Child>,
}

impl Crowd {
    fn start(&mut self) -> Child {
        self.lives += 1;
        let log = self.folder.join(format!("{}.life", self.lives));
        File::create(&log).unwrap();
        Command::new(env::current_exe().unwrap())
            .args([self.test.as_str(), "--exact", "--nocapture", "--test-threads=1"])
            .env("TALLYPORT_TEST_PLACE", &self.place)
            .env("TALLYPORT_TEST_LOG", log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn signal(&self, index: usize, signal: Signal) {
        let process = Pid::from_child(&self.children[index]);
        kill_process(process, signal).unwrap();
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

/// The total of all, and how many instances there are.
fn total(observer: &mut Instance) -> (u64, usize) {
    let end = Instant::now() + Duration::from_secs(240);
    let overview = loop {
        if let Ok(overview) = unless_later(observer.try_everyone()) {
            break overview;
        }
        assert!(Instant::now() < end, "nothing can be read");
    };
    let all = values(&overview.snapshot);
    let requests = all.iter().filter(|(key, _)| key.starts_with("requests{"));
    (requests.map(|(_, value)| value.parse::<u64>().unwrap()).sum(), overview.instances)
}

fn stands_it(test: &str, place: String, lasting: Duration) {
    let folder = tempfile::tempdir().unwrap();
    let mut crowd = Crowd {
        place,
        folder: folder.path().into(),
        test: test.into(),
        lives: 0,
        children: Vec::new(),
    };
    for _ in 0..PROCESSES {
        let child = crowd.start();
        crowd.children.push(child);
    }
    let mut observer = Instance::new(open(&crowd.place), settings("observer".into()));
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut next = move |below: usize| random.next_u32() as usize % below;
    let (mut seen, mut looks, mut kills, mut stops) = (0, 0, 0, 0);
    // One at a time is stopped until its lease has long ended.
    let mut stopped = None::<(usize, JoinHandle<()>)>;
    let start = Instant::now();
    loop {
        let before = written_down(&crowd.folder);
        let (now, _) = total(&mut observer);
        let after = written_down(&crowd.folder);
        assert!(now >= before.acknowledged, "lost: {now} of {} acknowledged", before.acknowledged);
        assert!(now <= after.sent, "doubled: {now} of {} sent", after.sent);
        assert!(now >= seen, "fell: {now} from {seen}");
        (seen, looks) = (now, looks + 1);
        // As long as it is to last, and on a busy machine until enough has happened.
        let enough = kills > 2 && stops > 1 && looks > 5 && after.retired > 0;
        if start.elapsed() >= lasting && enough && after.syncs >= least_syncs() {
            break;
        }
        let limit = lasting * 2 + Duration::from_secs(240);
        assert!(start.elapsed() < limit, "{kills} killed, {stops} stops, {looks} looks: {after:?}");
        if stopped.as_ref().is_none_or(|(_, ending)| ending.is_finished()) {
            let index = next(PROCESSES);
            crowd.signal(index, Signal::STOP);
            let process = Pid::from_child(&crowd.children[index]);
            // By a thread of its own: it may be stopped in a transaction that the watcher waits for.
            // Longer and longer: its lease is that of the settings and some of its syncs.
            let pause = alive() * 2 * (1 + stops % 4);
            let ending = thread::spawn(move || {
                // The pause is what is tested, not a way to wait for something.
                thread::sleep(pause);
                kill_process(process, Signal::CONT).unwrap();
            });
            stopped = Some((index, ending));
            stops += 1;
        }
        let index = next(PROCESSES);
        let is_stopped = stopped.as_ref().is_some_and(|(stopped, _)| *stopped == index);
        if next(2) == 0 && !is_stopped {
            crowd.signal(index, Signal::KILL);
            crowd.children[index].wait().unwrap();
            crowd.children[index] = crowd.start();
            kills += 1;
        }
    }
    if let Some((_, ending)) = stopped {
        ending.join().unwrap();
    }
    // All end in peace: what they recorded is acknowledged.
    File::create(crowd.folder.join("stop")).unwrap();
    for child in &mut crowd.children {
        assert!(child.wait().unwrap().success());
    }
    let Written { sent, acknowledged, syncs, retired, late } = written_down(&crowd.folder);
    let end = Instant::now() + alive() * 20 + Duration::from_secs(200);
    // Their leases end, and everything is folded.
    let folded = loop {
        let (now, instances) = total(&mut observer);
        assert!(now >= seen && now >= acknowledged && now <= sent, "{now}: {acknowledged}..{sent}");
        seen = now;
        if instances == 0 {
            break now;
        }
        assert!(Instant::now() < end, "instances stay");
    };
    println!(
        "{test}: {} lives, {kills} killed, {stops} stops, {retired} times retired, {looks} looks, \
         {syncs} syncs, {} late; acknowledged {acknowledged} <= {folded} <= sent {sent}{}",
        crowd.lives,
        late.len(),
        reasons(late.iter().map(String::as_str)),
    );
}

/// Lives, if this process is one of the crowd.
fn is_one_of_many() -> bool {
    let (Some(place), Some(log)) =
        (env::var_os("TALLYPORT_TEST_PLACE"), env::var_os("TALLYPORT_TEST_LOG"))
    else {
        return false;
    };
    let log = PathBuf::from(log);
    live(place.to_str().unwrap(), &log, &log.parent().unwrap().join("stop"));
    true
}

/// One run over a place, unless this process is one of its crowd.
fn crowd(test: &str, place: impl FnOnce() -> String) {
    if !is_one_of_many() {
        let seconds = setting("TALLYPORT_CROWD_SECONDS", 8);
        stands_it(&format!("processes::{test}"), place(), Duration::from_secs(seconds as u64));
    }
}

#[test]
fn processes_that_are_killed_and_stopped_lose_and_double_nothing_in_redis() {
    let mut server = None;
    crowd("processes_that_are_killed_and_stopped_lose_and_double_nothing_in_redis", || {
        server.insert(RedisServer::start(&[])).url()
    });
}

#[test]
fn processes_that_are_killed_and_stopped_lose_and_double_nothing_in_a_cluster() {
    let mut nodes = Vec::new();
    crowd("processes_that_are_killed_and_stopped_lose_and_double_nothing_in_a_cluster", || {
        nodes = cluster();
        nodes[0].url()
    });
}

#[test]
fn processes_that_are_killed_and_stopped_lose_and_double_nothing_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    crowd("processes_that_are_killed_and_stopped_lose_and_double_nothing_in_sqlite", || {
        folder.path().join("store.db").to_str().unwrap().to_owned()
    });
}

#[test]
fn processes_that_are_killed_and_stopped_lose_and_double_nothing_in_memcached() {
    let mut server = None;
    crowd("processes_that_are_killed_and_stopped_lose_and_double_nothing_in_memcached", || {
        let server = server.insert(MemcachedServer::start(&["-m", "1024"]));
        format!("memcached:{}", server.address())
    });
    if let Some(server) = server {
        let statistics = server.command("stats");
        assert!(statistics.contains("STAT evictions 0\r\n"), "{statistics}");
    }
}

#[test]
fn processes_that_are_killed_and_stopped_lose_and_double_nothing_in_a_hosts_store() {
    let folder = in_memory();
    crowd("processes_that_are_killed_and_stopped_lose_and_double_nothing_in_a_hosts_store", || {
        format!("folder:{}", folder.path().display())
    });
}
