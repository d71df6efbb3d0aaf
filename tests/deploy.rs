//! The files of `deploy/`: each is read by the program that it is for, or by a strict reader, and each
//! command in them runs, on an arena and a store of the test's own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // as tests

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;
use tallyport_core::engine::{Engine, config::Config};
use tallyport_tests::{
    built, python, repo_root, run,
    served::{Served, tallyport},
};
use tempfile::TempDir;

fn deploy(name: &str) -> PathBuf {
    repo_root().join("deploy").join(name)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn yaml(name: &str) -> Vec<Value> {
    let read = run(python("read_yaml.py").arg(deploy(name))).success();
    serde_json::from_str(&read.stdout).unwrap()
}

/// Where a machine has `/etc/tallyport` and its like.
struct Machine {
    root: TempDir,
    redis: Option<Child>,
    /// What records into the arena or shares through the store.
    _hosts: Vec<Engine>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(redis) = &mut self.redis {
            let _ = redis.kill();
            let _ = redis.wait();
        }
    }
}

impl Machine {
    /// A machine with this configuration, on which hosts recorded.
    fn new(config: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in
            ["etc/tallyport", "etc/tallyport-secrets", "run/tallyport", "var/lib/tallyport"]
        {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let mut machine = Self { root, redis: None, _hosts: Vec::new() };
        let secret = machine.root.path().join("etc/tallyport-secrets/scrape-tokens");
        fs::write(&secret, "a-token\n").unwrap();
        let _ = run(Command::new("chmod").arg("440").arg(secret)).success();
        let config = machine.here(config);
        if config.contains("redis+unix://") {
            machine.start_redis();
        }
        let file = machine.root.path().join("etc/tallyport/tallyport.toml");
        fs::write(&file, config).unwrap();
        let config = Config::load(&file).unwrap_or_else(|e| panic!("{e}"));
        for amount in [3, 4] {
            let engine = Engine::builder().config(config.clone()).build().unwrap();
            engine.metrics().counter("shop_orders_total", &[]).unwrap().add(amount);
            engine.sync().unwrap();
            machine._hosts.push(engine);
        }
        machine
    }

    /// A text with this machine's folders, port and Redis in the place of those that it names.
    fn here(&self, text: &str) -> String {
        let root = self.root.path().display();
        let mut text = text.to_owned();
        for folder in ["/etc/tallyport", "/run/tallyport", "/var/lib/tallyport"] {
            text = text.replace(folder, &format!("{root}{folder}"));
        }
        text.replace("127.0.0.1:9464", "127.0.0.1:0")
            .replace("0.0.0.0:9464", "127.0.0.1:0")
            .replace("redis://redis:6379/", &format!("redis+unix://{root}/redis.sock"))
    }

    fn start_redis(&mut self) {
        let socket = self.root.path().join("redis.sock");
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]);
        command.arg(&socket).arg("--dir").arg(self.root.path()).stdout(Stdio::null());
        self.redis = Some(command.spawn().expect("redis-server"));
        let until = Instant::now() + Duration::from_secs(30);
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < until, "Redis does not come");
            std::thread::yield_now();
        }
    }

    /// Runs a command line of the files: what exports ends with 0 and writes its file, what serves
    /// answers a scrape and ends when it is told to.
    fn executes(&self, words: &[String]) {
        let words: Vec<String> = words.iter().map(|word| self.here(word)).collect();
        let arguments = words.split_first().filter(|(first, _)| first.ends_with("tallyport"));
        let (_, arguments) = arguments.unwrap_or_else(|| panic!("{words:?}"));
        if arguments[0] == "serve" {
            let served = Served::run(tallyport().args(arguments));
            let reply = served.get("/metrics", &["Authorization: Bearer a-token"]);
            assert!(reply.text().contains("\nshop_orders_total 7\n"), "{words:?}: {reply:?}");
            assert_eq!(served.get("/healthz", &[]).code, 200);
            let ended = served.end(Signal::TERM);
            assert_eq!(ended.code, 143, "{ended:?}");
            return;
        }
        let done = run(tallyport().args(arguments)).success();
        assert_eq!(done.stderr, "", "{words:?}");
        let at = arguments.iter().position(|word| word == "--output").expect("an output");
        let written = text(Path::new(&arguments[at + 1]));
        assert!(written.contains("shop_orders_total 7\n"), "{words:?}: {written}");
    }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_cron_line_is_one_and_its_command_runs() {
    let machine = Machine::new(&text(&deploy("tallyport.toml")));
    let mut lines = 0;
    for line in text(&deploy("cron/tallyport")).lines() {
        if line.starts_with('#') || line.split_whitespace().next().is_none_or(|w| w.contains('=')) {
            continue;
        }
        let words = words(line);
        let (times, rest) = words.split_at(5);
        let time = |word: &String| word.bytes().all(|b| b.is_ascii_digit() || b"*/,-".contains(&b));
        assert!(times.iter().all(time), "{line}");
        // In cron.d the user follows; a percent sign would end the command.
        assert!(!rest[0].contains('/') && !line.contains('%'), "{line}");
        machine.executes(&rest[1..]);
        lines += 1;
    }
    assert_eq!(lines, 1);
}

