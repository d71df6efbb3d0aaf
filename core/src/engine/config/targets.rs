//! The keys of `[export]` and `[targets.NAME]`.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, StoreKind, StrategyConfig};
use crate::{
    event::Pattern,
    model::schema::{KeyPath, Violation, ViolationKind},
    registry::{NAME_RULE, is_name},
};

/// The longest time that a key can name: a week.
const MAX_MS: u64 = 7 * 86_400_000;
const MAX_RETRIES: u32 = 100;
const MAX_HISTORY: usize = 10_000;
/// Headers that an export sets by itself.
const OWN_HEADERS: [&str; 7] = [
    "content-type",
    "content-encoding",
    "content-length",
    "idempotency-key",
    "transfer-encoding",
    "host",
    "connection",
];

/// What holds for all targets. All times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExportConfig {
    /// The deadline by which what was recorded must be exported.
    #[schemars(range(min = 1, max = MAX_MS))]
    pub retention_window_ms: u64,
    /// How long before that deadline an export is to be done.
    #[schemars(range(max = MAX_MS))]
    pub safety_margin_ms: u64,
    /// How long an exporter keeps the lease of its target without renewing it.
    #[schemars(range(min = 100, max = MAX_MS))]
    pub lease_ms: u64,
    /// Runs that the history keeps.
    #[schemars(range(max = MAX_HISTORY))]
    pub history: usize,
}

impl Default for ExportConfig {
    fn default() -> Self {
        Self {
            retention_window_ms: 300_000,
            safety_margin_ms: 60_000,
            lease_ms: 60_000,
            history: 100,
        }
    }
}

/// One export that is made again and again. All times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TargetConfig {
    /// What is written: an exporter's name, a format, or EXPORTER/FORMAT.
    #[schemars(length(min = 1))]
    pub exporter: String,
    /// False: it is not scheduled, nor exported by `--all`.
    pub enabled: bool,
    /// When a schedule exports it.
    pub strategy: TargetStrategy,
    /// Of `scheduled`: the time from one export to the next. Absent: `retention_window_ms` less
    /// `safety_margin_ms`.
    #[schemars(range(min = 10, max = MAX_MS))]
    pub interval_ms: Option<u64>,
    /// Of `threshold`: how many series must have changed.
    #[schemars(range(min = 1))]
    pub changes: Option<u64>,
    /// Of `threshold`: the time from one look to the next.
    #[schemars(range(min = 10, max = MAX_MS))]
    pub check_ms: u64,
    /// Of `event`: which one, or which ones (`task.*`).
    pub event: Option<String>,
    /// How much earlier or later an export may start, as a part of its interval.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub jitter: f64,
    /// Whose data it is.
    pub data: TargetData,
    /// What is done where the store cannot be asked for a lease.
    pub without_lease: WithoutLease,
    /// How often a failed export is tried again.
    #[schemars(range(max = MAX_RETRIES))]
    pub retries: u32,
    /// The first delay before it is; it doubles, and is up to half longer or shorter.
    #[schemars(range(min = 1, max = MAX_MS))]
    pub retry_ms: u64,
    /// The most that the delay doubles to.
    #[schemars(range(min = 1, max = MAX_MS))]
    pub max_retry_ms: u64,
    /// How long one attempt may take: it is not begun to deliver what is late.
    #[schemars(range(min = 1, max = MAX_MS))]
    pub timeout_ms: u64,
    /// Where it goes.
    pub destination: TargetDestination,
    /// Of `file`: its path, relative to the configuration file's folder.
    #[schemars(length(min = 1))]
    pub path: Option<PathBuf>,
    /// Of `file`: its mode in octal digits, such as "0644". Absent: that of the old file, or what the
    /// umask leaves.
    #[schemars(length(min = 3, max = 4))]
    pub mode: Option<String>,
    /// Of `http`: how it is pushed.
    pub http: HttpConfig,
    /// The line of the target's table in the file; 0: filled in by code.
    #[serde(skip)]
    pub line: usize,
}

