//! `tallyport serve` as its operator sees it: signals, reloads, exit codes, systemd; and a real
//! Prometheus that scrapes it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // as tests

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;
use tallyport_core::engine::Engine;
use tallyport_tests::{
    plugin, run,
    served::{Served, address_in, get, tallyport},
};
use tempfile::TempDir;

/// A folder with a snapshot that says how much was counted.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.save(7);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn save(&self, count: u64) {
        let engine = Engine::builder().build().unwrap();
        engine.metrics().counter("requests_total", &[("method", "GET")]).unwrap().add(count);
        engine.metrics().gauge("temperature_celsius", &[]).unwrap().set(-1.5);
        let took = engine.metrics().histogram("request_seconds", &[0.1, 1.0], &[]).unwrap();
        [0.05, 0.5, 5.0].into_iter().for_each(|value| took.observe(value));
        engine.save_snapshot(&self.path("app.snap")).unwrap();
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        // By a rename, as who cares for its readers does.
        let fresh = self.path("fresh");
        fs::write(&fresh, text).unwrap();
        let _ = run(Command::new("chmod").arg("600").arg(&fresh)).success();
        fs::rename(fresh, &path).unwrap();
        path
    }

    fn config(&self, text: &str) -> PathBuf {
        self.write("tallyport.toml", &format!("schema = 1\n{text}\n"))
    }

    fn args(&self) -> [String; 4] {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let [from, config] = ["app.snap", "tallyport.toml"].map(|name| text(self.path(name)));
        ["--from".to_owned(), from, "--config".to_owned(), config]
    }
}

fn body(served: &Served, path: &str) -> String {
    let reply = served.get(path, &[]);
    assert_eq!(reply.code, 200, "{reply:?}");
    reply.text()
}

#[test]
fn signals_end_it_after_the_answers_and_the_report_says_what_was_served() {
    let place = Place::new();
    place.config("");
    let args = place.args();
    for (signal, code, name) in [(Signal::TERM, 143, "SIGTERM"), (Signal::INT, 130, "SIGINT")] {
        let served = Served::start(args.iter().map(String::as_str).chain(["--report", "json"]));
        let address = served.address;
        assert!(body(&served, "/metrics").contains("requests_total{method=\"GET\"} 7\n"));
        assert_eq!(served.get("/nowhere", &[]).code, 404);
        let ended = served.end(signal);
        assert_eq!(ended.code, code, "{ended:?}");
        let report: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(report["schema"], "tallyport.serve/1");
        assert_eq!(report["address"], address.to_string());
        assert_eq!((&report["requests"], &report["refused"]), (&2.into(), &1.into()));
        assert_eq!((&report["signal"], &report["all_answered"]), (&name.into(), &true.into()));
        assert!(std::net::TcpStream::connect(address).is_err());
    }
    let quiet = Served::start(&args).end(Signal::TERM);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.len()), ("", 1), "{quiet:?}");
}

#[test]
fn a_snapshot_file_is_served_as_it_is_at_each_request() {
    let place = Place::new();
    place.config("");
    let served = Served::start(place.args());
    assert!(body(&served, "/metrics").contains("requests_total{method=\"GET\"} 7\n"));
    place.save(8);
    assert!(body(&served, "/metrics").contains("requests_total{method=\"GET\"} 8\n"));
    fs::write(place.path("app.snap"), "no snapshot").unwrap();
    let reply = served.get("/metrics", &[]);
    assert_eq!(reply.code, 503);
    assert!(reply.text().contains("app.snap"), "{}", reply.text());
}

#[test]
fn a_reload_changes_what_is_served_and_a_mistake_changes_nothing() {
    let place = Place::new();
    place.config("");
    let mut served = Served::start(place.args());
    assert!(body(&served, "/metrics").contains("requests_total"));
    place.config("[serve]\nmetrics_path = '/numbers'\nformats = ['json']");
    served.signal(Signal::HUP);
    served.says("reloaded");
    assert_eq!(served.get("/metrics", &[]).code, 404);
    assert!(body(&served, "/numbers").starts_with('{'));
    for (mistake, said) in [
        ("[serve]\nformat = 'json'", "formats"),
        ("[serve]\nauth = 'bearer'\ncredentials_file = 'absent'", "absent"),
        ("[serve]\nformats = ['xml']", "xml"),
        ("[plugins.gone]\npath = 'gone.so'\nrequired = true", "gone"),
    ] {
        place.config(mistake);
        served.signal(Signal::HUP);
        served.says("not reloaded");
        let reply = served.get("/numbers", &[]);
        assert_eq!(reply.code, 200, "{mistake}, {said}: {reply:?}");
    }
    // Credentials are read anew.
    place.write("tokens", "first\n");
    place.config("[serve]\nauth = 'bearer'\ncredentials_file = 'tokens'");
    served.signal(Signal::HUP);
    served.says("reloaded");
    let code = |served: &Served, token: &str| {
        served.get("/metrics", &[&format!("Authorization: Bearer {token}")]).code
    };
    assert_eq!((code(&served, "first"), code(&served, "second")), (200, 401));
    place.write("tokens", "second\n");
    served.signal(Signal::HUP);
    served.says("reloaded");
    assert_eq!((code(&served, "first"), code(&served, "second")), (401, 200));
}

