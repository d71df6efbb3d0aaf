//! The keys of `[serve]`.

use std::{net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::schema::{KeyPath, Violation, ViolationKind};

/// The longest time that a key can name: an hour.
const MAX_MS: u64 = 3_600_000;
const MAX_WORKERS: usize = 64;
const MAX_CONNECTIONS: usize = 32_768;
const LEAST_HEAD_BYTES: usize = 512;
const MAX_HEAD_BYTES: usize = 1 << 20;
const LEAST_HEADERS: usize = 8;
const MAX_HEADERS: usize = 1024;
const LEAST_ANSWER_BYTES: u64 = 4096;
const MAX_ANSWER_BYTES: u64 = 1 << 40;

/// How metrics are served over HTTP, where a host or the command serves them (docs/SERVE.md). All
/// times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServeConfig {
    /// Address and port. Port 0: one that is free.
    pub listen: String,
    /// The path of the metrics.
    pub metrics_path: String,
    /// The path that answers `ok` while the server runs.
    pub health_path: String,
    /// What clients can choose from: exporters, formats, or EXPORTER/FORMAT. The first is for
    /// clients without a preference; what is not registered is left out.
    #[schemars(length(min = 1))]
    pub formats: Vec<String>,
    /// Whose metrics.
    pub served: ServedConfig,
    /// Whether answers are compressed for clients that ask for it.
    pub gzip: bool,
    /// What a client must show to read metrics.
    pub auth: AuthConfig,
    /// The file with the tokens, or with `name:password`, one a line; relative to the configuration
    /// file's folder.
    #[schemars(length(min = 1))]
    pub credentials_file: Option<PathBuf>,
    /// Threads that write metrics; one more waits for clients.
    #[schemars(range(min = 1, max = MAX_WORKERS))]
    pub workers: usize,
    /// Open connections. Past it the one that waited longest for a request is closed.
    #[schemars(range(min = 1, max = MAX_CONNECTIONS))]
    pub max_connections: usize,
    /// Requests that wait for a thread. Past it they are answered with 503.
    #[schemars(range(min = 1, max = MAX_CONNECTIONS))]
    pub max_waiting: usize,
    /// Bytes of a request's line and headers.
    #[schemars(range(min = LEAST_HEAD_BYTES, max = MAX_HEAD_BYTES))]
    pub max_head_bytes: usize,
    /// Headers of a request.
    #[schemars(range(min = LEAST_HEADERS, max = MAX_HEADERS))]
    pub max_headers: usize,
    /// Bytes of all answers that are being written or sent. Past it requests are answered with 503.
    #[schemars(range(min = LEAST_ANSWER_BYTES, max = MAX_ANSWER_BYTES))]
    pub max_answer_bytes: u64,
    /// From a connection, or its next request's first byte, to the end of the headers.
    #[schemars(range(min = 1, max = MAX_MS))]
    pub head_timeout_ms: u64,
    /// From a request to its answer; a 503 then.
    #[schemars(range(min = 1, max = MAX_MS))]
    pub answer_timeout_ms: u64,
    /// From an answer to the last byte of it that the client takes.
    #[schemars(range(min = 1, max = MAX_MS))]
    pub write_timeout_ms: u64,
    /// From an answer to the client's next request.
    #[schemars(range(min = 1, max = MAX_MS))]
    pub idle_timeout_ms: u64,
}

impl Default for ServeConfig {
    fn default() -> Self {
        let formats = ["prometheus", "openmetrics", "prometheus_utf8", "openmetrics_utf8"];
        Self {
            listen: "127.0.0.1:9464".to_owned(),
            metrics_path: "/metrics".to_owned(),
            health_path: "/healthz".to_owned(),
            formats: formats.map(str::to_owned).to_vec(),
            served: ServedConfig::default(),
            gzip: true,
            auth: AuthConfig::default(),
            credentials_file: None,
            workers: 2,
            max_connections: 512,
            max_waiting: 64,
            max_head_bytes: 16 << 10,
            max_headers: 64,
            max_answer_bytes: 256 << 20,
            head_timeout_ms: 5_000,
            answer_timeout_ms: 30_000,
            write_timeout_ms: 30_000,
            idle_timeout_ms: 120_000,
        }
    }
}