#[test]
fn systemd_takes_the_units_and_their_commands_run() {
    let machine = Machine::new(&text(&deploy("tallyport.toml")));
    let folder = machine.root.path().join("units");
    fs::create_dir(&folder).unwrap();
    let binary = built("tallyport");
    let mut units = Vec::new();
    for entry in fs::read_dir(deploy("systemd")).unwrap() {
        let path = entry.unwrap().path();
        let unit = text(&path);
        for line in unit.lines() {
            if let Some(command) = line.strip_prefix("ExecStart=") {
                assert!(command.starts_with("/usr/bin/tallyport "), "{line}");
                machine.executes(&words(command));
            }
        }
        // It is not installed here.
        let unit = unit.replace("/usr/bin/tallyport", binary.to_str().unwrap());
        let copy = folder.join(path.file_name().unwrap());
        fs::write(&copy, unit).unwrap();
        units.push(copy);
    }
    assert_eq!(units.len(), 3);
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no"]).args(&units);
    let said = run(&mut verify);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
}

/// Every `command` of a container, with the ConfigMap that is its configuration.
fn commands(value: &Value, found: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let list = value.as_array().filter(|_| key == "command");
                let words =
                    list.map(|list| list.iter().map(|word| word.as_str().unwrap().to_owned()));
                match words {
                    Some(words) => found.push(words.collect()),
                    None => commands(value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|one| commands(one, found)),
        _ => {}
    }
}

fn find<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    let of_kind = documents.iter().find(|one| one["kind"] == kind);
    of_kind.unwrap_or_else(|| panic!("no {kind}"))
}

#[test]
fn kubernetes_objects_are_whole_and_their_commands_run() {
    for (file, kinds) in [
        ("kubernetes/deployment.yaml", &["ConfigMap", "Deployment"][..]),
        ("kubernetes/cronjob.yaml", &["ConfigMap", "CronJob"]),
        ("kubernetes/servicemonitor.yaml", &["Service", "ServiceMonitor"]),
    ] {
        let documents = yaml(file);
        let got: Vec<_> = documents.iter().map(|one| one["kind"].as_str().unwrap()).collect();
        assert_eq!(got, kinds, "{file}");
        for one in &documents {
            assert!(one["apiVersion"].is_string() && one["metadata"]["name"].is_string(), "{file}");
        }
        let mut found = Vec::new();
        documents.iter().for_each(|one| commands(one, &mut found));
        assert_eq!(found.len(), usize::from(kinds.contains(&"ConfigMap")), "{file}");
        for command in found {
            let config = &find(&documents, "ConfigMap")["data"]["tallyport.toml"];
            Machine::new(config.as_str().unwrap()).executes(&command);
        }
    }
    // What refers to each other has the same names.
    let deployment = yaml("kubernetes/deployment.yaml");
    let pod = &find(&deployment, "Deployment")["spec"]["template"];
    let monitor = yaml("kubernetes/servicemonitor.yaml");
    let service = find(&monitor, "Service");
    assert_eq!(service["spec"]["selector"], pod["metadata"]["labels"]);
    let endpoint = &find(&monitor, "ServiceMonitor")["spec"]["endpoints"][0];
    assert_eq!(endpoint["port"], service["spec"]["ports"][0]["name"]);
    let sidecar = &pod["spec"]["containers"][1];
    assert_eq!(service["spec"]["ports"][0]["targetPort"], sidecar["ports"][0]["name"]);
    assert_eq!(endpoint["authorization"]["credentials"]["name"], "shop-scrape-tokens");
    assert!(pod["spec"]["volumes"][2]["secret"]["secretName"] == "shop-scrape-tokens");
    for container in pod["spec"]["containers"].as_array().unwrap() {
        for mount in container["volumeMounts"].as_array().unwrap() {
            let volumes = pod["spec"]["volumes"].as_array().unwrap();
            assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]), "{mount}");
        }
    }
}

