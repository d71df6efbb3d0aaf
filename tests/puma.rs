//! Real Ruby: a Puma cluster under load whose workers record into one arena, through the gem.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tallyport_tests::{built, repo_root, run};

const WORKERS: usize = 4;

struct Puma {
    master: Child,
    port: u16,
}

impl Drop for Puma {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.master), Signal::TERM);
        let _ = self.master.wait();
    }
}

impl Puma {
    /// Starts a cluster and waits until every worker answers.
    fn start(folder: &Path, flags: &[&str], config: Option<&Path>) -> Self {
        let library = built("libtallyport.so");
        let copy = folder.join("libtallyport.so");
        fs::copy(library, &copy).unwrap();
        // Free a moment ago: a port for Puma, which cannot say which one it chose.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("puma");
        command
            .args(["-w", "4", "-t", "2:4", "-e", "production", "-b"])
            .arg(format!("tcp://127.0.0.1:{port}"))
            .args(flags)
            .arg(repo_root().join("tests/ruby/config.ru"))
            .env("TALLYPORT_LIBRARY", copy)
            .env("RUBYLIB", repo_root().join("bindings/ruby/lib"))
            .current_dir(folder)
            .stdout(Stdio::null());
        if let Some(config) = config {
            command.env("TALLYPORT_TEST_CONFIG", config);
        }
        let puma = Self { master: command.spawn().unwrap(), port };
        puma.wait_for_workers(&BTreeSet::new());
        puma
    }

    /// One request on a connection of its own; `None` when it was not answered.
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
    }

    /// Waits until as many workers answer as there are to be, none of `old` among them.
    fn wait_for_workers(&self, old: &BTreeSet<i32>) -> BTreeSet<i32> {
        let deadline = Instant::now() + Duration::from_secs(120);
        let mut seen = BTreeSet::new();
        while seen.len() < WORKERS {
            assert!(Instant::now() < deadline, "Puma's workers do not come: {seen:?}");
            let pid = self.get("/pid").and_then(|pid| pid.parse().ok());
            let Some(pid) = pid else {
                thread::sleep(Duration::from_millis(50));
                continue;
            };
            if old.contains(&pid) {
                seen.clear();
            } else {
                seen.insert(pid);
            }
        }
        seen
    }

    fn requests(&self) -> u64 {
        let text = self.get("/metrics").expect("an answer to /metrics");
        let total = sum(&text, "requests_total ");
        // What workers counted for themselves is as much: their series are those of all.
        let here = sum(&text, "here_total{");
        assert!(here <= total && here + 64 >= total, "{here} {total}");
        total
    }

    /// Requests from four clients that await every reply; how many were answered.
    fn ask(&self, each: usize) -> u64 {
        thread::scope(|scope| {
            let clients = [(); 4].map(|()| {
                scope.spawn(|| (0..each).filter(|_| self.get("/").is_some()).count() as u64)
            });
            clients.into_iter().map(|client| client.join().unwrap()).sum()
        })
    }

    /// Requests from wrk for some seconds; how many it saw answered.
    fn storm(&self, connections: u64, seconds: u64) -> u64 {
        let output = run(Command::new("wrk")
            .args(["-t2", &format!("-c{connections}"), &format!("-d{seconds}s")])
            .arg(format!("http://127.0.0.1:{}/", self.port)))
        .success();
        let line = output.stdout.lines().find(|line| line.contains(" requests in "));
        line.unwrap().split_whitespace().next().unwrap().parse().unwrap()
    }
}

/// The sum of the values of the lines that start so.
fn sum(text: &str, start: &str) -> u64 {
    let lines = text.lines().filter(|line| line.starts_with(start));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// Every worker says the same.
fn exactly(puma: &Puma, expected: u64) {
    for _ in 0..16 {
        assert_eq!(puma.requests(), expected);
    }
}

fn kill_one(puma: &Puma) {
    let victim: i32 = puma.get("/pid").unwrap().parse().unwrap();
    kill_process(Pid::from_raw(victim).unwrap(), Signal::KILL).unwrap();
    puma.wait_for_workers(&BTreeSet::from([victim]));
}

#[test]
fn a_cluster_with_preload_counts_every_request_once() {
    let folder = tempfile::tempdir().unwrap();
    let puma = Puma::start(folder.path(), &["--preload"], None);
    let mut expected = puma.ask(100);
    assert_eq!(expected, 400);
    exactly(&puma, expected);
    // Between requests: nothing of it is lost.
    kill_one(&puma);
    exactly(&puma, expected);
    expected += puma.ask(50);
    exactly(&puma, expected);
    // wrk ends with requests under way, at most one of each connection.
    let connections = 16;
    let done = puma.storm(connections, 2);
    let counted = puma.requests() - expected;
    assert!(done <= counted && counted <= done + connections, "{done} done, {counted} counted");
    expected += counted;
    // A worker is killed in the middle: what it was answering may be counted, and not answered.
    let (done, killed) = thread::scope(|scope| {
        let storm = scope.spawn(|| puma.storm(connections, 4));
        thread::sleep(Duration::from_secs(1));
        let killed = connections;
        kill_one(&puma);
        (storm.join().unwrap(), killed)
    });
    let counted = puma.requests() - expected;
    let most = done + connections + killed;
    assert!(done <= counted && counted <= most, "{done} done, {counted} counted");
    exactly(&puma, expected + counted);
}

#[test]
fn a_cluster_without_preload_shares_a_file_over_a_phased_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tallyport.toml");
    let arena = folder.path().join("metrics.arena");
    let text = format!(
        "schema = 1\n[recording]\nshare = \"file\"\narena = {:?}\n",
        arena.to_str().unwrap()
    );
    fs::write(&config, text).unwrap();
    let puma = Puma::start(folder.path(), &[], Some(&config));
    let old = puma.wait_for_workers(&BTreeSet::new());
    let mut expected = puma.ask(50);
    exactly(&puma, expected);
    kill_process(Pid::from_child(&puma.master), Signal::USR1).unwrap();
    puma.wait_for_workers(&old);
    exactly(&puma, expected);
    expected += puma.ask(50);
    exactly(&puma, expected);
    assert_eq!(expected, 400);
}
