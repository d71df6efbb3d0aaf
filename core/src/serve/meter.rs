//! What a server did: counts of its own, and the engine's own metrics `tallyport_serve_*`.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tallyport_plugin_api::{Kind, Number};

use crate::{
    metrics::{Counter, Description, Histogram, Metrics, UpDownCounter},
    model::{Error, GaugeMode},
};

const REQUESTS: &str = "tallyport_serve_requests_total";
const CONNECTIONS: &str = "tallyport_serve_connections";
const CLOSED: &str = "tallyport_serve_closed_connections_total";
const DURATION: &str = "tallyport_serve_duration_seconds";
const BYTES: &str = "tallyport_serve_bytes_total";

/// The statuses that are answered.
pub(super) const CODES: [u16; 11] = [200, 400, 401, 404, 405, 408, 413, 431, 500, 503, 505];

/// Why a connection was closed before its client was done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// It waited for a request, and another connection came that there was no place for.
    Evicted,
    /// All connections were being answered.
    Full,
    /// Its client was too slow: with a head, or taking an answer.
    Slow,
    /// Its client went away before it had its answer.
    Gone,
}

impl Closed {
    const ALL: [(Self, &str); 4] = [
        (Self::Evicted, "evicted"),
        (Self::Full, "full"),
        (Self::Slow, "slow"),
        (Self::Gone, "gone"),
    ];
}

/// What a server did since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers, of whatever status.
    pub requests: u64,
    /// Those of a status from 400 on.
    pub refused: u64,
    /// Connections that it took.
    pub connections: u64,
    /// Connections that it has.
    pub open: u64,
    /// Connections that it closed before their clients were done with them.
    pub closed: u64,
    /// Bytes that were sent.
    pub bytes: u64,
}

/// Handles of the engine's own metrics.
#[derive(Debug)]
struct Own {
    requests: Vec<(u16, Counter)>,
    connections: UpDownCounter,
    closed: Vec<(Closed, Counter)>,
    duration: Histogram,
    bytes: Counter,
}

/// Counts.
#[derive(Debug, Default)]
pub(super) struct Meter {
    requests: AtomicU64,
    refused: AtomicU64,
    connections: AtomicU64,
    open: AtomicU64,
    closed: AtomicU64,
    bytes: AtomicU64,
    own: Option<Own>,
}

impl Own {
    fn new(metrics: &Metrics) -> Result<Self, Error> {
        for (name, kind, number, help) in [
            (REQUESTS, Kind::Counter, Number::U64, "Answers to HTTP requests, by status."),
            (CONNECTIONS, Kind::UpDownCounter, Number::I64, "Open HTTP connections."),
            (
                CLOSED,
                Kind::Counter,
                Number::U64,
                "HTTP connections that were closed before their clients were done, by reason.",
            ),
            (DURATION, Kind::Histogram, Number::F64, "Seconds that an answer with metrics took."),
            (BYTES, Kind::Counter, Number::U64, "Bytes that were sent to HTTP clients."),
        ] {
            metrics.describe(&Description {
                name,
                kind,
                number,
                help,
                unit: "",
                bounds: &[],
                cells: None,
                mode: GaugeMode::Undeclared,
            })?;
        }
        let request = |code: u16| {
            let counter = metrics.counter(REQUESTS, &[("code", &code.to_string())])?;
            Ok((code, counter))
        };
        let closed = |(reason, name)| Ok((reason, metrics.counter(CLOSED, &[("reason", name)])?));
        Ok(Self {
            requests: CODES.into_iter().map(request).collect::<Result<_, Error>>()?,
            connections: metrics.up_down_counter(CONNECTIONS, &[])?,
            closed: Closed::ALL.into_iter().map(closed).collect::<Result<_, Error>>()?,
            duration: metrics.histogram(DURATION, &[], &[])?,
            bytes: metrics.counter(BYTES, &[])?,
        })
    }
}

impl Meter {
    /// Counts, in the metrics too where there are some.
    pub(super) fn new(metrics: Option<&Metrics>) -> Self {
        let own = metrics.map(Own::new).transpose().unwrap_or_else(|error| {
            tracing::warn!("the engine's own metrics of serving: {error}");
            None
        });
        Self { own, ..Self::default() }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            requests: self.requests.load(Relaxed),
            refused: self.refused.load(Relaxed),
            connections: self.connections.load(Relaxed),
            open: self.open.load(Relaxed),
            closed: self.closed.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }

    pub(super) fn opened(&self) {
        self.connections.fetch_add(1, Relaxed);
        self.open.fetch_add(1, Relaxed);
        if let Some(own) = &self.own {
            own.connections.add(1);
        }
    }

    pub(super) fn ended(&self, connections: usize) {
        self.open.fetch_sub(connections as u64, Relaxed);
        if let Some(own) = &self.own {
            own.connections.sub(i64::try_from(connections).unwrap_or(i64::MAX));
        }
    }

    pub(super) fn closed(&self, why: Closed) {
        self.closed.fetch_add(1, Relaxed);
        let counters = self.own.iter().flat_map(|own| &own.closed);
        counters.filter(|(reason, _)| *reason == why).for_each(|(_, counter)| counter.inc());
    }

    pub(super) fn answered(&self, code: u16) {
        self.requests.fetch_add(1, Relaxed);
        self.refused.fetch_add(u64::from(code >= 400), Relaxed);
        let counters = self.own.iter().flat_map(|own| &own.requests);
        counters.filter(|(known, _)| *known == code).for_each(|(_, counter)| counter.inc());
    }

    pub(super) fn took(&self, time: Duration) {
        if let Some(own) = &self.own {
            own.duration.observe(time.as_secs_f64());
        }
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
        if let Some(own) = &self.own {
            own.bytes.add(bytes as u64);
        }
    }
}