impl Default for TargetConfig {
    fn default() -> Self {
        Self {
            exporter: String::new(),
            enabled: true,
            strategy: TargetStrategy::default(),
            interval_ms: None,
            changes: None,
            check_ms: 1_000,
            event: None,
            jitter: 0.1,
            data: TargetData::default(),
            without_lease: WithoutLease::default(),
            retries: 3,
            retry_ms: 2_000,
            max_retry_ms: 60_000,
            timeout_ms: 30_000,
            destination: TargetDestination::default(),
            path: None,
            mode: None,
            http: HttpConfig::default(),
            line: 0,
        }
    }
}

/// When a target is exported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetStrategy {
    /// At an interval.
    #[default]
    Scheduled,
    /// After so many series changed.
    Threshold,
    /// After an event.
    Event,
}

/// Whose data a target exports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetData {
    /// That of all instances, where a store adds it up.
    #[default]
    Auto,
    /// This instance's.
    Own,
    /// That of all instances; a store that adds it up is needed.
    Shared,
}

/// What is done where the store cannot be asked for a lease.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WithoutLease {
    /// Each instance exports its own data, and says so.
    #[default]
    Own,
    /// The export fails, and is tried again.
    Fail,
}

/// Where a target's export goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetDestination {
    /// A file that is replaced as a whole.
    #[default]
    File,
    /// A request (cargo feature `export-http`).
    Http,
    /// Standard output.
    Stdout,
    /// Wherever the exporter sends it.
    Plugin,
}

/// How an export is pushed over HTTP.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Where to: `http://` or `https://`.
    #[schemars(length(min = 1))]
    pub url: Option<String>,
    /// A file that holds the URL, which may have a secret in it.
    #[schemars(length(min = 1))]
    pub url_file: Option<PathBuf>,
    /// How it is sent.
    pub method: HttpMethodConfig,
    /// Whether the body is compressed.
    pub gzip: bool,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
    /// Further headers whose values lie in files.
    pub headers_file: BTreeMap<String, PathBuf>,
    /// A file that holds the token of `Authorization: Bearer`.
    #[schemars(length(min = 1))]
    pub bearer_token_file: Option<PathBuf>,
    /// The user of `Authorization: Basic`.
    #[schemars(length(min = 1))]
    pub username: Option<String>,
    /// A file that holds that user's password.
    #[schemars(length(min = 1))]
    pub password_file: Option<PathBuf>,
    /// A PEM file of the authorities that certificates are trusted from, instead of the public ones.
    #[schemars(length(min = 1))]
    pub ca_file: Option<PathBuf>,
    /// How long a request may take, in milliseconds.
    #[schemars(range(min = 1, max = MAX_MS))]
    pub timeout_ms: u64,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            method: HttpMethodConfig::default(),
            gzip: false,
            headers: BTreeMap::new(),
            headers_file: BTreeMap::new(),
            bearer_token_file: None,
            username: None,
            password_file: None,
            ca_file: None,
            timeout_ms: 10_000,
        }
    }
}

// URL and headers may have secrets.
impl fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConfig")
            .field("url", &self.url.as_ref().map(|_| "[FILTERED]"))
            .field("url_file", &self.url_file)
            .field("method", &self.method)
            .field("gzip", &self.gzip)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("headers_file", &self.headers_file)
            .field("bearer_token_file", &self.bearer_token_file)
            .field("username", &self.username)
            .field("password_file", &self.password_file)
            .field("ca_file", &self.ca_file)
            .field("timeout_ms", &self.timeout_ms)
            .finish()
    }
}

/// The method of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HttpMethodConfig {
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
}

/// Octal digits of a mode.
pub(crate) fn mode_of(text: &str) -> Option<u32> {
    let octal = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o777)
}