#[test]
fn a_reload_moves_to_another_address() {
    let place = Place::new();
    // Free a moment ago.
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (first, second) = (free(), free());
    place.config(&format!("[serve]\nlisten = '{first}'"));
    let mut command = tallyport();
    let mut served = Served::run(command.arg("serve").args(place.args()));
    assert_eq!((served.address, served.get("/metrics", &[]).code), (first, 200));
    place.config(&format!("[serve]\nlisten = '{second}'"));
    served.signal(Signal::HUP);
    assert_eq!(address_in(&served.says("on http://")), second);
    assert_eq!(get(second, "/metrics", &[]).code, 200);
    // Told to move to where somebody else is, it stays.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    place.config(&format!("[serve]\nlisten = '{}'", taken.local_addr().unwrap()));
    served.signal(Signal::HUP);
    served.says("not reloaded");
    assert_eq!(get(second, "/metrics", &[]).code, 200);
}

#[test]
fn a_reload_loads_a_plugin_file_that_was_replaced() {
    let place = Place::new();
    let file = place.path("plugin.so");
    let install = |source: &str| {
        let fresh = place.path("fresh.so");
        fs::copy(plugin(source), &fresh).unwrap();
        fs::rename(fresh, &file).unwrap();
    };
    install("good_minimal.c");
    place.config("[serve]\nformats = ['vendor']\n[plugins.vendor]\npath = 'plugin.so'");
    let mut served = Served::start(place.args());
    let before = served.get("/metrics", &[]);
    assert_eq!(before.code, 200, "{before:?}");
    install("export_fails.c");
    served.signal(Signal::HUP);
    served.says("reloaded");
    assert_eq!(served.get("/metrics", &[]).code, 503);
    install("good_minimal.c");
    served.signal(Signal::HUP);
    served.says("reloaded");
    assert_eq!(served.get("/metrics", &[]).body, before.body);
}

#[test]
fn what_cannot_be_served_has_its_exit_code() {
    let place = Place::new();
    place.config("");
    let [_, from, _, config] = place.args();
    let ends = |args: &[&str], code: i32, text: &str| {
        let output = run(tallyport().arg("serve").args(args));
        assert_eq!(output.code, Some(code), "{args:?}: {output:?}");
        assert!(output.stderr.contains(text), "{args:?}: {output:?}");
    };
    ends(&[], 2, "--arena FILE");
    ends(&["--config", &config], 2, "--arena FILE");
    ends(&["--from", &from, "--arena", "x"], 2, "--arena");
    ends(&["--from", &from, "--listen", "nowhere"], 3, "127.0.0.1:9464");
    ends(&["--from", &from, "--config", "absent.toml"], 3, "absent.toml");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    ends(&["--from", &from, "--listen", &address], 5, &address);
    // An address that this machine has not.
    ends(&["--from", &from, "--listen", "192.0.2.1:0"], 10, "192.0.2.1");
    place.config("[serve]\nformats = ['xml']");
    ends(&["--from", &from, "--config", &config], 3, "xml");
    place.write("tokens", "two words\n");
    place.config("[serve]\nauth = 'bearer'\ncredentials_file = 'tokens'");
    ends(&["--from", &from, "--config", &config], 3, "tokens");
    let _ = run(Command::new("chmod").arg("644").arg(place.write("tokens", "token\n"))).success();
    ends(&["--from", &from, "--config", &config], 3, "chmod o-rwx");
    place.config("[plugins.gone]\npath = 'gone.so'\nrequired = true");
    ends(&["--from", &from, "--config", &config], 9, "gone");
}

#[test]
fn the_store_of_all_instances_is_served() {
    let place = Place::new();
    place.config("[store]\nkind = 'sqlite'\npath = 'store.db'");
    let config =
        tallyport_core::engine::config::Config::load(place.path("tallyport.toml")).unwrap();
    let record = |amount: u64| {
        let engine = Engine::builder().config(config.clone()).build().unwrap();
        engine.metrics().counter("shared_total", &[]).unwrap().add(amount);
        engine.sync().unwrap();
        engine
    };
    let (_one, _other) = (record(3), record(4));
    let config = place.path("tallyport.toml");
    let served = Served::start(["--shared", "--config", config.to_str().unwrap()]);
    assert!(body(&served, "/metrics").contains("\nshared_total 7\n"));
    let _third = record(5);
    assert!(body(&served, "/metrics").contains("\nshared_total 12\n"));
}

