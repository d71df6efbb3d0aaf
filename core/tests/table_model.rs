//! `src/metrics/table/{slots,state}.rs` with `src/model/grace/readers.rs` under loom: every order in
//! which the CPU may run a lookup, a removal, an expiry, a snapshot, and the reuse of a row.
//!
//! The model has one row, which is series A and then, if it may be, series B. What a row's words and
//! its cell are is modelled by loom's cells, which report every access that races with a write. A
//! planted bug, reuse without a grace, shows that the model can see one.

#![allow(clippy::unwrap_used)] // helpers of tests
// loom's cells are Sync for loom alone.
#![allow(clippy::arc_with_non_send_sync)]

#[path = "../src/model/grace/readers.rs"]
#[allow(dead_code, unreachable_pub)]
mod grace;
#[path = "../src/metrics/table/slots.rs"]
#[allow(dead_code)]
mod slots;
#[path = "../src/metrics/table/state.rs"]
#[allow(dead_code)]
mod state;

/// What they import: loom's atomics in the place of std's.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

    pub(crate) const PATIENCE: usize = 1;

    /// The model of `membarrier`: the compiler fence of each reader has been a full fence.
    pub(crate) fn compiler_fence(order: Ordering) {
        fence(order);
    }
}

use std::sync::Arc;

use grace::{Announcement, Readers};
use loom::{
    cell::UnsafeCell,
    sync::Mutex,
    thread::{self, JoinHandle},
};
use state::Swept;
use sync::{AtomicU32, AtomicUsize, Ordering};

const A: u32 = 0x0100_0000;
const B: u32 = 0x0200_0001;

/// A table of one row.
struct Table {
    slots: [AtomicU32; 4],
    state: AtomicU32,
    pins: AtomicU32,
    /// Whose row it is: stands for hash, texts and creation time.
    series: UnsafeCell<u32>,
    /// The row's cell: written by whoever is led here, one at a time.
    cell: Mutex<u32>,
    /// What A had when its row was used again.
    left: Mutex<u32>,
    generation: AtomicU32,
    announcement: [Announcement; 1],
    crowd: Announcement,
    /// Whether the row waits for a grace and for pins.
    gone: Mutex<bool>,
    /// The planted bug.
    careless: bool,
}

impl Table {
    fn new(pinned: bool, careless: bool) -> Arc<Self> {
        let nobody = || Announcement { owner: AtomicUsize::new(1), depth: sync::AtomicU32::new(0) };
        let table = Self {
            slots: std::array::from_fn(|_| AtomicU32::new(0)),
            state: AtomicU32::new(0),
            pins: AtomicU32::new(u32::from(pinned)),
            series: UnsafeCell::new(A),
            cell: Mutex::new(0),
            left: Mutex::new(0),
            generation: AtomicU32::new(0),
            announcement: [nobody()],
            crowd: nobody(),
            gone: Mutex::new(false),
            careless,
        };
        state::make(&table.state);
        slots::insert(&table.slots, A, 0);
        Arc::new(table)
    }

    fn readers(&self) -> Readers<'_> {
        Readers { threads: &self.announcement, crowd: &self.crowd }
    }

    /// As `Shape::find`, in a section.
    fn find(&self, series: u32) -> Option<()> {
        slots::candidates(&self.slots, series)
            // SAFETY: what the model proves; loom fails the test otherwise.
            .any(|_| self.series.with(|known| unsafe { *known } == series))
            .then_some(())
    }

    /// As `Shape::with`: whether it was added.
    fn add(&self, series: u32) -> bool {
        let _section = self.readers().enter_alone(1).unwrap();
        let led = self.find(series).is_some() && state::touch(&self.state);
        if led {
            *self.cell.lock().unwrap() += 1;
        }
        led
    }

    /// As `Shape::look_up` with `Spot::pin`.
    fn pin(&self, series: u32) -> bool {
        let _section = self.readers().enter_alone(1).unwrap();
        let led = self.find(series).is_some() && state::touch(&self.state);
        if led {
            state::pin(&self.pins);
        }
        led
    }

    /// As `Shape::remove`.
    fn remove(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
        if state::remove(&self.state) {
            slots::remove(&self.slots, A, 0);
            *self.gone.lock().unwrap() = true;
        }
    }

    /// As `Shape::reclaim`, then a series B in the row.
    fn reuse(&self) -> bool {
        if !*self.gone.lock().unwrap() || !self.careless && !self.readers().all_passed(|| true) {
            return false;
        }
        if !state::is_unpinned(&self.pins) {
            return false;
        }
        *self.left.lock().unwrap() = std::mem::take(&mut *self.cell.lock().unwrap());
        state::free(&self.state);
        self.series.with_mut(|series| {
            // SAFETY: as above.
            unsafe { *series = B };
        });
        state::make(&self.state);
        slots::insert(&self.slots, B, 0);
        true
    }

    /// What was counted for A, wherever it is now.
    fn counted(&self, reused: bool) -> u32 {
        if reused { *self.left.lock().unwrap() } else { *self.cell.lock().unwrap() }
    }
}

