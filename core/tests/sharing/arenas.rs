//! Processes with arena files, one for each or one for all, killed and stopped at any time.
//!
//! Who is killed goes on with the arena that it left. What was acknowledged is in the store, the store
//! has no more than the arenas, and when all ended in peace it has the same. An arena is opened again
//! later, and counts on.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tallyport_core::{
    engine::{Engine, Shared, config::Config},
    model::{ErrorKind, SystemClock, Value},
    snapshot::{self, Snapshot},
};

use crate::{
    cluster::cluster,
    instances::{reasons, unless_later, values},
    items::FolderItems,
    processes::{in_memory, least_syncs, setting},
    testing::{MemcachedServer, RedisServer},
};

const CHANGES: usize = 100;

/// A publisher that stops for longer is retired, if its syncs take no time.
fn alive() -> Duration {
    Duration::from_millis(setting("TALLYPORT_CROWD_LEASE_MS", 400) as u64)
}

/// A configuration: a store, and the arena of a folder.
fn write_config(folder: &Path, store: &str, lease_ms: u64) {
    let arena = folder.join("metrics.arena");
    let text = format!(
        "schema = 1\n[recording]\nshare = 'file'\narena = {arena:?}\n[store]\n{store}\n\
         deadline_ms = 30000\n[limits]\nmax_series = 1000000\nmax_series_per_family = 1000000\n[sync]\ninterval_ms = 20\nlease_ms = {lease_ms}\n"
    );
    fs::write(folder.join("tallyport.toml"), text).unwrap();
}

fn open(folder: &Path) -> Engine {
    engine(folder, Config::load(folder.join("tallyport.toml")).unwrap())
}

/// An engine of a folder; a host's store is the folder of items beside it.
fn engine(folder: &Path, config: Config) -> Engine {
    let engine = Engine::builder().config(config).build().unwrap();
    let items = folder.with_file_name("items");
    if items.exists() {
        engine.set_store(move || Ok(Box::new(FolderItems::open(&items)))).unwrap();
    }
    engine
}

/// Somebody who looks at the store, with an arena of its own.
fn observer(folder: &Path) -> Engine {
    let mut config = Config::load(folder.join("tallyport.toml")).unwrap();
    config.recording = Default::default();
    engine(folder, config)
}

fn requests(snapshot: &Snapshot) -> u64 {
    let sum = |view: &tallyport_plugin_api::Snapshot<'_>| {
        let families = view.families().filter(|family| family.name() == "requests");
        let value = |series: tallyport_plugin_api::Series<'_>| match series.value() {
            Value::U64(value) => value,
            _ => 0,
        };
        Ok::<_, tallyport_plugin_api::Error>(families.flat_map(|f| f.series().map(value)).sum())
    };
    snapshot.read(sum).unwrap()
}

/// What arenas hold, read from outside.
fn in_arenas(folders: &[PathBuf]) -> u64 {
    let of = |folder: &PathBuf| {
        let path = folder.join("metrics.arena");
        requests(&snapshot::of_arena(path, Arc::new(SystemClock::default())).unwrap())
    };
    folders.iter().map(of).sum()
}

fn in_the_store(observer: &Engine) -> u64 {
    requests(&everyone(observer).snapshot)
}

/// What all have; asked for again while somebody who is stopped has the store.
fn everyone(observer: &Engine) -> Shared {
    let end = Instant::now() + Duration::from_secs(240);
    loop {
        if let Ok(overview) = unless_later(observer.read_shared()) {
            return overview;
        }
        assert!(Instant::now() < end, "nothing can be read");
    }
}

/// One life: records and syncs until it is killed, or the file `stop` is there.
fn live(folder: &Path, log: &Path) {
    let mut log = OpenOptions::new().create(true).append(true).open(log).unwrap();
    let one = open(folder);
    let series = setting("TALLYPORT_TEST_SERIES", 0);
    let counters: Vec<_> = (0..series)
        .map(|n| one.metrics().counter("requests", &[("path", &format!("/{n}"))]).unwrap())
        .collect();
    let (mut at, mut retired) = (std::process::id() as usize, 0);
    loop {
        let last = folder.join("stop").exists();
        for _ in 0..CHANGES {
            at = (at + 17) % series;
            counters[at].add(1);
        }
        let all = requests(&one.snapshot().unwrap());
        let done = unless_later(one.sync());
        let acknowledged = done.as_ref().is_ok_and(|done| done.skipped_for.is_none());
        match &done {
            Ok(_) if acknowledged => writeln!(log, "acknowledged {all}").unwrap(),
            Ok(_) => {}
            Err(reason) => writeln!(log, "late {reason}").unwrap(),
        }
        let now = one.sync_status().mishaps.retired;
        if now > retired {
            writeln!(log, "retired {now}").unwrap();
            retired = now;
        }
        if last && acknowledged {
            return;
        }
    }
}

