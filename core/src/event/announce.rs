//! Changes of registries, as events.

use std::sync::Weak;

use super::{
    bus::{Bus, Inner},
    listener::Listener,
    payload::{Field, FieldValue},
};
use crate::registry::{Change, Entry, Watch};

/// The events of a registry's changes.
#[derive(Debug)]
pub(crate) struct Names {
    registered: &'static str,
    unregistered: &'static str,
    validation_failed: &'static str,
}

macro_rules! names {
    ($($constant:ident: $kind:literal),*) => {
        $(pub(crate) static $constant: Names = Names {
            registered: concat!($kind, ".registered"),
            unregistered: concat!($kind, ".unregistered"),
            validation_failed: concat!($kind, ".validation_failed"),
        };)*
    };
}

names!(PLUGIN: "plugin", SUBSCRIBER: "subscriber", HANDLER: "handler");

/// Publishes the changes of a registry.
pub(super) struct Announced {
    pub(super) bus: Bus,
    pub(super) names: &'static Names,
}

impl<T: Entry> Watch<T> for Announced {
    fn changed(&self, change: Change<'_, T>) {
        announce(&self.bus.0, self.names, &change);
    }
}

/// Brings the topics in line with the bus's own registries, then publishes their changes.
pub(super) struct Routes {
    pub(super) bus: Weak<Inner>,
    pub(super) names: &'static Names,
}

impl Watch<Listener> for Routes {
    fn changed(&self, change: Change<'_, Listener>) {
        let Some(bus) = self.bus.upgrade() else { return };
        match &change {
            Change::Registered { entry, replaced } => bus.route(Some(entry), *replaced),
            Change::Unregistered(entry) => bus.route(None, Some(entry)),
            Change::Refused { .. } => {}
        }
        announce(&bus, self.names, &change);
    }
}

/// Publishes a change. A name of the catalogue is never refused.
fn announce<T: Entry>(bus: &Inner, names: &Names, change: &Change<'_, T>) {
    let replaced = |replaced: bool| ("replaced", FieldValue::Bool(replaced));
    let publish = |event: &str, fields: &[Field<'_>]| {
        if let Err(error) = bus.publish(event, None, fields) {
            tracing::error!(event, "not published: {error}");
        }
    };
    match change {
        Change::Registered { entry, replaced: old } => {
            if let Some(old) = old {
                publish(names.unregistered, &[("name", old.name().into()), replaced(true)]);
            }
            let details = entry.details();
            let mut fields = vec![("name", entry.name().into()), replaced(old.is_some())];
            fields.extend(details.iter().map(|(name, text)| (*name, text.as_str().into())));
            publish(names.registered, &fields);
        }
        Change::Unregistered(entry) => {
            publish(names.unregistered, &[("name", entry.name().into()), replaced(false)]);
        }
        Change::Refused { name, error } => {
            let message = error.to_string();
            let mut fields: Vec<Field<'_>> = vec![
                ("name", (*name).into()),
                ("error", message.as_str().into()),
                ("code", error.kind().status().into()),
            ];
            fields.extend(error.field().map(|field| ("field", field.into())));
            publish(names.validation_failed, &fields);
        }
    }
}