/// Whose metrics are served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServedConfig {
    /// This process's, or those of its arena.
    #[default]
    Process,
    /// Those of all instances of the store, after a sync.
    Shared,
}

/// What a client must show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuthConfig {
    /// Nothing.
    #[default]
    None,
    /// A token: `Authorization: Bearer …`.
    Bearer,
    /// A name and a password: `Authorization: Basic …`.
    Basic,
}

/// A path as it stands in a request.
fn is_path(path: &str) -> bool {
    let literal = |byte: u8| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}%".contains(&byte);
    path.starts_with('/') && path.bytes().all(literal)
}

/// The rules that the schema does not say.
pub(super) fn check(serve: &ServeConfig, violations: &mut Vec<Violation>) {
    let mut wrong = |key: &str, kind, message: String| {
        violations.push(Violation::new(KeyPath::keys(&["serve", key]), kind, message));
    };
    let not_allowed = ViolationKind::NotAllowed;
    if serve.listen.parse::<SocketAddr>().is_err() {
        let message = "must be an address and a port, such as \"127.0.0.1:9464\" or \"[::1]:9464\"";
        wrong("listen", not_allowed, message.into());
    }
    for (key, path) in [("metrics_path", &serve.metrics_path), ("health_path", &serve.health_path)]
    {
        if !is_path(path) {
            let message = "must be a path, such as \"/metrics\", of characters that need no escape";
            wrong(key, not_allowed, message.into());
        }
    }
    if serve.metrics_path == serve.health_path {
        wrong("health_path", not_allowed, "is the `metrics_path` too: give each its own".into());
    }
    if serve.formats.is_empty() || serve.formats.iter().any(String::is_empty) {
        let message = "must have at least one name, and no empty one".into();
        wrong("formats", ViolationKind::WrongLength, message);
    }
    match (serve.auth, &serve.credentials_file) {
        (AuthConfig::None, Some(_)) => {
            let message = "is only used with `auth = \"bearer\"` or `\"basic\"`".into();
            wrong("credentials_file", not_allowed, message);
        }
        (AuthConfig::Bearer | AuthConfig::Basic, None) => {
            wrong("credentials_file", not_allowed, "is needed by this `auth`".into());
        }
        _ => {}
    }
    let number = |number: usize| number as u64;
    for (key, value, least, most) in [
        ("workers", number(serve.workers), 1, number(MAX_WORKERS)),
        ("max_connections", number(serve.max_connections), 1, number(MAX_CONNECTIONS)),
        ("max_waiting", number(serve.max_waiting), 1, number(MAX_CONNECTIONS)),
        (
            "max_head_bytes",
            number(serve.max_head_bytes),
            number(LEAST_HEAD_BYTES),
            number(MAX_HEAD_BYTES),
        ),
        ("max_headers", number(serve.max_headers), number(LEAST_HEADERS), number(MAX_HEADERS)),
        ("max_answer_bytes", serve.max_answer_bytes, LEAST_ANSWER_BYTES, MAX_ANSWER_BYTES),
        ("head_timeout_ms", serve.head_timeout_ms, 1, MAX_MS),
        ("answer_timeout_ms", serve.answer_timeout_ms, 1, MAX_MS),
        ("write_timeout_ms", serve.write_timeout_ms, 1, MAX_MS),
        ("idle_timeout_ms", serve.idle_timeout_ms, 1, MAX_MS),
    ] {
        if !(least..=most).contains(&value) {
            let message = format!("must be between {least} and {most}, is {value}");
            wrong(key, ViolationKind::OutOfRange, message);
        }
    }
}
