//! Engines' halves that share: metrics, snapshots and a session.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tallyport_core::{
    metrics::{Cells, Limits, Metrics, Share},
    model::{Error, ErrorKind, SystemClock, Value},
    snapshot::{Snapshot, Snapshots},
    store::{RedisSettings, RedisStore, Store},
    sync::{Overview, Session, Settings, Synced},
};

use crate::testing::RedisServer;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Instance {
    pub(crate) metrics: Metrics,
    snapshots: Snapshots,
    pub(crate) session: Session,
}

impl Instance {
    pub(crate) fn new(store: Box<dyn Store>, settings: Settings) -> Self {
        let clock = Arc::new(SystemClock::default());
        Self {
            metrics: Metrics::new(Limits::default(), Cells::Shared, &Share::Auto, &[], clock)
                .unwrap(),
            snapshots: Snapshots::default(),
            session: Session::new(store, settings),
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.snapshots.take(&self.metrics).unwrap()
    }

    pub(crate) fn sync(&mut self) -> Synced {
        let snapshot = self.snapshot();
        self.session.sync(&snapshot).unwrap()
    }

    pub(crate) fn everyone(&mut self) -> Overview {
        self.try_everyone().unwrap()
    }

    pub(crate) fn try_everyone(&mut self) -> Result<Overview, Error> {
        let snapshot = self.snapshot();
        let (overview, retirement) = self.session.aggregate(&snapshot)?;
        assert_eq!((overview.damaged, retirement.damaged), (0, 0));
        Ok(overview)
    }

    /// The value of a u64 counter of everyone; 0 when it is not there.
    pub(crate) fn total(&mut self, name: &str, path: &str) -> u64 {
        let all = values(&self.everyone().snapshot);
        all.get(&format!("{name}{{path={path}}}")).map_or(0, |value| value.parse().unwrap())
    }

    pub(crate) fn add(&self, name: &str, path: &str, amount: u64) {
        self.metrics.counter(name, &[("path", path)]).unwrap().add(amount);
    }
}

/// What a call gave, or why a host calls again: its time was over, or others came between.
///
/// A process that is stopped outlasts its deadlines, and in a transaction of SQLite those of others.
pub(crate) fn unless_later<T>(done: Result<T, Error>) -> Result<T, String> {
    done.map_err(|error| {
        let later = matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable);
        assert!(later, "{error}");
        error.to_string()
    })
}

/// Reasons, each once with how often it was given; numbers in them make no other reason.
pub(crate) fn reasons<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let mut known = BTreeMap::<String, usize>::new();
    for reason in all {
        *known.entry(reason.replace(|letter: char| letter.is_ascii_digit(), "")).or_default() += 1;
    }
    known.iter().map(|(reason, times)| format!("\n  {times} × {reason}")).collect()
}

/// Every value by name and labels; of a histogram count, sum and buckets.
pub(crate) fn values(snapshot: &Snapshot) -> BTreeMap<String, String> {
    let read = |view: &tallyport_plugin_api::Snapshot<'_>| {
        view.check()?;
        let mut all = BTreeMap::new();
        for family in view.families() {
            for series in family.series() {
                let labels: Vec<_> = series.labels().map(|(n, v)| format!("{n}={v}")).collect();
                let value = match (series.histogram(), series.value()) {
                    (Some(h), _) => format!("{} {} {:?}", h.count, h.sum, h.buckets),
                    (None, Value::U64(value)) => value.to_string(),
                    (None, Value::I64(value)) => value.to_string(),
                    (None, Value::F64(value)) => value.to_string(),
                };
                let key = format!("{}{{{}}}", family.name(), labels.join(","));
                assert!(all.insert(key, value).is_none(), "two series are one");
            }
        }
        Ok::<_, tallyport_plugin_api::Error>(all)
    };
    snapshot.read(read).unwrap()
}

pub(crate) fn redis(server: &RedisServer, namespace: &str) -> RedisStore {
    let settings = RedisSettings {
        url: server.url(),
        namespace: namespace.into(),
        shards: 4,
        deadline: DEADLINE.into(),
    };
    RedisStore::connect(&settings).unwrap()
}

pub(crate) fn named(name: &str) -> Settings {
    Settings { name: name.into(), ..Settings::default() }
}
