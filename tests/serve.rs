//! `tallyport serve` as clients see it: what they are given, what they are refused, and that those who
//! are slow, hostile or gone cost nobody else anything.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // as tests

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::Value;
use tallyport_core::engine::{
    Engine,
    config::{Config, ShareConfig},
};
use tallyport_tests::{
    plugin, python, run,
    served::{Reply, Served, connect, exchange},
};
use tempfile::TempDir;

/// An arena that is recorded into, and where its files are.
struct Shop {
    folder: TempDir,
    engine: Engine,
}

impl Shop {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.recording.share = ShareConfig::File;
        config.recording.arena = Some(folder.path().join("metrics.arena"));
        let engine = Engine::builder().config(config).build().unwrap();
        let metrics = engine.metrics();
        metrics.counter("requests_total", &[("path", "/a\"b\\c\nd")]).unwrap().add(7);
        metrics.gauge("temperature.celsius", &[]).unwrap().set(-1.5);
        metrics.histogram("request_seconds", &[], &[]).unwrap().observe(0.2);
        Self { folder, engine }
    }

    /// Many series: an answer of some megabytes.
    fn grow(&self, series: usize) {
        let padding = "x".repeat(200);
        for number in 0..series {
            let labels = [("number", &*number.to_string()), ("padding", &padding)];
            self.engine.metrics().counter("many_total", &labels).unwrap().inc();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arena(&self) -> String {
        self.path("metrics.arena").to_str().unwrap().to_owned()
    }

    /// Serves the arena with these keys of `[serve]`.
    fn serve(&self, keys: &str) -> Served {
        self.serve_with(&format!("schema = 1\n[serve]\n{keys}\n"))
    }

    fn serve_with(&self, config: &str) -> Served {
        let file = self.path("tallyport.toml");
        fs::write(&file, config).unwrap();
        let config = file.to_str().unwrap();
        Served::start(["--arena", &self.arena(), "--config", config, "--stop-timeout", "1"])
    }
}

/// What a strict reader makes of a body.
fn read_strictly(script: &str, folder: &Path, body: &[u8]) -> Value {
    let file = folder.join("body");
    fs::write(&file, body).unwrap();
    serde_json::from_str(&run(python(script).arg(file)).success().stdout).unwrap()
}

fn codes(replies: &[Reply]) -> Vec<u16> {
    replies.iter().map(|reply| reply.code).collect()
}

fn request(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[test]
fn what_was_recorded_is_served_in_the_format_that_was_asked_for() {
    let shop = Shop::new();
    let served = shop.serve("");
    let prometheus = "Accept: application/openmetrics-text;version=1.0.0,\
                      application/openmetrics-text;version=0.0.1;q=0.75,\
                      text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for (accept, content_type, reader) in [
        ("X: y", "text/plain; version=0.0.4; charset=utf-8", "read_prometheus.py"),
        ("Accept: image/png", "text/plain; version=0.0.4; charset=utf-8", "read_prometheus.py"),
        (prometheus, OPENMETRICS, "read_openmetrics.py"),
    ] {
        let reply = served.get("/metrics", &[accept]);
        assert_eq!((reply.code, reply.field("Content-Type")), (200, content_type));
        assert_eq!(reply.field("Cache-Control"), "no-store");
        assert_eq!(reply.field("Vary"), "Accept, Accept-Encoding");
        assert_eq!(reply.field("Content-Encoding"), "");
        let series = read_strictly(reader, shop.folder.path(), &reply.body);
        let series = series.as_array().unwrap();
        let total = |name: &str| series.iter().find(|one| one["name"] == name).unwrap();
        assert_eq!(total("requests_total")["labels"]["path"], "/a\"b\\c\nd");
        assert!(total("requests_total")["value"].to_string().contains('7'));
        assert!(reply.text().contains("U__temperature_2e_celsius -1.5\n"));
    }
    let utf8 = "Accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let reply = served.get("/metrics?x=y", &[utf8]);
    assert_eq!(reply.field("Content-Type"), format!("{OPENMETRICS}; escaping=allow-utf-8"));
    assert!(reply.text().contains("{\"temperature.celsius\"} -1.5\n"));
    // What is recorded from now on is in the next answer.
    shop.engine.metrics().counter("later_total", &[]).unwrap().add(3);
    assert!(served.get("/metrics", &[]).text().contains("\nlater_total 3\n"));
}

#[test]
fn gzip_is_sent_to_those_that_ask_for_it_and_head_is_get_without_a_body() {
    let shop = Shop::new();
    shop.grow(1000);
    let served = shop.serve("");
    let plain = served.get("/metrics", &["Accept-Encoding: gzip;q=0, br"]);
    assert_eq!(plain.field("Content-Encoding"), "");
    let packed = served.get("/metrics", &["Accept-Encoding: br, gzip"]);
    assert_eq!(packed.field("Content-Encoding"), "gzip");
    assert!(packed.body.len() * 5 < plain.body.len(), "{}", packed.body.len());
    let file = shop.path("body.gz");
    fs::write(&file, &packed.body).unwrap();
    let unpacked = run(Command::new("gzip").arg("-dc").arg(&file)).success().stdout;
    assert_eq!(unpacked, plain.text());
    for (fields, reply) in [("", &plain), ("Accept-Encoding: gzip\r\n", &packed)] {
        let fields = format!("{fields}Connection: close\r\n");
        let heads = exchange(served.address, request("HEAD", "/metrics", &fields).as_bytes());
        assert_eq!(codes(&heads), [200]);
        let length = |reply: &Reply| reply.field("Content-Length").parse::<usize>().unwrap();
        assert_eq!(length(&heads[0]), length(reply));
        assert_eq!(heads[0].field("Content-Encoding"), reply.field("Content-Encoding"));
    }
    let off = shop.serve("gzip = false");
    let reply = off.get("/metrics", &["Accept-Encoding: gzip"]);
    assert_eq!(reply.field("Content-Encoding"), "");
}

#[test]
fn requests_that_are_none_or_not_ours_have_their_status() {
    let shop = Shop::new();
    let served = shop.serve("");
    let long = format!("X: {}\r\n", "y".repeat(20_000));
    let many = "A: b\r\n".repeat(100);
    for (head, wanted) in [
        (request("GET", "/healthz", ""), 200),
        (request("HEAD", "/healthz", ""), 200),
        (request("GET", "http://elsewhere:1/metrics", ""), 200),
        (request("GET", "/metrics", "Content-Length: 0\r\n"), 200),
        (request("POST", "/metrics", ""), 405),
        (request("DELETE", "/healthz", ""), 405),
        (request("get", "/metrics", ""), 405),
        (request("BREW", "/metrics", ""), 405),
        (request("OPTIONS", "*", ""), 404),
        (request("CONNECT", "elsewhere:443", ""), 404),
        (request("GET", "/", ""), 404),
        (request("GET", "//metrics", ""), 404),
        (request("GET", "/metrics/", ""), 404),
        (request("GET", "/metrics/../metrics", ""), 404),
        (request("GET", "/%6detrics", ""), 404),
        (request("GET", "/METRICS", ""), 404),
        (request("GET", "/metrics;v=1", ""), 404),
        (request("GET", "/../../etc/passwd", ""), 404),
        (request("GET", "/metrics\0", ""), 400),
        (request("GET", "/met rics", ""), 400),
        (request("GET", "/metrics", "Content-Length: 5\r\n") + "hello", 413),
        (request("GET", "/metrics", "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", 413),
        (request("POST", "/metrics", "Content-Length: 5\r\n") + "hello", 405),
        (request("GET", "/metrics", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"), 400),
        (request("GET", "/metrics", "Content-Length: 1\r\nContent-Length: 2\r\n"), 400),
        (request("GET", "/metrics", "Content-Length: -1\r\n"), 400),
        (request("GET", "/metrics", "Host: again\r\n"), 400),
        ("GET /metrics HTTP/1.1\r\n\r\n".into(), 400),
        ("GET /metrics HTTP/1.0\r\n\r\n".into(), 200),
        ("GET /metrics HTTP/3.0\r\nHost: a\r\n\r\n".into(), 505),
        ("\u{16}\u{3}\u{1}\u{2}\0".into(), 400),
        ("SSH-2.0-OpenSSH_9.2\r\n".into(), 400),
        ("GET /metrics\r\n\r\n".into(), 400),
        (request("GET", "/metrics", &long), 431),
        (request("GET", "/metrics", &many), 431),
    ] {
        let close = head.starts_with("GET /metrics HTTP/1.0") || wanted >= 400;
        let bytes = head.into_bytes();
        let mut stream = connect(served.address).unwrap();
        stream.write_all(&bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let reply =
            Reply::take(&mut got, bytes.starts_with(b"HEAD")).unwrap_or_else(|| panic!("{shown}"));
        assert_eq!(reply.code, wanted, "{shown}: {reply:?}");
        assert!(got.is_empty(), "{shown}: {:?}", String::from_utf8_lossy(&got));
        if wanted == 405 {
            assert_eq!(reply.field("Allow"), "GET, HEAD");
        }
        if wanted >= 400 && wanted != 505 && close {
            let json: Value = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!(json["status"], wanted);
        }
    }
}

#[test]
fn requests_that_are_sent_ahead_are_answered_in_their_order() {
    let shop = Shop::new();
    let served = shop.serve("");
    let mut ahead = String::new();
    for _ in 0..100 {
        ahead += &request("GET", "/metrics", "");
        ahead += &request("GET", "/nowhere", "");
        ahead += &request("GET", "/healthz", "");
    }
    ahead += &request("GET", "/healthz", "Connection: close\r\n");
    ahead += &request("GET", "/metrics", "");
    let replies = exchange(served.address, ahead.as_bytes());
    let mut wanted = [200, 404, 200].repeat(100);
    wanted.push(200);
    assert_eq!(codes(&replies), wanted);
    assert!(replies[..300].iter().all(|reply| reply.field("Connection") == "keep-alive"));
    // Byte by byte it is the same request.
    let mut stream = connect(served.address).unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in request("GET", "/metrics", "Connection: close\r\n").bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert_eq!(Reply::take(&mut got, false).unwrap().code, 200);
}

#[test]
fn only_who_has_credentials_reads_metrics() {
    let shop = Shop::new();
    let secret = |text: &str| {
        let file = shop.path("credentials");
        fs::write(&file, text).unwrap();
        let _ = run(Command::new("chmod").arg("600").arg(file)).success();
    };
    secret("token-one\ntoken-two\n");
    let served = shop.serve("auth = 'bearer'\ncredentials_file = 'credentials'");
    let code = |served: &Served, fields: &[&str]| {
        let reply = served.get("/metrics", fields);
        assert_eq!(reply.code == 401, !reply.field("WWW-Authenticate").is_empty(), "{reply:?}");
        reply.code
    };
    for admitted in ["token-one", "token-two"] {
        assert_eq!(code(&served, &[&format!("Authorization: Bearer {admitted}")]), 200);
    }
    for refused in [
        &[][..],
        &["Authorization:"],
        &["Authorization: Bearer"],
        &["Authorization: Bearer token-on"],
        &["Authorization: Bearer token-one2"],
        &["Authorization: Basic token-one"],
        &["X-Authorization: Bearer token-one"],
    ] {
        assert_eq!(code(&served, refused), 401, "{refused:?}");
    }
    let twice = ["Authorization: Bearer token-one", "Authorization: Bearer token-one"];
    assert_eq!(code(&served, &twice), 400);
    assert_eq!(served.get("/metrics", &[]).field("WWW-Authenticate"), "Bearer realm=\"tallyport\"");
    assert_eq!(served.get("/healthz", &[]).code, 200);
    drop(served);
    secret("scraper:sesame\n");
    let served = shop.serve("auth = 'basic'\ncredentials_file = 'credentials'");
    // printf scraper:sesame | base64
    assert_eq!(code(&served, &["Authorization: Basic c2NyYXBlcjpzZXNhbWU="]), 200);
    assert_eq!(code(&served, &["Authorization: Basic c2NyYXBlcjpzZXNhbWV="]), 401);
    assert_eq!(code(&served, &["Authorization: Basic !"]), 401);
    assert!(served.get("/metrics", &[]).field("WWW-Authenticate").starts_with("Basic realm="));
}

#[test]
fn an_export_that_fails_is_a_503_that_says_why() {
    let shop = Shop::new();
    let served = Served::start(["--arena", shop.path("not-there").to_str().unwrap()]);
    let reply = served.get("/metrics", &[]);
    let said: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((reply.code, reply.field("Content-Type")), (503, "application/json"));
    assert!(said["error"].as_str().unwrap().contains("not-there"), "{said}");
    assert_eq!(said["kind"], "io");
    assert_eq!(served.get("/healthz", &[]).code, 200);
    let failing = plugin("export_fails.c");
    let config = format!(
        "schema = 1\n[serve]\nformats = ['bad', 'gone', 'json']\n[plugins.bad]\npath = '{}'\n",
        failing.display()
    );
    let served = shop.serve_with(&config);
    assert_eq!(served.get("/metrics", &[]).code, 503);
    let json = served.get("/metrics", &["Accept: application/json"]);
    assert_eq!((json.code, json.field("Content-Type")), (200, "application/json"));
}

#[test]
fn an_exporter_that_hangs_costs_its_workers_and_nothing_else() {
    let shop = Shop::new();
    let config = format!(
        "schema = 1\n[serve]\nformats = ['hangs', 'openmetrics']\nworkers = 1\nmax_waiting = 1\n\
         answer_timeout_ms = 1_000\n[plugins.hangs]\npath = '{}'\nprobe = 'never'\n",
        plugin("hangs_in_export.c").display()
    );
    let served = shop.serve_with(&config);
    let well = ["Accept: application/openmetrics-text"];
    assert_eq!(served.get("/metrics", &well).code, 200);
    let kind = |reply: &Reply| {
        assert_eq!(reply.code, 503, "{reply:?}");
        let said: Value = serde_json::from_slice(&reply.body).unwrap();
        said["kind"].as_str().unwrap().to_owned()
    };
    // The worker hangs, one request waits, the others are told at once.
    assert_eq!(kind(&served.get("/metrics", &[])), "timeout");
    assert_eq!(kind(&served.get("/metrics", &well)), "timeout");
    let busy = served.get("/metrics", &well);
    assert_eq!((kind(&busy).as_str(), busy.field("Retry-After")), ("busy", "1"));
    assert_eq!(served.get("/healthz", &[]).code, 200);
    // Told to end, it does not wait for what never returns.
    let ended = served.end(Signal::TERM);
    assert_eq!(ended.code, 143, "{ended:?}");
    assert!(ended.stderr.iter().any(|line| line.contains("when the time to stop was over")));
}

/// Most memory that a server had, in kB: all clients together may not make it more.
fn peak(served: &Served) -> u64 {
    served.status_kb("VmHWM")
}

#[test]
fn slow_heads_end_in_their_time_and_cost_nobody_else() {
    let shop = Shop::new();
    let served = shop.serve("head_timeout_ms = 3_000");
    let before = peak(&served);
    let begun = Instant::now();
    let mut slow: Vec<TcpStream> = (0..300).map(|_| connect(served.address).unwrap()).collect();
    for part in ["GET /metrics HTTP/1.1\r\n", "Host: test\r\n", "X-a: b\r\n"] {
        for stream in &mut slow {
            // A head is let in whole parts, as long as it takes: its time does not begin anew.
            let _ = stream.write_all(part.as_bytes());
        }
        let asked = Instant::now();
        assert_eq!(served.get("/metrics", &[]).code, 200);
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    }
    let mut answers = 0;
    for stream in &mut slow {
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        answers += usize::from(Reply::take(&mut got, false).is_some_and(|reply| reply.code == 408));
    }
    assert_eq!(answers, 300, "after {:?}", begun.elapsed());
    assert!(peak(&served) < before + 32_768, "{before} kB before, {} kB", peak(&served));
}

#[test]
fn a_head_of_a_megabyte_is_refused_and_kept_nowhere() {
    let shop = Shop::new();
    let served = shop.serve("");
    let before = peak(&served);
    let head = request("GET", "/metrics", &format!("X: {}\r\n", "y".repeat(1 << 20)));
    let endless = vec![b'y'; 1 << 20];
    let newlines = vec![b'\n'; 1 << 20];
    for _ in 0..20 {
        assert_eq!(codes(&exchange(served.address, head.as_bytes())), [431]);
        assert_eq!(codes(&exchange(served.address, &endless)), [431]);
        assert_eq!(codes(&exchange(served.address, &newlines)), [431]);
    }
    assert!(peak(&served) < before + 32_768, "{before} kB before, {} kB", peak(&served));
}

fn allow_descriptors(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        let maximum = limit.maximum.map(|maximum| maximum.max(count));
        setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum }).unwrap();
    }
}

/// 2,000 connections, 10,000 in `make campaign`: at a server that has a place for each, and at one that
/// has not.
#[test]
fn crowds_of_connections_are_held_or_give_way_and_scrapes_go_on() {
    let count: usize =
        std::env::var("TALLYPORT_CONNECTIONS").map_or(2000, |text| text.parse().unwrap());
    allow_descriptors(count as u64 + 500);
    let shop = Shop::new();
    for places in [512, count + 10] {
        let served = shop.serve(&format!("max_connections = {places}\nhead_timeout_ms = 60_000"));
        let before = peak(&served);
        let begun = Instant::now();
        let mut crowd: Vec<TcpStream> = Vec::new();
        let mut slowest = Duration::ZERO;
        for number in 0..count {
            let mut stream = connect(served.address).unwrap();
            if number % 2 == 0 {
                // Half of them begin a request that never ends.
                let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nX-a: ");
            }
            crowd.push(stream);
            if number % 200 == 0 {
                let asked = Instant::now();
                assert_eq!(served.get("/metrics", &[]).code, 200);
                slowest = slowest.max(asked.elapsed());
            }
        }
        let connected = begun.elapsed();
        let asked = Instant::now();
        assert_eq!(served.get("/metrics", &[]).code, 200);
        slowest = slowest.max(asked.elapsed());
        let open = served.descriptors();
        assert!(open >= places.min(count) && open < places + 50, "{open} of {places}");
        println!(
            "{count} connections, {places} places: connected in {connected:.1?}, slowest scrape \
             {slowest:.1?}, {} kB more at the peak",
            peak(&served) - before
        );
        assert!(slowest < Duration::from_secs(10), "{slowest:?}");
        // Places with a begun head: 16 KiB at most each, here much less.
        assert!(peak(&served) < before + 65_536, "{before} kB before, {} kB", peak(&served));
        drop(crowd);
    }
}

#[test]
fn clients_that_go_away_leave_nothing_behind() {
    let shop = Shop::new();
    shop.grow(2000);
    let served = shop.serve("max_connections = 64");
    assert_eq!(served.get("/metrics", &[]).code, 200);
    let (before, memory) = (served.descriptors(), peak(&served));
    for round in 0..300 {
        let mut stream = connect(served.address).unwrap();
        stream.write_all(request("GET", "/metrics", "").as_bytes()).unwrap();
        if round % 3 == 0 {
            // Midway: some of the answer is read.
            let _ = stream.read(&mut [0; 1000]).unwrap();
        }
        drop(stream);
    }
    assert_eq!(served.get("/metrics", &[]).code, 200);
    let until = Instant::now() + Duration::from_secs(20);
    while served.descriptors() > before {
        assert!(Instant::now() < until, "{} descriptors, {before} before", served.descriptors());
        assert_eq!(served.get("/healthz", &[]).code, 200);
    }
    assert!(peak(&served) < memory + 65_536, "{memory} kB before, {} kB", peak(&served));
}

#[test]
fn answers_that_nobody_takes_are_bounded_together_and_ended_in_their_time() {
    let shop = Shop::new();
    shop.grow(20_000);
    let served = shop.serve("max_answer_bytes = 15_000_000\nwrite_timeout_ms = 6_000\nworkers = 4");
    let whole = served.get("/metrics", &[]).body.len();
    assert!(whole > 4_000_000 && whole < 7_000_000, "{whole}");
    let before = peak(&served);
    let mut deaf: Vec<TcpStream> = Vec::new();
    for _ in 0..20 {
        let mut stream = connect(served.address).unwrap();
        stream.write_all(request("GET", "/metrics", "").as_bytes()).unwrap();
        deaf.push(stream);
    }
    // Some are served, for as many as there is room; the others are told to come again.
    let mut refused = 0;
    let until = Instant::now() + Duration::from_secs(60);
    while refused == 0 {
        assert!(Instant::now() < until, "nobody was refused");
        let reply = served.get("/metrics", &[]);
        assert!([200, 503].contains(&reply.code));
        if reply.code == 503 {
            assert_eq!(reply.field("Retry-After"), "1");
            // On a busy machine it may also come too late.
            refused += usize::from(reply.text().contains("max_answer_bytes"));
        }
    }
    assert_eq!(served.get("/healthz", &[]).code, 200);
    // Their time is over, and there is room again.
    while served.get("/metrics", &[]).code != 200 {
        assert!(Instant::now() < until, "there is never room again");
    }
    // What one scrape takes, for each of four workers; and the answers, whose buffers double as they
    // grow. Twenty answers alone would be 96 MB.
    let most = 4 * before + 2 * 15_000;
    assert!(peak(&served) < most, "{before} kB before, {} kB", peak(&served));
}

/// xorshift64*: the same numbers on every machine.
fn random(state: &mut u64) -> usize {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize
}

fn answers_well(address: SocketAddr, bytes: &[u8]) {
    let mut stream = connect(address).unwrap();
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got);
    while let Some(reply) = Reply::take(&mut got, bytes.starts_with(b"HEAD ")) {
        assert!([200, 400, 401, 404, 405, 413, 431, 503, 505].contains(&reply.code), "{reply:?}");
        if bytes.starts_with(b"HEAD ") {
            return;
        }
    }
}

#[test]
fn nonsense_is_answered_or_closed_and_never_ends_the_server() {
    let rounds = std::env::var("TALLYPORT_NONSENSE").map_or(500, |text| text.parse().unwrap());
    let shop = Shop::new();
    let mut served = shop.serve("");
    let good = request(
        "GET",
        "/metrics",
        "Accept: application/openmetrics-text;q=0.5,*/*;q=0.1\r\nAccept-Encoding: gzip\r\n\
         Content-Length: 0\r\nConnection: keep-alive\r\n",
    );
    let mut state = 42;
    for _ in 0..rounds {
        let mut bytes = good.repeat(1 + random(&mut state) % 3).into_bytes();
        for _ in 0..=random(&mut state) % 6 {
            if bytes.is_empty() {
                break;
            }
            let at = random(&mut state) % bytes.len();
            match random(&mut state) % 4 {
                0 => bytes[at] = random(&mut state) as u8,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"\r\n\0: ,;=\"/\xff"[random(&mut state) % 11]),
                _ => bytes.truncate(at + 1),
            }
        }
        answers_well(served.address, &bytes);
    }
    assert!(served.is_running());
    assert_eq!(served.get("/metrics", &[]).code, 200);
    let ended = served.end(Signal::TERM);
    assert_eq!(ended.code, 143, "{ended:?}");
}