#[test]
fn a_service_manager_is_told() {
    let place = Place::new();
    place.config("");
    let socket = place.path("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let heard = || {
        let mut state = [0; 100];
        let read = manager.recv(&mut state).unwrap();
        String::from_utf8_lossy(&state[..read]).into_owned()
    };
    let mut command = tallyport();
    command.env("NOTIFY_SOCKET", &socket);
    command.args(["serve", "--listen", "127.0.0.1:0"]).args(place.args());
    let served = Served::run(&mut command);
    assert_eq!(heard(), "READY=1");
    served.signal(Signal::HUP);
    assert_eq!((heard(), heard()), ("RELOADING=1".into(), "READY=1".into()));
    let ended = served.end(Signal::TERM);
    assert_eq!((heard(), ended.code), ("STOPPING=1".into(), 143));
}

struct Prometheus {
    process: Child,
    address: SocketAddr,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prometheus {
    fn start(folder: &Path, config: &str) -> Self {
        let file = folder.join("prometheus.yml");
        fs::write(&file, config).unwrap();
        // Free a moment ago: it does not say which port it chose.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = fs::File::create(folder.join("prometheus.log")).unwrap();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdout(Stdio::null())
            .stderr(log);
        Self { process: command.spawn().unwrap(), address }
    }

    /// What it answers to a query, by job; empty while it is not there yet.
    fn query(&self, query: &str) -> Vec<(String, String)> {
        if std::net::TcpStream::connect(self.address).is_err() {
            return Vec::new();
        }
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let head =
            format!("GET /api/v1/query?query={escaped} HTTP/1.0\r\nHost: prometheus\r\n\r\n");
        let mut stream = tallyport_tests::served::connect(self.address).unwrap();
        std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let Ok(json) = serde_json::from_str::<Value>(body) else { return Vec::new() };
        let result = json["data"]["result"].as_array().cloned().unwrap_or_default();
        let mut answers: Vec<_> = result
            .iter()
            .map(|one| {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                (text(&one["metric"]["job"]), text(&one["value"][1]))
            })
            .collect();
        answers.sort();
        answers
    }

    fn answers(&self, query: &str, wanted: &[(&str, &str)]) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let got = self.query(query);
            let got: Vec<_> =
                got.iter().map(|(job, value)| (job.as_str(), value.as_str())).collect();
            if got == wanted {
                return;
            }
            assert!(Instant::now() < until, "{query}: {got:?}, not {wanted:?}");
            std::thread::sleep(Duration::from_millis(100)); // between two looks, not for order
        }
    }
}

#[test]
fn a_real_prometheus_scrapes_it_with_and_without_credentials() {
    let place = Place::new();
    place.config("");
    let open = Served::start(place.args());
    place.write("tokens", "s3cret-token\n");
    place.config("[serve]\nauth = 'bearer'\ncredentials_file = 'tokens'");
    let bearer = Served::start(place.args());
    place.write("pairs", "scraper:open sesame\n");
    place.config("[serve]\nauth = 'basic'\ncredentials_file = 'pairs'");
    let basic = Served::start(place.args());
    let job = |name: &str, served: &Served, more: &str| {
        format!(
            "- job_name: {name}\n  static_configs: [{{targets: ['{}']}}]\n{more}",
            served.address
        )
    };
    let config = [
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n".to_owned(),
        job("a_open", &open, ""),
        job("b_bearer", &bearer, "  authorization: {credentials: s3cret-token}\n"),
        job("c_basic", &basic, "  basic_auth: {username: scraper, password: open sesame}\n"),
        job("d_wrong", &bearer, "  authorization: {credentials: another}\n"),
        job("e_none", &basic, ""),
    ]
    .concat();
    let prometheus = Prometheus::start(place.0.path(), &config);
    prometheus.answers(
        "up",
        &[("a_open", "1"), ("b_bearer", "1"), ("c_basic", "1"), ("d_wrong", "0"), ("e_none", "0")],
    );
    let all = |value: &'static str| [("a_open", value), ("b_bearer", value), ("c_basic", value)];
    prometheus.answers("requests_total{method=\"GET\"}", &all("7"));
    prometheus.answers("temperature_celsius", &all("-1.5"));
    prometheus.answers("request_seconds_count", &all("3"));
    prometheus.answers("request_seconds_sum", &all("5.55"));
    prometheus.answers("request_seconds_bucket{le=\"0.1\"}", &all("1"));
    prometheus.answers("request_seconds_bucket{le=\"+Inf\"}", &all("3"));
    place.save(1_000_000);
    prometheus.answers("requests_total{method=\"GET\"}", &all("1000000"));
}