/// What all lives wrote down.
#[derive(Debug, Default)]
struct Written {
    /// The most that any life of an arena was told is in the store, over all arenas.
    acknowledged: u64,
    syncs: usize,
    /// How often a life found its arena's instance retired.
    retired: u64,
    /// Syncs whose time was over, or that others came between.
    late: Vec<String>,
}

fn written_down(folders: &[PathBuf]) -> Written {
    let mut all = Written::default();
    for folder in folders {
        let mut most = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "life") {
                continue;
            }
            let text = fs::read_to_string(path).unwrap();
            let numbers = |word: &str| -> Vec<u64> {
                // A line without its end may be half a number.
                let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
                let number = |line: &str| line.strip_prefix(word)?.trim().parse().ok();
                whole.filter_map(number).collect()
            };
            let told = numbers("acknowledged ");
            all.syncs += told.len();
            let late = text.lines().filter_map(|line| line.strip_prefix("late "));
            all.late.extend(late.map(str::to_owned));
            most = told.into_iter().fold(most, u64::max);
            all.retired += numbers("retired ").pop().unwrap_or(0);
        }
        all.acknowledged += most;
    }
    all
}

struct Family {
    /// Of each arena.
    folders: Vec<PathBuf>,
    /// Of each process.
    series: usize,
    test: &'static str,
    lives: usize,
    children: Vec<Child>,
}