fn spawn<R: 'static>(table: &Arc<Table>, f: impl FnOnce(&Table) -> R + 'static) -> JoinHandle<R> {
    let table = Arc::clone(table);
    thread::spawn(move || f(&table))
}

fn lookup_beside_removal(careless: bool) {
    loom::model(move || {
        let table = Table::new(false, careless);
        let adder = spawn(&table, |table| u32::from(table.add(A)) + u32::from(table.add(A)));
        table.remove();
        let reused = table.reuse();
        let added = adder.join().unwrap();
        assert_eq!(table.counted(reused), added, "an add is in A, and B has none of it");
    });
}

#[test]
fn an_add_by_lookup_lands_in_its_own_series_or_nowhere() {
    lookup_beside_removal(false);
}

#[test]
fn the_model_sees_that_a_grace_is_needed() {
    let seen = std::panic::catch_unwind(|| lookup_beside_removal(true));
    assert!(seen.is_err(), "without a grace an add lands in the next series");
}

#[test]
fn a_new_series_is_found_whole() {
    loom::model(|| {
        let table = Table::new(false, false);
        let adder = spawn(&table, |table| table.add(B));
        table.remove();
        let reused = table.reuse();
        let added = adder.join().unwrap();
        assert!(reused || !added);
        if reused {
            assert_eq!(*table.cell.lock().unwrap(), u32::from(added));
        }
    });
}

#[test]
fn a_pin_keeps_the_row_after_the_section() {
    loom::model(|| {
        let table = Table::new(false, false);
        let holder = spawn(&table, |table| {
            let pinned = table.pin(A);
            if pinned {
                // Through the handle: no section, no lookup.
                *table.cell.lock().unwrap() += 1;
                state::unpin(&table.state, &table.pins);
            }
            pinned
        });
        table.remove();
        let reused = table.reuse();
        let pinned = holder.join().unwrap();
        assert_eq!(table.counted(reused), u32::from(pinned));
        // Once nobody holds it, it can be used again.
        assert!(reused || table.reuse());
    });
}

#[test]
fn a_row_that_somebody_holds_is_not_used_again() {
    loom::model(|| {
        let table = Table::new(true, false);
        state::pin(&table.pins);
        let other = spawn(&table, |table| {
            *table.cell.lock().unwrap() += 1;
            state::unpin(&table.state, &table.pins);
        });
        table.remove();
        assert!(!table.reuse(), "one pin is still held");
        *table.cell.lock().unwrap() += 1;
        state::unpin(&table.state, &table.pins);
        let reused = table.reuse();
        other.join().unwrap();
        assert_eq!(table.counted(reused), 2);
        assert!(reused || table.reuse());
    });
}

#[test]
fn a_series_that_is_looked_up_does_not_expire() {
    loom::model(|| {
        let table = Table::new(false, false);
        // Idle for one sweep less than it takes.
        for _ in 0..state::IDLE_SWEEPS {
            assert_eq!(state::sweep(&table.state, &table.pins), Swept::Kept);
        }
        let adder = spawn(&table, |table| table.add(A));
        let fading = state::sweep(&table.state, &table.pins) == Swept::Fading;
        let expired = fading
            && table.readers().all_passed(|| true)
            && state::expire(&table.state, &table.pins);
        let added = adder.join().unwrap();
        assert!(!(expired && added), "what was added just now is gone");
        assert_eq!(*table.cell.lock().unwrap(), u32::from(added));
    });
}

#[test]
fn a_snapshot_reads_the_series_that_its_schema_names() {
    loom::model(|| {
        let table = Table::new(false, false);
        *table.cell.lock().unwrap() = 7;
        let snapshot = spawn(&table, |table| {
            let _section = table.readers().enter_alone(1).unwrap();
            // As `Snapshots::take` with a schema of generation 0, which names row 0 as A.
            if table.generation.load(Ordering::Relaxed) != 0 {
                return;
            }
            // SAFETY: as above.
            table.series.with(|series| assert_eq!(unsafe { *series }, A));
            assert_eq!(*table.cell.lock().unwrap(), 7);
        });
        table.remove();
        table.reuse();
        snapshot.join().unwrap();
    });
}
