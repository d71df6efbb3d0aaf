//! The registries as a whole: what their entries did, and whether something is wrong with them.

use serde_json::{Map, Value, json};

use super::Engine;
use crate::{
    event::{Bus, FieldValue, ListenerInfo},
    plugin::{Health, PluginInfo, Statistics},
};

/// What the entries of an engine's registries did.
#[derive(Debug, Clone)]
pub struct RegistryStatistics {
    /// Exporters.
    pub plugins: Vec<(PluginInfo, Statistics)>,
    /// Subscribers of events.
    pub subscribers: Vec<ListenerInfo>,
    /// Handlers of events.
    pub handlers: Vec<ListenerInfo>,
}

impl Engine {
    /// Reads what every exporter, subscriber and handler did, and publishes that as
    /// `registry.stats_collected`.
    #[must_use]
    pub fn registry_statistics(&self) -> RegistryStatistics {
        let statistics = self.read_registries();
        let plugins: Map<String, Value> = statistics
            .plugins
            .iter()
            .map(|(plugin, did)| {
                let counts = json!({
                    "calls": did.exports,
                    "failures": did.failures,
                    "bytes": did.bytes,
                    "seconds": did.total_duration.as_secs_f64(),
                });
                (plugin.name.clone(), counts)
            })
            .collect();
        let fields = [
            ("plugins", Value::Object(plugins)),
            ("subscribers", listeners(&statistics.subscribers)),
            ("handlers", listeners(&statistics.handlers)),
        ];
        let fields = fields.each_ref().map(|(name, value)| (*name, FieldValue::from(value)));
        publish(self.events(), "registry.stats_collected", &fields);
        statistics
    }

    /// Looks for what is wrong in the registries, says it in one sentence each, and publishes that
    /// as `registry.health_check`.
    ///
    /// Wrong is an exporter that is not called, and a queue that dropped events.
    #[must_use]
    pub fn check_registries(&self) -> Vec<String> {
        let statistics = self.read_registries();
        let unfit = statistics.plugins.iter().filter_map(|(plugin, _)| {
            let what = match plugin.health {
                Health::Ready | Health::HalfOpen => return None,
                Health::Open => "failed too often or hung, and is left alone for a while",
                Health::Poisoned => "panicked, and is made anew after a while",
                Health::GivenUp => "panicked too often, and is not called any more; replace it",
            };
            Some(format!("plugin `{}` {what}", plugin.name))
        });
        let lossy = statistics.subscribers.iter().filter(|subscriber| subscriber.dropped > 0);
        let lossy = lossy.map(|subscriber| {
            let ListenerInfo { name, dropped, .. } = subscriber;
            format!("the queue of subscriber `{name}` dropped {dropped} events; drain it faster")
        });
        let problems: Vec<String> = unfit.chain(lossy).collect();
        let list = Value::from(problems.clone());
        let count = |number: usize| FieldValue::U64(number as u64);
        let fields = [
            ("healthy", problems.is_empty().into()),
            ("plugins", count(statistics.plugins.len())),
            ("subscribers", count(statistics.subscribers.len())),
            ("handlers", count(statistics.handlers.len())),
            ("problems", FieldValue::from(&list)),
        ];
        publish(self.events(), "registry.health_check", &fields);
        problems
    }

    fn read_registries(&self) -> RegistryStatistics {
        let plugins = self.plugins();
        let named = plugins.list().into_iter();
        let plugins = named.filter_map(|info| {
            plugins.by_name(&info.name).map(|plugin| (info, plugin.statistics()))
        });
        RegistryStatistics {
            plugins: plugins.collect(),
            subscribers: self.events().subscribers(),
            handlers: self.events().handlers(),
        }
    }
}

fn listeners(list: &[ListenerInfo]) -> Value {
    let counts = list.iter().map(|listener| {
        let did = json!({
            "calls": listener.counts.calls,
            "failures": listener.counts.failures,
            "dropped": listener.dropped,
        });
        (listener.name.clone(), did)
    });
    Value::Object(counts.collect())
}

fn publish(events: &Bus, name: &str, fields: &[crate::event::Field<'_>]) {
    if let Err(error) = events.publish(name, fields) {
        tracing::error!(event = name, "not published: {error}");
    }
}