impl Family {
    /// Process number `index`; it has the arena of the one before it.
    fn start(&mut self, index: usize) -> Child {
        self.lives += 1;
        let folder = &self.folders[index % self.folders.len()];
        let log = folder.join(format!("{}.life", self.lives));
        File::create(&log).unwrap();
        Command::new(env::current_exe().unwrap())
            .args([self.test, "--exact", "--nocapture", "--test-threads=1"])
            .env("TALLYPORT_TEST_ARENA", log)
            .env("TALLYPORT_TEST_SERIES", self.series.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn pid(&self, index: usize) -> Pid {
        Pid::from_child(&self.children[index])
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// `processes` that have `arenas` among them.
fn stands_it(test: &'static str, store: &str, (processes, arenas): (usize, usize)) {
    let place = tempfile::tempdir().unwrap();
    let items = store.contains("'host'").then(in_memory);
    if let Some(items) = &items {
        symlink(items.path(), place.path().join("items")).unwrap();
    }
    let store = store.replace("HERE", place.path().to_str().unwrap());
    let folders: Vec<_> = (0..arenas).map(|n| place.path().join(n.to_string())).collect();
    for folder in &folders {
        fs::create_dir(folder).unwrap();
        write_config(folder, &store, alive().as_millis() as u64);
        // The file is there before anybody looks.
        drop(open(folder));
    }
    // Who shares an arena has it to open often, and in turn.
    let series = setting("TALLYPORT_CROWD_SERIES", if arenas > 1 { 5000 } else { 500 });
    let (lives, children) = (0, Vec::new());
    let mut family = Family { folders: folders.clone(), series, test, lives, children };
    for index in 0..processes {
        let child = family.start(index);
        family.children.push(child);
    }
    let observer = observer(&folders[0]);
    let (mut seen, mut looks, mut kills, mut stops) = (0, 0, 0, 0);
    let mut stopped = None::<JoinHandle<()>>;
    let start = Instant::now();
    let lasting = Duration::from_secs(setting("TALLYPORT_CROWD_SECONDS", 4) as u64);
    loop {
        let Written { acknowledged, syncs, retired, .. } = written_down(&folders);
        let now = in_the_store(&observer);
        let most = in_arenas(&folders);
        assert!(now >= acknowledged, "lost: {now} of {acknowledged} acknowledged");
        assert!(now <= most, "doubled: {now} of {most} recorded");
        assert!(now >= seen, "fell: {now} from {seen}");
        (seen, looks) = (now, looks + 1);
        // As long as it is to last, and on a busy machine until enough has happened.
        let enough = kills > 3 && stops > 1 && looks > 3;
        // Of processes that share an arena another one goes on.
        let enough = enough && (arenas == 1 || retired > 0 && syncs >= least_syncs());
        if start.elapsed() >= lasting && enough {
            break;
        }
        let limit = lasting * 2 + Duration::from_secs(240);
        let so_far =
            format!("{kills} killed, {stops} stops, {looks} looks, {syncs} syncs, {retired}");
        assert!(start.elapsed() < limit, "{so_far}");
        // The last one is stopped until its lease has long ended, perhaps in its turn.
        if stopped.as_ref().is_none_or(JoinHandle::is_finished) {
            let process = family.pid(processes - 1);
            kill_process(process, Signal::STOP).unwrap();
            // Longer and longer: its lease is that of the settings and some of its syncs.
            let pause = alive() * 2 * (1 + stops % 8);
            stopped = Some(thread::spawn(move || {
                // The pause is what is tested, not a way to wait for something.
                thread::sleep(pause);
                kill_process(process, Signal::CONT).unwrap();
            }));
            stops += 1;
        }
        let index = looks % (processes - 1);
        kill_process(family.pid(index), Signal::KILL).unwrap();
        family.children[index].wait().unwrap();
        family.children[index] = family.start(index);
        kills += 1;
    }
    if let Some(going_on) = stopped {
        going_on.join().unwrap();
    }
    for folder in &folders {
        File::create(folder.join("stop")).unwrap();
    }
    for child in &mut family.children {
        assert!(child.wait().unwrap().success());
    }
    let recorded = in_arenas(&folders);
    assert_eq!(in_the_store(&observer), recorded);
    // Their leases end, everything is folded; a file is opened again, and counts on.
    let end = Instant::now() + alive() * 20 + Duration::from_secs(200);
    while everyone(&observer).instances > 0 {
        assert_eq!(in_the_store(&observer), recorded);
        assert!(Instant::now() < end, "instances stay");
    }
    let later = open(&folders[0]);
    later.metrics().counter("requests", &[("path", "/later")]).unwrap().add(7);
    later.sync().unwrap();
    assert_eq!(in_the_store(&observer), recorded + 7);
    later.leave().unwrap();
    assert_eq!(in_the_store(&observer), recorded + 7);
    let Written { syncs, retired, late, .. } = written_down(&folders);
    println!(
        "{test}: {} lives, {kills} killed, {stops} stops, {retired} times retired, {looks} looks, \
         {syncs} syncs, {} late; {recorded} recorded{}",
        family.lives,
        late.len(),
        reasons(late.iter().map(String::as_str)),
    );
}

/// Lives, if this process is one of the family.
fn is_one_of_many() -> bool {
    let Some(log) = env::var_os("TALLYPORT_TEST_ARENA") else { return false };
    let log = PathBuf::from(log);
    live(log.parent().unwrap(), &log);
    true
}

fn stands_it_in_sqlite(test: &'static str, family: (usize, usize)) {
    if !is_one_of_many() {
        stands_it(test, "kind = 'sqlite'\npath = 'HERE/store.db'", family);
    }
}

fn stands_it_in_redis(test: &'static str, family: (usize, usize)) {
    if !is_one_of_many() {
        let server = RedisServer::start(&[]);
        stands_it(test, &format!("kind = 'redis'\nurl = '{}'", server.url()), family);
    }
}

fn stands_it_in_a_cluster(test: &'static str, family: (usize, usize)) {
    if !is_one_of_many() {
        let nodes = cluster();
        stands_it(test, &format!("kind = 'redis'\nurl = '{}'", nodes[0].url()), family);
    }
}

fn stands_it_in_memcached(test: &'static str, family: (usize, usize)) {
    if !is_one_of_many() {
        let server = MemcachedServer::start(&["-m", "1024"]);
        stands_it(test, &format!("kind = 'memcached'\naddress = '{}'", server.address()), family);
        let statistics = server.command("stats");
        assert!(statistics.contains("STAT evictions 0\r\n"), "{statistics}");
    }
}

fn stands_it_in_a_hosts_store(test: &'static str, family: (usize, usize)) {
    if !is_one_of_many() {
        stands_it(test, "kind = 'host'", family);
    }
}

#[test]
fn processes_of_one_arena_that_are_killed_while_they_publish_lose_and_double_nothing_in_sqlite() {
    stands_it_in_sqlite(
        "arenas::processes_of_one_arena_that_are_killed_while_they_publish_lose_and_double_nothing_in_sqlite",
        (4, 1),
    );
}

#[test]
fn processes_of_one_arena_that_are_killed_while_they_publish_lose_and_double_nothing_in_redis() {
    stands_it_in_redis(
        "arenas::processes_of_one_arena_that_are_killed_while_they_publish_lose_and_double_nothing_in_redis",
        (4, 1),
    );
}

#[test]
fn processes_with_an_arena_file_each_that_are_killed_and_stopped_lose_nothing_in_sqlite() {
    stands_it_in_sqlite(
        "arenas::processes_with_an_arena_file_each_that_are_killed_and_stopped_lose_nothing_in_sqlite",
        (8, 8),
    );
}

#[test]
fn processes_with_an_arena_file_each_that_are_killed_and_stopped_lose_nothing_in_redis() {
    stands_it_in_redis(
        "arenas::processes_with_an_arena_file_each_that_are_killed_and_stopped_lose_nothing_in_redis",
        (8, 8),
    );
}

#[test]
fn processes_of_one_arena_that_are_killed_while_they_publish_lose_and_double_nothing_in_a_cluster()
{
    stands_it_in_a_cluster(
        "arenas::processes_of_one_arena_that_are_killed_while_they_publish_lose_and_double_nothing_in_a_cluster",
        (4, 1),
    );
}

#[test]
fn processes_of_one_arena_that_are_killed_while_they_publish_lose_and_double_nothing_in_memcached()
{
    stands_it_in_memcached(
        "arenas::processes_of_one_arena_that_are_killed_while_they_publish_lose_and_double_nothing_in_memcached",
        (4, 1),
    );
}

#[test]
fn processes_of_one_arena_that_are_killed_while_they_publish_lose_and_double_nothing_in_a_hosts_store()
 {
    stands_it_in_a_hosts_store(
        "arenas::processes_of_one_arena_that_are_killed_while_they_publish_lose_and_double_nothing_in_a_hosts_store",
        (4, 1),
    );
}

#[test]
fn processes_with_an_arena_file_each_that_are_killed_and_stopped_lose_nothing_in_a_cluster() {
    stands_it_in_a_cluster(
        "arenas::processes_with_an_arena_file_each_that_are_killed_and_stopped_lose_nothing_in_a_cluster",
        (8, 8),
    );
}

#[test]
fn processes_with_an_arena_file_each_that_are_killed_and_stopped_lose_nothing_in_memcached() {
    stands_it_in_memcached(
        "arenas::processes_with_an_arena_file_each_that_are_killed_and_stopped_lose_nothing_in_memcached",
        (8, 8),
    );
}

#[test]
fn processes_with_an_arena_file_each_that_are_killed_and_stopped_lose_nothing_in_a_hosts_store() {
    stands_it_in_a_hosts_store(
        "arenas::processes_with_an_arena_file_each_that_are_killed_and_stopped_lose_nothing_in_a_hosts_store",
        (8, 8),
    );
}

const SQLITE: &str = "kind = 'sqlite'\npath = 'store.db'";

#[test]
fn an_arena_that_is_opened_again_is_published_from_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_config(folder, SQLITE, 60_000);
    let (observer, mut expected) = (observer(folder), 0);
    for round in 0..6 {
        let one = open(folder);
        one.metrics().counter("requests", &[("path", "/")]).unwrap().add(5);
        one.metrics().histogram("took", &[1.0], &[]).unwrap().observe(0.5);
        expected += 5;
        let id = one.sync_status().identity;
        assert_eq!(one.sync().unwrap().skipped_for, None);
        assert_eq!(id, None);
        if round % 3 == 2 {
            assert_eq!(one.leave().unwrap().retirement.folded, 1);
        }
        assert_eq!(one.sync_status().mishaps, Default::default());
        assert_eq!(in_the_store(&observer), expected);
        let all = values(&observer.read_shared().unwrap().snapshot);
        assert_eq!(
            all["took{}"],
            format!("{0} {1} [{0}, 0]", round + 1, 0.5 * f64::from(round + 1))
        );
    }
}

#[test]
fn engines_of_one_arena_take_turns_and_none_leaves_while_others_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_config(folder, SQLITE, 60_000);
    let (one, other, observer) = (open(folder), open(folder), observer(folder));
    let add = |engine: &Engine, amount| {
        engine.metrics().counter("requests", &[("path", "/")]).unwrap().add(amount);
    };
    for round in 1..=5 {
        add(&one, 1);
        assert_eq!(one.sync().unwrap().skipped_for, None);
        add(&other, 2);
        other.sync().unwrap();
        assert_eq!(in_the_store(&observer), round * 3);
    }
    assert_eq!(one.sync_status().identity, other.sync_status().identity);
    assert_eq!(other.leave().unwrap().retirement.folded, 0);
    assert_eq!(observer.read_shared().unwrap().instances, 1);
    drop(other);
    assert_eq!(one.leave().unwrap().retirement.folded, 1);
    assert_eq!(in_the_store(&observer), 15);
}

#[test]
fn what_happened_to_the_record_of_an_arena_is_counted_by_whichever_process_meets_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let server = RedisServer::start(&[]);
    write_config(folder, &format!("kind = 'redis'\nurl = '{}'", server.url()), 60_000);
    let (one, other) = (open(folder), open(folder));
    one.metrics().counter("requests", &[("path", "/")]).unwrap().add(5);
    one.sync().unwrap();
    for resets in 1..=3 {
        server.command(&["FLUSHALL"]);
        one.sync().unwrap();
        other.sync().unwrap();
        assert_eq!(one.sync_status().mishaps.resets, resets);
        assert_eq!(other.sync_status().mishaps.resets, 0);
        let own = values(&one.snapshot().unwrap());
        assert_eq!(own["tallyport_sync_mishaps_total{kind=reset}"], resets.to_string());
    }
}

#[test]
fn an_arena_is_published_to_one_store_and_moves_when_it_left() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_config(folder, SQLITE, 60_000);
    let one = open(folder);
    one.metrics().counter("requests", &[("path", "/")]).unwrap().add(5);
    one.sync().unwrap();
    write_config(folder, "kind = 'sqlite'\npath = 'other.db'", 60_000);
    let there = observer(folder);
    let other = open(folder);
    let error = other.sync().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let text = error.to_string();
    assert!(text.contains("store.db") && text.contains("other.db"), "{text}");
    drop(other);
    one.leave().unwrap();
    let other = open(folder);
    other.metrics().counter("requests", &[("path", "/")]).unwrap().add(2);
    other.sync().unwrap();
    // The first store has the five, and this one what came since: together they have all, once.
    assert_eq!(in_the_store(&there), 2);
}

#[test]
fn an_arena_that_does_not_say_how_far_it_was_is_not_published() {
    use std::os::unix::fs::FileExt;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_config(folder, SQLITE, 60_000);
    let one = open(folder);
    one.metrics().counter("requests", &[("path", "/")]).unwrap().add(5);
    one.sync().unwrap();
    drop(one);
    let file =
        OpenOptions::new().read(true).write(true).open(folder.join("metrics.arena")).unwrap();
    let mut head = vec![0; 4096];
    file.read_exact_at(&mut head, 0).unwrap();
    let word = |index: usize| u64::from_le_bytes(head[index * 8..][..8].try_into().unwrap());
    // Words of the header (`ground/mod.rs`): the state says which piece, behind 64 KiB of header.
    let (state, at) = (word(121), [word(123), word(124)]);
    let place = (64 << 10) + at[(state & 1) as usize] * 8 + 20;
    let mut byte = [0];
    file.read_exact_at(&mut byte, place).unwrap();
    file.write_all_at(&[byte[0] ^ 1], place).unwrap();
    let one = open(folder);
    let error = one.sync().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.to_string().contains("nothing is published"), "{error}");
    one.metrics().counter("requests", &[("path", "/")]).unwrap().add(1);
}