/// The rules that the schema does not say.
pub(super) fn check(config: &Config, violations: &mut Vec<Violation>) {
    let export = &config.export;
    let mut wrong = |key: &str, message: String| {
        let path = KeyPath::keys(&["export", key]);
        violations.push(Violation::new(path, ViolationKind::OutOfRange, message));
    };
    let window = export.retention_window_ms;
    for (key, value, least, most) in [
        ("retention_window_ms", window, 1, MAX_MS),
        ("safety_margin_ms", export.safety_margin_ms, 0, window.saturating_sub(1)),
        ("lease_ms", export.lease_ms, 100, MAX_MS),
        ("history", export.history as u64, 0, MAX_HISTORY as u64),
    ] {
        if !(least..=most).contains(&value) {
            wrong(key, format!("must be between {least} and {most}, is {value}"));
        }
    }
    for (name, target) in &config.targets {
        let table = KeyPath::keys(&["targets", name]);
        if !is_name(name) {
            let message = format!("a target's name {NAME_RULE}");
            violations.push(Violation::new(table.clone(), ViolationKind::NotAllowed, message));
        }
        check_target(config, target, &table, violations);
        if target.destination == TargetDestination::Http {
            check_http(&target.http, &table.then("http"), violations);
        }
    }
}

fn check_target(
    config: &Config,
    target: &TargetConfig,
    table: &KeyPath,
    violations: &mut Vec<Violation>,
) {
    let mut wrong = |key: &str, kind, message: String| {
        violations.push(Violation::new(table.then(key), kind, message));
    };
    let not_allowed = ViolationKind::NotAllowed;
    if target.exporter.is_empty() {
        let message = "is needed: an exporter's name, a format, or EXPORTER/FORMAT";
        wrong("exporter", not_allowed, message.into());
    }
    let (strategy, to) = (target.strategy, target.destination);
    use TargetStrategy as S;
    for (key, given, of, name, needed) in [
        ("interval_ms", target.interval_ms.is_some(), S::Scheduled, "scheduled", false),
        ("changes", target.changes.is_some(), S::Threshold, "threshold", true),
        ("event", target.event.is_some(), S::Event, "event", true),
    ] {
        if given && strategy != of {
            wrong(key, not_allowed, format!("is only used with `strategy = \"{name}\"`"));
        } else if needed && !given && strategy == of {
            wrong(key, not_allowed, format!("is needed with `strategy = \"{name}\"`"));
        }
    }
    if let Some(event) = target.event.as_ref().filter(|event| Pattern::parse(event).is_err()) {
        let message = format!("{event:?} names no event: `task.completed`, `task.*` or `*`");
        wrong("event", not_allowed, message);
    }
    let file = to == TargetDestination::File;
    match (&target.path, file) {
        (None, true) => wrong("path", not_allowed, "is needed by a file".into()),
        (Some(_), false) => wrong("path", not_allowed, "is only used by a file".into()),
        _ => {}
    }
    match &target.mode {
        Some(_) if !file => wrong("mode", not_allowed, "is only used by a file".into()),
        Some(mode) if mode_of(mode).is_none() => {
            let message = format!("{mode:?} is no mode: octal digits up to \"0777\"");
            wrong("mode", not_allowed, message);
        }
        _ => {}
    }
    if to != TargetDestination::Http && target.http != HttpConfig::default() {
        wrong("http", not_allowed, "is only used with `destination = \"http\"`".into());
    }
    let shares = matches!(config.store.kind, StoreKind::Sqlite | StoreKind::Redis)
        && config.sync.strategy != StrategyConfig::LocalOnly;
    if target.data == TargetData::Shared && !shares {
        let message = "\"shared\" needs a store of kind \"sqlite\" or \"redis\" that is shared";
        wrong("data", not_allowed, message.into());
    }
    let range = |value: u64, least, most| {
        let message = format!("must be between {least} and {most}, is {value}");
        (!(least..=most).contains(&value)).then_some(message)
    };
    for (key, value, least) in [
        ("interval_ms", target.interval_ms.unwrap_or(10), 10),
        ("check_ms", target.check_ms, 10),
        ("retry_ms", target.retry_ms, 1),
        ("max_retry_ms", target.max_retry_ms, 1),
        ("timeout_ms", target.timeout_ms, 1),
    ] {
        if let Some(message) = range(value, least, MAX_MS) {
            wrong(key, ViolationKind::OutOfRange, message);
        }
    }
    for (key, value, least, most) in [
        ("changes", target.changes.unwrap_or(1), 1, u64::MAX),
        ("retries", target.retries.into(), 0, MAX_RETRIES.into()),
    ] {
        if let Some(message) = range(value, least, most) {
            wrong(key, ViolationKind::OutOfRange, message);
        }
    }
    if !(0.0..=0.5).contains(&target.jitter) {
        let message = format!("must be between 0 and 0.5, is {}", target.jitter);
        wrong("jitter", ViolationKind::OutOfRange, message);
    }
}

