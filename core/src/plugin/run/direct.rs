//! Calls on the caller's thread: no deadline, nothing to wait for but the exporter's turn.

use std::sync::Arc;

use super::{Backend, Export, Failed, Syncs, Wanted};
use crate::plugin::{
    exporter::Exporter,
    host::{Context, Control, Output},
    table::Table,
};

/// An exporter that runs on whichever thread calls it.
#[derive(Debug)]
pub(in crate::plugin) struct Direct {
    exporter: Exporter,
    max_output_bytes: u64,
}

impl Direct {
    /// Makes the instance, on this thread.
    pub(in crate::plugin) fn start(table: Arc<Table>, wanted: &Wanted<'_>) -> Result<Self, Failed> {
        let context = Context::to_current_log(wanted.name);
        let exporter = Exporter::create(table, context, wanted.options)?;
        Ok(Self { exporter, max_output_bytes: wanted.limits.max_output_bytes })
    }
}

impl Backend for Direct {
    fn export(&self, export: &Export<'_>, out: Output<'_>) -> Result<u64, Failed> {
        self.exporter.export(export, out, self.max_output_bytes, &Control::default())
    }

    fn flush(&self) -> Result<(), Failed> {
        self.exporter.flush(&Control::default())
    }

    fn synced(&self, syncs: &Syncs) -> Result<bool, Failed> {
        self.exporter.synced(syncs, &Control::default())
    }

    fn queue_length(&self) -> usize {
        self.exporter.waiting()
    }

    fn after_fork(&self) -> bool {
        self.exporter.after_fork()
    }
}
