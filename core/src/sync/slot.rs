//! One series of an arena, as its publisher keeps it.

use std::sync::Arc;

use crate::store::{Text, Total};

/// A series: what its cells hold, what the store holds of it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) key: Arc<[u8]>,
    pub(super) created_ns: u64,
    help: Box<str>,
    unit: Box<str>,
    /// The cells as they were last seen.
    pub(super) cells: Total,
    /// Of earlier series of this key in the same arena.
    pub(super) carried: Option<Box<Total>>,
    /// What the store's retired total holds of this arena.
    pub(super) base: Option<Box<Total>>,
    /// What the record holds, by its last answer.
    pub(super) acked: Option<Total>,
    /// Whether the record has its text.
    pub(super) told: bool,
    /// No longer in the arena.
    pub(super) gone: bool,
    /// Whether the journal has all of it but its values.
    pub(super) written: bool,
}

impl Slot {
    pub(super) fn new(key: Arc<[u8]>, text: &Text, zero: Total) -> Self {
        Self {
            key,
            created_ns: text.created_ns,
            help: text.help.as_str().into(),
            unit: text.unit.as_str().into(),
            cells: zero,
            carried: None,
            base: None,
            acked: None,
            told: false,
            gone: false,
            written: false,
        }
    }

    /// What is told of it once.
    pub(super) fn text(&self) -> Vec<u8> {
        Text::bytes_of(&self.key, self.created_ns, &self.help, &self.unit)
    }

    /// `looked_ns`: when all series were looked at before.
    pub(super) fn observe(&mut self, created_ns: u64, looked_ns: u64, cells: Total) {
        // Processes that made a series at once may each name the time of their own row: both came
        // before anybody saw it.
        let other = self.created_ns != created_ns
            && (created_ns >= looked_ns || cells.fell_from(&self.cells));
        if other || self.gone {
            // Another series of the same key: it began at nothing.
            self.written = false;
            self.vanish();
            self.created_ns = created_ns;
            self.gone = false;
        }
        if !self.cells.same(&cells) {
            self.cells = cells;
        }
    }

    pub(super) fn vanish(&mut self) {
        if self.gone {
            return;
        }
        self.gone = true;
        self.written = false;
        if self.cells.outlives_its_instance() {
            self.carried = Some(Box::new(self.counted()));
            // Less itself is nothing, of the same kind.
            self.cells = self.cells.since(&self.cells);
        }
    }

    /// All that was counted under this key in this arena.
    fn counted(&self) -> Total {
        let mut all = self.cells.clone();
        if let Some(carried) = &self.carried
            && let Err(error) = all.add(carried)
        {
            tracing::error!("a series changed its kind: {error}");
        }
        all
    }

    /// What the record is to hold.
    pub(super) fn published(&self) -> Total {
        let all = self.counted();
        match &self.base {
            Some(base) => all.since(base),
            None => all,
        }
    }

    /// Cells that held what was last said of them, if anything was.
    pub(super) fn restore(&mut self, last: Option<&Total>) {
        let said = last.or(self.acked.as_ref());
        if !self.cells.outlives_its_instance() {
            if let Some(said) = said {
                self.cells = said.clone();
            }
            return;
        }
        let mut all = said.cloned().unwrap_or_else(|| self.cells.since(&self.cells));
        if let Some(base) = &self.base
            && let Err(error) = all.add(base)
        {
            tracing::error!("a series changed its kind: {error}");
        }
        self.cells = match &self.carried {
            Some(carried) => all.since(carried),
            None => all,
        };
    }

    /// What was acknowledged is in the retired total now.
    pub(super) fn fold(&mut self) {
        let Some(acked) = self.acked.take().filter(Total::outlives_its_instance) else { return };
        let folded = match self.base.take() {
            Some(mut base) => {
                if let Err(error) = base.add(&acked) {
                    tracing::error!("a series changed its kind: {error}");
                }
                base
            }
            None => Box::new(acked),
        };
        self.base = Some(folded);
    }

    /// Whether the retired total holds all that was counted.
    pub(super) fn owes_nothing(&self) -> bool {
        !self.cells.outlives_its_instance() || self.published().is_zero()
    }
}