fn check_http(http: &HttpConfig, table: &KeyPath, violations: &mut Vec<Violation>) {
    let mut wrong = |path: KeyPath, message: String| {
        violations.push(Violation::new(path, ViolationKind::NotAllowed, message));
    };
    match (&http.url, &http.url_file) {
        (None, None) => wrong(table.then("url"), "or `url_file` is needed".into()),
        (Some(_), Some(_)) => {
            wrong(table.then("url_file"), "stands beside `url`: one is enough".into());
        }
        (Some(url), None) if !is_http(url) => {
            wrong(table.then("url"), "must begin with http:// or https://, and name a host".into());
        }
        _ => {}
    }
    let plain = http.url.as_ref().is_some_and(|url| !url.starts_with("https://"));
    if http.ca_file.is_some() && plain {
        wrong(table.then("ca_file"), "is for https:// URLs".into());
    }
    match (&http.username, &http.password_file) {
        (Some(_), None) => wrong(table.then("password_file"), "is needed with `username`".into()),
        (None, Some(_)) => wrong(table.then("username"), "is needed with `password_file`".into()),
        (Some(name), _) if name.contains([':', '\r', '\n']) => {
            wrong(table.then("username"), "must have no colon and no line break".into());
        }
        _ => {}
    }
    if http.bearer_token_file.is_some() && http.username.is_some() {
        let message = "stands beside `username`: one of them is enough".into();
        wrong(table.then("bearer_token_file"), message);
    }
    let names = http.headers.keys().map(|name| ("headers", name));
    let names = names.chain(http.headers_file.keys().map(|name| ("headers_file", name)));
    let authorized = http.bearer_token_file.is_some() || http.username.is_some();
    for (key, name) in names {
        let lower = name.to_ascii_lowercase();
        let path = table.then(key).then(name.as_str());
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            wrong(path, "is no name of a header".into());
        } else if OWN_HEADERS.contains(&lower.as_str()) {
            wrong(path, "is set by every export itself".into());
        } else if authorized && lower == "authorization" {
            wrong(path, "stands beside other credentials: one of them is enough".into());
        } else if key == "headers_file" && http.headers.contains_key(name) {
            wrong(path, "stands in `headers` too: one of them is enough".into());
        }
    }
    for (name, value) in &http.headers {
        if !value.bytes().all(|byte| byte == b'\t' || (32..127).contains(&byte)) {
            let path = table.then("headers").then(name.as_str());
            wrong(path, "must have printable ASCII characters only".into());
        }
    }
    if !(1..=MAX_MS).contains(&http.timeout_ms) {
        let message = format!("must be between 1 and {MAX_MS}, is {}", http.timeout_ms);
        let path = table.then("timeout_ms");
        violations.push(Violation::new(path, ViolationKind::OutOfRange, message));
    }
}

