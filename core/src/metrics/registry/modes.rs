//! Modes of gauges that the configuration names, beside those that families are described with.

use std::collections::BTreeMap;

use tallyport_plugin_api::Kind;

use super::{Description, Metrics};
use crate::model::{Error, ErrorKind, GaugeMode};

impl Metrics {
    /// Says the modes of gauges by the names of their families: of those that are there, and of those
    /// that come. False when that was said already.
    ///
    /// A family in the arena that has another mode keeps it, which is logged.
    pub fn set_gauge_modes(&self, modes: BTreeMap<String, GaugeMode>) -> bool {
        let set = self.0.modes.set(Box::new(modes)).is_ok();
        self.0.directory.catch_up();
        self.say_modes();
        set
    }

    /// Says the modes of the configuration to the families that are there.
    pub(super) fn say_modes(&self) {
        for (name, mode) in self.0.modes.get().into_iter().flatten() {
            let family = self.0.directory.find(name);
            let Some(family) = family.filter(|family| family.kind == Kind::Gauge) else { continue };
            if let Err(have) = family.declare(*mode, || self.0.memory.changed())
                && family.is_undeclared_first()
            {
                tracing::error!(
                    metric = name,
                    "[sync.gauge_modes] says `{}`; the gauge has mode `{}`, which it keeps",
                    mode.name(),
                    have.name()
                );
            }
        }
    }

    /// The mode of a family that is about to be made.
    ///
    /// # Errors
    /// Conflict where the configuration says another one than the description.
    pub(super) fn mode_of_new(&self, wanted: &Description<'_>) -> Result<GaugeMode, Error> {
        let named = self.0.modes.get().and_then(|modes| modes.get(wanted.name)).copied();
        match (wanted.mode, named) {
            (_, Some(named)) if wanted.kind == Kind::Gauge => match wanted.mode {
                GaugeMode::Undeclared => Ok(named),
                mode if mode == named => Ok(named),
                mode => {
                    let message = format!(
                        "metric `{}` is described with gauge mode {}; [sync.gauge_modes] says {}",
                        wanted.name,
                        mode.name(),
                        named.name()
                    );
                    Err(Error::new(ErrorKind::Conflict, message).with_field("mode"))
                }
            },
            (mode, _) => Ok(mode),
        }
    }
}