#[test]
fn the_compose_file_starts_what_is_there() {
    let documents = yaml("compose/compose.yaml");
    let services = documents[0]["services"].as_object().unwrap();
    let mut found = Vec::new();
    commands(&documents[0], &mut found);
    assert_eq!(found.len(), 1);
    Machine::new(&text(&deploy("tallyport.toml"))).executes(&found[0]);
    for service in services.values() {
        for volume in service["volumes"].as_array().unwrap() {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            if source.starts_with("..") {
                assert!(deploy("compose").join(source).exists(), "{source}");
            }
        }
    }
    // What Prometheus scrapes is a service of it.
    let scraped = &yaml("prometheus/prometheus.yml")[0]["scrape_configs"][0]["static_configs"][0];
    let target = scraped["targets"][0].as_str().unwrap().split(':').next().unwrap();
    assert!(services.contains_key(target), "{target}");
}

#[test]
fn prometheus_takes_its_configuration_and_every_alert_fires_when_it_should() {
    let promtool = |arguments: [&str; 2], file: &str| {
        let _ = run(Command::new("promtool").args(arguments).arg(deploy(file))).success();
    };
    promtool(["check", "config"], "prometheus/prometheus.yml");
    promtool(["check", "rules"], "prometheus/alerts.yml");
    promtool(["test", "rules"], "prometheus/alerts.test.yml");
    let rules = &yaml("prometheus/alerts.yml")[0]["groups"][0]["rules"];
    let tests = &yaml("prometheus/alerts.test.yml")[0]["tests"][0]["alert_rule_test"];
    let guide = text(&repo_root().join("docs/OPERATIONS.md"));
    for rule in rules.as_array().unwrap() {
        let fires = |test: &&Value| {
            test["alertname"] == rule["alert"] && !test["exp_alerts"].as_array().unwrap().is_empty()
        };
        assert_eq!(tests.as_array().unwrap().iter().filter(fires).count(), 1, "{}", rule["alert"]);
        let name = rule["alert"].as_str().unwrap();
        assert!(guide.contains(&format!("`{name}`")), "docs/OPERATIONS.md says nothing of {name}");
    }
}

/// The names of metrics in a text, without what formats put behind them.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !word(c)).filter(|word| word.starts_with("tallyport_"));
    words.map(|word| word.strip_suffix("_bucket").unwrap_or(word).to_owned()).collect()
}

/// Everything below a folder that is Rust.
fn sources(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&text(&path));
        }
    }
}

#[test]
fn the_dashboard_and_the_alerts_query_metrics_that_there_are() {
    let dashboard: Value = serde_json::from_str(&text(&deploy("grafana/dashboard.json"))).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    let mut queried = text(&deploy("prometheus/alerts.yml"));
    for (number, target) in panels.iter().flat_map(|p| p["targets"].as_array().unwrap()).enumerate()
    {
        let expression = target["expr"].as_str().unwrap();
        queried += expression;
        let expression = expression.replace("$job", ".*").replace('\'', "''");
        rules += &format!("  - record: panel:{number}:expr\n    expr: '{expression}'\n");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), rules).unwrap();
    let _ = run(Command::new("promtool").args(["check", "rules"]).arg(file.path())).success();
    let mut code = String::new();
    sources(&repo_root().join("core/src"), &mut code);
    let there = metrics_in(&code);
    let absent: Vec<_> = metrics_in(&queried).difference(&there).cloned().collect();
    assert!(absent.is_empty(), "nothing records {absent:?}");
}