/// Whether a text is an URL that can be pushed to.
pub(crate) fn is_http(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or(""));
    host.is_some_and(|host| {
        !host.is_empty() && !url.bytes().any(|byte| byte <= b' ' || byte == 127)
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn said(toml: &str) -> Vec<String> {
        let text = format!("schema = 1\n{toml}\n");
        match Config::parse(&text, "t.toml", Path::new("")) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.to_string().lines().map(str::to_owned).collect(),
        }
    }

    #[test]
    fn every_wrong_key_of_a_target_is_named_with_its_line() {
        let good = "[targets.a]\nexporter = 'csv'\npath = 'a.csv'";
        assert_eq!(said(good), [""; 0]);
        for (toml, place, what) in [
            ("[targets.a]\npath = 'x'", "t.toml:2:", "`targets.a.exporter`: is needed"),
            ("[targets.a]\nexporter = 'csv'", "t.toml:2:", "`targets.a.path`: is needed by a file"),
            ("[targets.a]\nexporter = 'csv'\npth = 'x'\npath = 'y'", "t.toml:4:", "path"),
            (&format!("{good}\nstrategy = 'event'"), "t.toml:2:", "`targets.a.event`: is needed"),
            (
                &format!("{good}\nchanges = 3"),
                "t.toml:5:",
                "only used with `strategy = \"threshold\"`",
            ),
            (
                &format!("{good}\nstrategy = 'event'\nevent = 'nothing'"),
                "t.toml:6:",
                "names no event",
            ),
            (&format!("{good}\nstrategy = 'sheduled'"), "t.toml:5:", "scheduled"),
            (&format!("{good}\nmode = '0888'"), "t.toml:5:", "is no mode"),
            (&format!("{good}\njitter = 0.9"), "t.toml:5:", "0.5"),
            (&format!("{good}\ndata = 'shared'"), "t.toml:5:", "needs a store"),
            (&format!("{good}\nretries = 101"), "t.toml:5:", "100"),
            (&format!("{good}\n[targets.a.http]\nurl = 'http://h/'"), "t.toml:5:", "destination"),
            ("[targets.'a b']\nexporter = 'csv'\npath = 'x'", "t.toml:2:", "a target's name"),
            ("[export]\nsafety_margin_ms = 300000", "t.toml:3:", "must be between 0 and 299999"),
        ] {
            let lines = said(toml);
            let found = lines.iter().any(|line| line.starts_with(place) && line.contains(what));
            assert!(found, "{toml}: {lines:?}");
        }
    }

    #[test]
    fn every_wrong_key_of_a_push_is_named() {
        let with = |http: &str| {
            said(&format!(
                "[targets.a]\nexporter = 'csv'\ndestination = 'http'\n[targets.a.http]\n{http}"
            ))
        };
        assert_eq!(with("url = 'https://h:9/x'\nusername = 'u'\npassword_file = 'p'"), [""; 0]);
        for (http, what) in [
            ("", "`url_file` is needed"),
            ("url = 'ftp://h/'", "must begin with http"),
            ("url = 'http:///x'", "must begin with http"),
            ("url = 'http://h/ x'", "must begin with http"),
            ("url = 'http://h'\nurl_file = 'x'", "stands beside `url`"),
            ("url = 'http://h'\nusername = 'u'", "password_file"),
            ("url = 'http://h'\npassword_file = 'u'", "username"),
            ("url = 'http://h'\nusername = 'a:b'\npassword_file = 'u'", "no colon"),
            ("url = 'http://h'\nheaders = { 'a b' = 'x' }", "is no name of a header"),
            ("url = 'http://h'\nheaders = { 'Content-Type' = 'x' }", "by every export itself"),
            ("url = 'http://h'\nheaders = { X = \"a\\nb\" }", "printable"),
            (
                "url = 'http://h'\nbearer_token_file = 't'\nheaders = { authorization = 'x' }",
                "other credentials",
            ),
        ] {
            let lines = with(http);
            assert!(lines.iter().any(|line| line.contains(what)), "{http}: {lines:?}");
        }
        let secret = "[targets.a]\nexporter='csv'\ndestination='http'\n[targets.a.http]\n\
                      url='http://u:geheim@h'\nheaders={X='geheim'}";
        let config = Config::parse(&format!("schema = 1\n{secret}"), "", Path::new("")).unwrap();
        assert!(!format!("{config:?}").contains("geheim"));
    }
}
