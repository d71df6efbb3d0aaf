//! From a configuration to a store: which one, what it is used for, what it turned out to be able to.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use super::config::{Config, CoordinationConfig, StoreKind, StrategyConfig};
use crate::{
    model::{Clock, Error, ErrorKind},
    store::{
        Deadline, KeyValue, Store, Strategy,
        keyed::{self, Opened},
    },
};

/// Makes the host's own store; called again after it failed.
pub(super) type HostStore = dyn Fn() -> Result<Box<dyn KeyValue>, Error> + Send + Sync;

/// What a configuration comes down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Nothing leaves the process.
    Alone,
    /// A snapshot file.
    File,
    /// Through a store of this kind.
    Shared(StoreKind),
}

pub(super) fn kind_name(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::None => "none",
        StoreKind::Null => "null",
        StoreKind::File => "file",
        StoreKind::Sqlite => "sqlite",
        StoreKind::Redis => "redis",
        StoreKind::Memcached => "memcached",
        StoreKind::Host => "host",
    }
}

/// The kind of the store: that of the configuration, which says nothing of one that the host gave.
pub(super) fn kind(config: &Config, has_host: bool) -> StoreKind {
    match config.store.kind {
        StoreKind::None if has_host => StoreKind::Host,
        kind => kind,
    }
}

pub(super) fn plan(config: &Config, has_host: bool) -> Plan {
    let sync = &config.sync;
    let off =
        sync.coordination == CoordinationConfig::Off || sync.strategy == StrategyConfig::LocalOnly;
    match kind(config, has_host) {
        StoreKind::File => Plan::File,
        StoreKind::None | StoreKind::Null => Plan::Alone,
        _ if off => Plan::Alone,
        kind => Plan::Shared(kind),
    }
}

/// What a store is expected to be used for, before it was asked.
pub(super) fn expected(plan: Plan, config: &Config) -> Strategy {
    match (plan, demand(config)) {
        (Plan::Alone | Plan::File, _) => Strategy::LocalOnly,
        (Plan::Shared(_), Some(demand)) => demand,
        (Plan::Shared(StoreKind::Memcached | StoreKind::Host), None) => Strategy::DistributedBasic,
        (Plan::Shared(_), None) => Strategy::DistributedAtomic,
    }
}

fn demand(config: &Config) -> Option<Strategy> {
    match config.sync.strategy {
        StrategyConfig::Auto => None,
        StrategyConfig::DistributedAtomic => Some(Strategy::DistributedAtomic),
        StrategyConfig::DistributedBasic => Some(Strategy::DistributedBasic),
        StrategyConfig::DistributedManual => Some(Strategy::DistributedManual),
        StrategyConfig::LocalOnly => Some(Strategy::LocalOnly),
    }
}

/// Connects to the store of a configuration, and tries with a real write what it can.
///
/// What is done to it ends at `end`, if there is one; `Store::end_by` changes that.
///
/// `None` for one that keeps nothing, where that was not ruled out: then nothing is shared, until it does.
pub(super) fn connect(
    config: &Config,
    kind: StoreKind,
    host: Option<&Arc<HostStore>>,
    clock: &Arc<dyn Clock>,
    end: Option<Instant>,
) -> Result<Option<Box<dyn Store>>, Error> {
    let deadline = Deadline::from(Duration::from_millis(config.store.deadline_ms)).by(end);
    let store = match kind {
        StoreKind::None | StoreKind::Null | StoreKind::File => {
            return Err(Error::new(ErrorKind::Internal, "a store that nothing is shared through"));
        }
        StoreKind::Sqlite => Some(connect_sqlite(config, deadline)?),
        StoreKind::Redis => Some(connect_redis(config, deadline)?),
        StoreKind::Memcached => keyed_store(config, memcached(config, deadline)?, clock)?,
        StoreKind::Host => {
            let make = host.ok_or_else(|| {
                let message = "`store.kind` is \"host\", and the host has given none \
                               (tallyport_store_attach, Engine::set_store)";
                Error::new(ErrorKind::Config, message).with_field("store.kind")
            })?;
            keyed_store(config, make()?, clock)?
        }
    };
    if let Some(store) = &store {
        tell(kind, store.strategy());
    }
    Ok(store)
}

