//! Where a cell lies: pointers into its planes, and the adds and reads on them.
//!
//! A place is what the hot path holds: two pointers, no reference count. It is valid as long as
//! the `Arena` that it came from. A process that cannot run sections, or was told not to, adds to the
//! shared plane and reads all.

use std::{
    ptr::NonNull,
    sync::{
        Once,
        atomic::{AtomicBool, AtomicIsize, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    Arena, Cells, PLANE_BYTES,
    ground::Planes,
    rseq::{self, PLANE_SHIFT, Rseq},
    shared,
};
use crate::model::platform;

/// What the process can do, decided once, before a cell in CPU planes exists.
///
/// Two words that the hot path loads, instead of a cell that it would have to ask for its state:
/// who has a place with CPU planes was handed it after they were written.
static RSEQ_OFFSET: AtomicIsize = AtomicIsize::new(0);
static CPUS: AtomicU32 = AtomicU32::new(0);

/// Whether sections run.
static SECTIONS: AtomicBool = AtomicBool::new(false);

fn decide() {
    static DECIDED: Once = Once::new();
    DECIDED.call_once(|| {
        // Every CPU that may ever come online, not those that are.
        let Some(cpus) = platform::possible_cpus() else { return };
        CPUS.store(cpus, Relaxed);
        if let Some(rseq) = rseq::detect() {
            RSEQ_OFFSET.store(rseq.offset, Relaxed);
            SECTIONS.store(true, Relaxed);
        }
    });
}

/// Number of CPU planes that an arena needs for this process and its children; 0 where sections
/// cannot run.
pub(super) fn cpus() -> u32 {
    decide();
    if SECTIONS.load(Relaxed) { CPUS.load(Relaxed) } else { 0 }
}

/// Number of CPU planes of an arena that any process of this host may open.
pub(super) fn planes() -> u32 {
    decide();
    CPUS.load(Relaxed)
}

/// Pointers to a cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// First word in the shared plane.
    shared: NonNull<AtomicU64>,
    /// First word in CPU 0's plane, + 1 where this process must not add there; [`NOWHERE`] for a
    /// cell of the shared plane only.
    first_cpu: *const u8,
}

/// In the place of a pointer to CPU 0's plane.
const NOWHERE: *const u8 = std::ptr::without_provenance(1);

// SAFETY: cells are written by sections of the writing thread's own CPU and by atomic
// instructions, so every thread may use a place. Test: storms_of_preemption_lose_nothing.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

impl Arena {
    /// The cell at an offset of a run, with the planes that the run has; it keeps to the bytes of
    /// a cell of the run.
    #[inline]
    pub(crate) fn place(&self, offset: usize, cells: Cells) -> Place {
        // SAFETY: inside the first plane, whatever the offset. Behind the last plane there is room for
        // the largest cell. Test: every_cell_is_its_own.
        let shared = unsafe { self.planes.0.add(offset.min(PLANE_BYTES - 8) / 8 * 8) };
        let first_cpu = match cells {
            Cells::PerCpu => shared.as_ptr().cast_const().wrapping_add(self.to_cpus),
            Cells::Shared => NOWHERE,
        };
        Place { shared: shared.cast(), first_cpu }
    }
}

impl Place {
    /// Adds to a u64 (or, as two's complement, an i64), wrapping.
    #[inline]
    pub(super) fn add_u64(self, amount: u64) {
        if let Some((rseq, cpus)) = self.sections() {
            // SAFETY: the cell exists in every plane of CPUs below `cpus`.
            if unsafe { rseq::add_u64(rseq, cpus, self.first_cpu, amount) } {
                return;
            }
        }
        self.word(0).fetch_add(amount, Relaxed);
    }

    /// Adds to an f64.
    #[inline]
    pub(super) fn add_f64(self, amount: f64) {
        if let Some((rseq, cpus)) = self.sections() {
            // SAFETY: as in `add_u64`.
            if unsafe { rseq::add_f64(rseq, cpus, self.first_cpu, amount) } {
                return;
            }
        }
        shared::add_f64(self.word(0), amount);
    }

    /// Adds {value, 1} to the pair at `index`.
    #[inline]
    pub(super) fn add_pair(self, index: usize, value: f64) {
        if let Some((rseq, cpus)) = self.sections() {
            let cell = self.first_cpu.wrapping_add(index * 16);
            // SAFETY: as in `add_u64`; a cell of pairs is aligned to 16.
            if unsafe { rseq::add_pair(rseq, cpus, cell, value) } {
                return;
            }
        }
        shared::add_pair(self.word(index * 2), self.word(index * 2 + 1), value);
    }

    /// The word at `index` of the shared plane.
    #[inline]
    pub(super) fn word(&self, index: usize) -> &AtomicU64 {
        self.word_of(index)
    }

    #[inline]
    fn word_of<'a>(self, index: usize) -> &'a AtomicU64 {
        // SAFETY: every caller stays inside the words that it allocated.
        let word = unsafe { self.shared.add(index) };
        // SAFETY: inside the mapping, which its users keep; aligned to 8; zero-initialised; only
        // ever accessed atomically. Test: runs_never_overlap_and_their_cells_can_be_zeroed.
        unsafe { word.as_ref() }
    }

    /// The words of the shared plane and of `planes` at `index`.
    #[inline]
    pub(super) fn words(self, index: usize, planes: &Planes) -> impl Iterator<Item = &AtomicU64> {
        let planes = if self.first_cpu == NOWHERE { &[][..] } else { &planes.0[..] };
        let first = self.first_cpu.map_addr(|address| address & !1);
        std::iter::once(self.word_of(index)).chain(planes.iter().map(move |cpu| {
            let at = first.wrapping_add(((*cpu as usize) << PLANE_SHIFT) + index * 8);
            // SAFETY: inside that CPU's plane of the mapping, aligned to 8. Sections write it with
            // plain stores of 8 aligned bytes, which this CPU makes atomic.
            // Test: storms_of_preemption_lose_nothing.
            unsafe { AtomicU64::from_ptr(at.cast_mut().cast()) }
        }))
    }

    /// The pairs of the shared plane and of `planes` at `index`: {sum, count}, each read at once.
    #[inline]
    pub(super) fn pairs(self, index: usize, planes: &Planes) -> impl Iterator<Item = (f64, u64)> {
        let counts = self.words(index * 2 + 1, planes);
        self.words(index * 2, planes).zip(counts).map(|(sum, count)| shared::read_pair(sum, count))
    }

    /// Zeroes `bytes` in the shared plane and in `planes`, for a cell that no handle can reach any
    /// more.
    pub(crate) fn zero(&self, bytes: usize, planes: &Planes) {
        for index in 0..bytes / 8 {
            for word in self.words(index, planes) {
                // An untouched page stays untouched.
                if word.load(Relaxed) != 0 {
                    word.store(0, Relaxed);
                }
            }
        }
    }

    /// What adding to CPU planes needs, where this process does so.
    #[inline]
    fn sections(&self) -> Option<(Rseq, u32)> {
        if self.first_cpu.addr() & 1 == 1 {
            return None;
        }
        Some((Rseq { offset: RSEQ_OFFSET.load(Relaxed) }, CPUS.load(Relaxed)))
    }
}
