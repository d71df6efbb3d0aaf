//! What a server is told: where it listens, what it answers on, and every limit.

use std::{net::SocketAddr, time::Duration};

use super::Access;

/// How a server serves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens; port 0: one that is free.
    pub listen: SocketAddr,
    /// Threads that make answers.
    pub workers: usize,
    /// Where what is.
    pub paths: Paths,
    /// Who may read metrics.
    pub access: Access,
    /// Whether answers are compressed for clients that ask for it.
    pub gzip: bool,
    /// What a client may use.
    pub bounds: Bounds,
}

/// The paths that are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Of the metrics.
    pub metrics: String,
    /// Of the answer that says that the server runs.
    pub health: String,
}

/// What clients may use, together and each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Open connections. Past it the one that waited longest for a request is closed.
    pub connections: usize,
    /// Requests that wait for a worker. Past it they are answered with 503.
    pub waiting: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// Bytes of all answers that are being made or sent. Past it requests are answered with 503.
    pub answer_bytes: u64,
    /// From a connection or its first byte to the end of a head.
    pub head_time: Duration,
    /// From a head to its answer.
    pub answer_time: Duration,
    /// From an answer to the last byte of it that the client took.
    pub write_time: Duration,
    /// From an answer to the next request.
    pub idle_time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 512,
            waiting: 64,
            head_bytes: 16 << 10,
            headers: 64,
            answer_bytes: 256 << 20,
            head_time: Duration::from_secs(5),
            answer_time: Duration::from_secs(30),
            write_time: Duration::from_secs(30),
            idle_time: Duration::from_secs(120),
        }
    }
}

impl Default for Paths {
    fn default() -> Self {
        Self { metrics: "/metrics".to_owned(), health: "/healthz".to_owned() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9464)),
            workers: 2,
            paths: Paths::default(),
            access: Access::default(),
            gzip: true,
            bounds: Bounds::default(),
        }
    }
}