/// Says what is shared from now on, and what the store cannot do.
fn tell(kind: StoreKind, strategy: Strategy) {
    let name = kind_name(kind);
    let scope = if kind == StoreKind::Sqlite { "this host" } else { "all hosts" };
    tracing::info!(store = name, strategy = strategy.name(), scope, "totals are shared");
    if let Some(cannot) = strategy.cannot() {
        let text = format!("what it cannot do: {cannot}");
        if strategy.folds() {
            tracing::info!(store = name, "{text}");
        } else {
            tracing::warn!(store = name, "{text}");
        }
    }
}

fn keyed_store(
    config: &Config,
    items: Box<dyn KeyValue>,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Box<dyn Store>>, Error> {
    match keyed::open(items, &config.store.namespace, Arc::clone(clock), demand(config))? {
        Opened::Store(store) => Ok(Some(store)),
        Opened::KeepsNothing if config.sync.coordination == CoordinationConfig::On => {
            let message = "`sync.coordination` is \"on\", and the store does not give back what was \
                           written";
            Err(Error::new(ErrorKind::Unsupported, message).with_field("sync.coordination"))
        }
        Opened::KeepsNothing => Ok(None),
    }
}

#[cfg(feature = "store-sqlite")]
fn connect_sqlite(config: &Config, deadline: Deadline) -> Result<Box<dyn Store>, Error> {
    let path = config.store.path.clone().unwrap_or_default();
    let path = config.base_dir.join(path);
    Ok(Box::new(crate::store::SqliteStore::open(&path, deadline)?))
}

#[cfg(not(feature = "store-sqlite"))]
fn connect_sqlite(_: &Config, _: Deadline) -> Result<Box<dyn Store>, Error> {
    Err(absent("SQLite", "store-sqlite"))
}

#[cfg(feature = "store-redis")]
fn connect_redis(config: &Config, deadline: Deadline) -> Result<Box<dyn Store>, Error> {
    let store = &config.store;
    let settings = crate::store::RedisSettings {
        url: url(config)?,
        namespace: store.namespace.clone(),
        shards: store.shards,
        deadline,
    };
    Ok(Box::new(crate::store::RedisStore::connect(&settings)?))
}

/// The URL of the configuration, or of the file that it names; empty for none.
fn url(config: &Config) -> Result<String, Error> {
    let store = &config.store;
    match (&store.url, &store.url_file) {
        (Some(url), _) => Ok(url.clone()),
        (None, Some(file)) => {
            let path = config.base_dir.join(file);
            let text = fs::read_to_string(&path).map_err(|error| {
                Error::io(format_args!("read `store.url_file` `{}`", path.display()), &error)
                    .with_field("store.url_file")
            })?;
            Ok(text.trim().to_owned())
        }
        (None, None) => Ok(String::new()),
    }
}

/// What a store is called, without passwords: an arena is published to one, under one name.
pub(super) fn place(config: &Config, kind: StoreKind) -> String {
    let store = &config.store;
    match kind {
        StoreKind::Redis => {
            format!("{} {}", without_secrets(&url(config).unwrap_or_default()), store.namespace)
        }
        StoreKind::Memcached | StoreKind::Host => {
            let address = store.address.as_deref().unwrap_or_default();
            format!("{} {address} {}", kind_name(kind), store.namespace)
        }
        _ => {
            let path = config.base_dir.join(store.path.clone().unwrap_or_default());
            let path = std::path::absolute(&path).unwrap_or(path);
            format!("{} {}", kind_name(kind), path.display())
        }
    }
}

/// A Redis URL without user, password and what else its query says: `user` and `pass` of a socket.
///
/// As text: what has none of it stays byte for byte.
fn without_secrets(url: &str) -> String {
    // As it is parsed: these are in no URL.
    let url = url.trim_matches(|c: char| c <= ' ').replace(['\t', '\n', '\r'], "");
    let is_scheme =
        |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let (scheme, rest) =
        url.split_once("://").filter(|(scheme, _)| is_scheme(scheme)).unwrap_or(("", &url));
    let rest = rest.split('#').next().unwrap_or("");
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let told = |pair: &&str| ["db=", "protocol="].iter().any(|key| pair.starts_with(key));
    let query = query.split('&').filter(told).collect::<Vec<_>>().join("&");
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{scheme}://{}", format!("{host}{path}{mark}{query}").trim_end_matches('/'))
}

#[cfg(not(feature = "store-redis"))]
fn connect_redis(_: &Config, _: Deadline) -> Result<Box<dyn Store>, Error> {
    Err(absent("Redis", "store-redis"))
}

#[cfg(feature = "store-memcached")]
fn memcached(config: &Config, deadline: Deadline) -> Result<Box<dyn KeyValue>, Error> {
    let address = config.store.address.as_deref().unwrap_or_default();
    Ok(Box::new(crate::store::Memcached::connect(address, deadline)?))
}

#[cfg(not(feature = "store-memcached"))]
fn memcached(_: &Config, _: Deadline) -> Result<Box<dyn KeyValue>, Error> {
    Err(absent("memcached", "store-memcached"))
}

#[cfg(not(all(feature = "store-redis", feature = "store-sqlite", feature = "store-memcached")))]
fn absent(what: &str, feature: &str) -> Error {
    let message = format!("this build has no {what} store (cargo feature `{feature}`)");
    Error::new(ErrorKind::Unsupported, message).with_field("store.kind")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place_of(url: &str) -> String {
        let mut config = Config::default();
        (config.store.url, config.store.namespace) = (Some(url.into()), "n".into());
        place(&config, StoreKind::Redis)
    }

    #[test]
    fn the_place_of_a_plain_url_stays_as_arenas_know_it() {
        for (url, expected) in [
            ("redis://127.0.0.1/", "redis://127.0.0.1 n"),
            ("redis://h:6379/2", "redis://h:6379/2 n"),
            ("redis://[::1]:7/0/", "redis://[::1]:7/0 n"),
            ("REDIS://Host", "REDIS://Host n"),
            ("redis://h/1?protocol=resp3", "redis://h/1?protocol=resp3 n"),
            ("redis://user:geheim@h:1/2", "redis://h:1/2 n"),
            ("redis+unix:///run/r.sock", "redis+unix:///run/r.sock n"),
            ("unix:///run/r.sock?db=3", "unix:///run/r.sock?db=3 n"),
            ("unix:/run/r.sock", "://unix:/run/r.sock n"),
            ("", ":// n"),
        ] {
            assert_eq!(place_of(url), expected);
        }
    }

    #[test]
    fn the_place_of_a_store_has_no_secret_of_its_url() {
        for (url, expected) in [
            ("redis+unix:///s?user=geheim&pass=geheim", "redis+unix:///s n"),
            ("unix:///s?db=2&pass=ge@heim/geheim", "unix:///s?db=2 n"),
            ("unix:///a@b/s?p%61ss=geheim&db=2", "unix:///a@b/s?db=2 n"),
            ("unix:/s?pass=geheim", "://unix:/s n"),
            ("unix:/s?pass=geheim://geheim", "://unix:/s n"),
            ("valkey+unix:///s?pass=geheim#geheim", "valkey+unix:///s n"),
            ("redis://user:ge@heim:geheim@h/1", "redis://h/1 n"),
            ("redis://:geheim@h?password=geheim@x", "redis://h n"),
            (" re\tdis://user:ge\nheim@h/ ", "redis://h n"),
            ("redis:user:geheim@h", "://h n"),
        ] {
            assert_eq!(place_of(url), expected, "{url}");
            assert!(!place_of(url).contains("heim"), "{url}");
        }
    }

    #[cfg(feature = "store-redis")]
    #[test]
    fn every_url_without_its_secrets_leads_to_the_same_store() {
        use crate::store::RedisSettings;
        let settings = |url: &str| RedisSettings {
            url: url.into(),
            namespace: "n".into(),
            shards: 1,
            deadline: Duration::from_secs(1).into(),
        };
        let secret = settings("unix:///nowhere/s?user=u&pass=geheim&db=2");
        assert!(!format!("{secret:?}").contains("geheim"), "{secret:?}");
        // The path alone is what errors name.
        let error = crate::store::RedisStore::connect(&secret).unwrap_err();
        assert!(error.to_string().contains("/nowhere/s"), "{error}");
        assert!(!format!("{error} {error:?}").contains("geheim"), "{error:?}");
    }
}
