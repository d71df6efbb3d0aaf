//! The handle table: the one process-wide object of the library.
//!
//! A handle is a number in a pointer's clothes: `tag << 56 | generation << 24 | slot`. The tag says
//! what it is a handle of, and makes the pointer non-canonical, so a host that follows one crashes
//! at once. A slot holds the number of the handle that is live in it and the object; another
//! number (freed, of another type, invented) is not found. Generations are never reused: a slot
//! that used up all 2^32 is not used again.
//!
//! Looking up takes no lock and touches no reference count: [`tallyport_core::model::grace`] keeps the object
//! alive during the call. Hence, for a recording call that races with the `_free` of its handle:
//!
//! 1. It either finds the number in the slot, and then records in the object that the handle
//!    always meant; or it does not, and is a counted no-op.
//! 2. `_free` changes the number first (one exchange: of two that race, one is stale). The object
//!    stays in the slot, and the slot stays out of use, until `all_passed` has proved that every
//!    section that could have found the old number has ended. So between lookup and recording the
//!    slot cannot come to hold another series, and the cell cannot return to its arena.
//! 3. Chunks of slots are never unmapped, so a stale number leads to a slot or to no chunk.
//!
//! Tests: core/tests/grace_model.rs (loom), `free_while_others_add` and the C hosts under valgrind.

use std::{
    cell::UnsafeCell,
    mem::MaybeUninit,
    ptr,
    sync::{
        Arc,
        atomic::{
            AtomicPtr, AtomicU32, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
};

use tallyport_core::{
    event::Subscription,
    metrics::{
        Collector, Counter, CounterF64, CounterF64Family, CounterFamily, Gauge, GaugeFamily,
        Histogram, HistogramFamily, UpDownCounter, UpDownCounterF64, UpDownCounterF64Family,
        UpDownCounterFamily,
    },
    model::{Error, ErrorKind, Mutex, grace},
    snapshot::Snapshot,
};

use crate::{
    boundary::null, by_values::FamilyState, engine::EngineState, error::ErrorState,
    log_ring::LogRing, store::StoreCall, topic::TopicState,
};

/// What a handle leads to.
pub(crate) enum Object {
    Counter(Counter),
    CounterF64(CounterF64),
    UpDownCounter(UpDownCounter),
    UpDownCounterF64(UpDownCounterF64),
    Gauge(Gauge),
    /// Boxed: it would double the size of a slot.
    Histogram(Box<Histogram>),
    Engine(Arc<EngineState>),
    Snapshot(Arc<Snapshot>),
    Error(Box<ErrorState>),
    Subscription(Arc<Subscription>),
    Topic(Arc<TopicState>),
    Collector(Arc<Collector>),
    LogRing(Arc<LogRing>),
    StoreCall(Arc<StoreCall>),
    CounterFamily(Arc<FamilyState<CounterFamily>>),
    CounterF64Family(Arc<FamilyState<CounterF64Family>>),
    UpDownCounterFamily(Arc<FamilyState<UpDownCounterFamily>>),
    UpDownCounterF64Family(Arc<FamilyState<UpDownCounterF64Family>>),
    GaugeFamily(Arc<FamilyState<GaugeFamily>>),
    HistogramFamily(Arc<FamilyState<HistogramFamily>>),
}

impl Object {
    /// Never 0 and under 0x80: the top byte of no address that a program can have.
    fn tag(&self) -> u64 {
        match self {
            Self::Counter(_) => 0x11,
            Self::CounterF64(_) => 0x12,
            Self::UpDownCounter(_) => 0x13,
            Self::UpDownCounterF64(_) => 0x14,
            Self::Gauge(_) => 0x15,
            Self::Histogram(_) => 0x16,
            Self::Engine(_) => 0x21,
            Self::Snapshot(_) => 0x22,
            Self::Error(_) => 0x23,
            Self::Subscription(_) => 0x24,
            Self::Topic(_) => 0x25,
            Self::Collector(_) => 0x26,
            Self::LogRing(_) => 0x27,
            Self::StoreCall(_) => 0x28,
            Self::CounterFamily(_) => 0x31,
            Self::CounterF64Family(_) => 0x32,
            Self::UpDownCounterFamily(_) => 0x33,
            Self::UpDownCounterF64Family(_) => 0x34,
            Self::GaugeFamily(_) => 0x35,
            Self::HistogramFamily(_) => 0x36,
        }
    }
}

/// Slots of a chunk; chunks are allocated as handles need them, and never freed.
const CHUNK_SLOTS: usize = 1024;
/// Most chunks: 4 Mi live handles.
const CHUNKS: usize = 4096;
/// The part of a number that is the slot. Bits 22 and 23 are 0 in every handle.
const SLOT_MASK: u64 = (CHUNKS * CHUNK_SLOTS - 1) as u64;
/// Freed objects that wait before a `_free` asks whether they can go.
const BATCH: usize = 64;

/// One place for an object.
#[repr(align(64))]
struct Slot {
    /// The live handle's number, or [`dead`].
    number: AtomicU64,
    /// Generation of the last handle; changed under the lock of `SPACE` only.
    generation: AtomicU32,
    object: UnsafeCell<MaybeUninit<Object>>,
}

// SAFETY: `object` is written by one thread before `number` names it (Release) and after every
// section that could read it ended; in between it is only read, and an Object is Send and Sync
// (asserted below). Test: free_while_others_add.
unsafe impl Sync for Slot {}

const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Object>();
    assert!(size_of::<Slot>() == 64);
};

type Chunk = [Slot; CHUNK_SLOTS];

/// Which slots are free.
#[derive(Debug)]
struct Space {
    /// Slots that were ever used.
    used: usize,
    free: Vec<usize>,
    /// Freed by the host, perhaps in use by a section.
    waiting: Vec<usize>,
    live: usize,
}

static SLOTS: [AtomicPtr<Chunk>; CHUNKS] = [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];
static SPACE: Mutex<Space> =
    Mutex::new(Space { used: 0, free: Vec::new(), waiting: Vec::new(), live: 0 });
/// Calls that recorded nothing, because their handle was NULL, stale or of another type.
static MISUSE: AtomicU64 = AtomicU64::new(0);

/// The number in a slot without a live handle: its slot part is another slot's, so that nothing
/// that is looked up in this slot equals it.
fn dead(index: usize) -> u64 {
    !(index as u64)
}

/// Gives an object a handle; `None` when the table is full (the object is dropped).
pub(crate) fn insert<T>(object: Object) -> Option<*mut T> {
    let tag = object.tag();
    let mut space = SPACE.lock();
    grace::prepare();
    let mut gone = Vec::new();
    if space.free.is_empty() {
        gone = space.reclaim();
    }
    let made = space.take_slot().map(|(index, slot)| {
        let generation = slot.generation.load(Relaxed) + 1;
        slot.generation.store(generation, Relaxed);
        let number = tag << 56 | u64::from(generation) << 24 | index as u64;
        // SAFETY: the slot is free: no handle names it, and every section that knew an older one
        // has ended (it was never used, or `reclaim` took its object out).
        unsafe { (*slot.object.get()).write(object) };
        slot.number.store(number, Release);
        space.live += 1;
        ptr::without_provenance_mut(number as usize)
    });
    drop(space);
    drop(gone);
    made
}

/// Calls `f` with the object of a handle, which stays alive meanwhile.
///
/// `None` for a number that names no live object. No lock, no allocation, any thread, in signal
/// handlers too, provided that `f` is as careful.
#[inline]
pub(crate) fn with<T, R>(handle: *const T, f: impl FnOnce(&Object) -> Option<R>) -> Option<R> {
    let number = handle.addr() as u64;
    grace::within(|| found(number, f))
}

/// [`with`] in the frequent case; `None` also means, ask [`with`].
#[inline(always)]
pub(crate) fn with_alone<T, R>(
    handle: *const T,
    f: impl FnOnce(&Object) -> Option<R>,
) -> Option<R> {
    let _section = grace::enter_alone()?;
    found(handle.addr() as u64, f)
}

/// Calls `f` with the object of a live number; in a section.
#[inline(always)]
fn found<R>(number: u64, f: impl FnOnce(&Object) -> Option<R>) -> Option<R> {
    let slot = slot((number & SLOT_MASK) as usize)?;
    if slot.number.load(Acquire) != number {
        return None;
    }
    // SAFETY: the number is in the slot, so `insert` wrote the object before (Acquire sees it),
    // and whoever frees it waits for this section. Tests: grace_model, free_while_others_add.
    let object = unsafe { &*slot.object.get().cast::<Object>() };
    f(object)
}

/// Gives an object a handle, or says that there are too many.
pub(crate) fn give<T>(what: &str, object: Object) -> Result<*mut T, Error> {
    insert(object).ok_or_else(|| {
        let most = CHUNKS * CHUNK_SLOTS;
        let message = format!("no handle is left for `{what}`: {most} are live; free some");
        Error::new(ErrorKind::Limit, message).with_field(what)
    })
}

/// What a handle leads to, as `pick` takes it, or an error that names the argument.
pub(crate) fn lookup<T, R>(
    field: &str,
    handle: *const T,
    pick: impl FnOnce(&Object) -> Option<R>,
) -> Result<R, Error> {
    if handle.is_null() {
        return Err(null(field));
    }
    with(handle, pick).ok_or_else(|| stale(field))
}

/// The error for a handle that leads to nothing, or to something else.
pub(crate) fn stale(field: &str) -> Error {
    let message = format!("`{field}` is no live handle of its type: freed, or of another type");
    Error::new(ErrorKind::BadHandle, message).with_field(field)
}

/// Makes a handle stale. False when it was stale already, or of another type.
///
/// `expected` is whether the object is of the right type.
pub(crate) fn remove<T>(handle: *const T, expected: impl FnOnce(&Object) -> bool) -> bool {
    if with(handle, |object| expected(object).then_some(())).is_none() {
        return false;
    }
    let number = handle.addr() as u64;
    let index = (number & SLOT_MASK) as usize;
    // Of two frees at once, one exchanges.
    let Some(slot) = slot(index) else { return false };
    if slot.number.compare_exchange(number, dead(index), AcqRel, Relaxed).is_err() {
        return false;
    }
    let mut space = SPACE.lock();
    space.live -= 1;
    space.waiting.push(index);
    let due = space.waiting.len() >= BATCH || space.live == 0;
    let gone = if due { space.reclaim() } else { Vec::new() };
    drop(space);
    // Dropped without the lock: the last owner of a series returns its cell to the arena.
    drop(gone);
    true
}

/// Lets go of what was freed, as far as no thread can be using it.
pub(crate) fn reclaim() {
    let gone = SPACE.lock().reclaim();
    drop(gone);
}

/// Live handles, and freed ones whose objects are kept still.
pub(crate) fn counts() -> (usize, usize) {
    let space = SPACE.lock();
    (space.live, space.waiting.len())
}

/// Counts a recording call that recorded nothing.
#[cold]
pub(crate) fn count_misuse() {
    MISUSE.fetch_add(1, Relaxed);
}

/// Recording calls that recorded nothing so far.
pub(crate) fn misuse() -> u64 {
    MISUSE.load(Relaxed)
}

#[inline]
fn slot(index: usize) -> Option<&'static Slot> {
    let chunk = SLOTS.get(index / CHUNK_SLOTS)?.load(Acquire);
    // SAFETY: NULL, or a chunk that `take_slot` made whole before it stored it (Release), and that
    // is never freed.
    unsafe { chunk.as_ref() }?.get(index % CHUNK_SLOTS)
}

impl Space {
    fn take_slot(&mut self) -> Option<(usize, &'static Slot)> {
        while let Some(index) = self.free.pop() {
            let slot = slot(index)?;
            // A slot whose generations are used up is left alone for ever.
            if slot.generation.load(Relaxed) < u32::MAX {
                return Some((index, slot));
            }
        }
        let index = self.used;
        let chunk = SLOTS.get(index / CHUNK_SLOTS)?;
        if index.is_multiple_of(CHUNK_SLOTS) {
            let slots = (index..index + CHUNK_SLOTS).map(|index| Slot {
                number: AtomicU64::new(dead(index)),
                generation: AtomicU32::new(0),
                object: UnsafeCell::new(MaybeUninit::uninit()),
            });
            let slots: Box<Chunk> = slots.collect::<Vec<_>>().try_into().ok()?;
            chunk.store(Box::into_raw(slots), Release);
        }
        self.used += 1;
        Some((index, slot(index)?))
    }

    /// Takes the waiting objects out, if no section can be using one. Drop them without the lock.
    fn reclaim(&mut self) -> Vec<Object> {
        if self.waiting.is_empty() || !grace::all_passed() {
            return Vec::new();
        }
        let mut gone = Vec::with_capacity(self.waiting.len());
        for index in self.waiting.drain(..) {
            let Some(slot) = slot(index) else { continue };
            // SAFETY: `insert` wrote it, `remove` made its number stale, exactly once pushed the
            // slot here, and every section of before has ended. Test: free_while_others_add.
            gone.push(unsafe { slot.object.get().cast::<Object>().read() });
            self.free.push(index);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicPtr};

    use tallyport_core::engine::Engine;

    use super::*;

    /// Handles of counters, as the C API types them.
    enum Opaque {}

    fn add(handle: *mut Opaque) -> bool {
        let done = with(handle, |object| match object {
            Object::Counter(counter) => {
                counter.inc();
                Some(())
            }
            _ => None,
        });
        done.is_some()
    }

    fn new_counter(engine: &Engine, name: &str) -> *mut Opaque {
        insert(Object::Counter(engine.metrics().counter(name, &[]).unwrap())).unwrap()
    }

    fn is_counter(object: &Object) -> bool {
        matches!(object, Object::Counter(_))
    }

    #[test]
    fn a_freed_handle_is_stale_for_ever_also_when_its_slot_is_used_again() {
        let engine = Engine::builder().build().unwrap();
        let old = new_counter(&engine, "old");
        assert!(add(old));
        assert!(remove(old, is_counter));
        assert!(!remove(old, is_counter));
        assert!(!add(old));
        for round in 0..4 * BATCH {
            let new = new_counter(&engine, "new");
            assert_ne!(new, old, "round {round}");
            assert!(!add(old), "round {round}");
            assert!(remove(new, is_counter));
        }
        assert_eq!(engine.metrics().counter("old", &[]).unwrap().value(), 1);
        assert_eq!(engine.metrics().counter("new", &[]).unwrap().value(), 0);
    }

    #[test]
    fn numbers_that_are_no_handles_lead_to_nothing() {
        let engine = Engine::builder().build().unwrap();
        let live = new_counter(&engine, "live");
        assert!(!remove(live, |object| matches!(object, Object::Gauge(_))));
        let invented = [
            0,
            1,
            usize::MAX,
            live.addr() ^ (1 << 24), // another generation
            live.addr() ^ (1 << 60), // another type
            live.addr() | 0xff_ffff, // past every slot
            !(live.addr() & 0xff_ffff),
            dead(live.addr() & 0xff_ffff) as usize,
        ];
        for number in invented {
            let handle: *mut Opaque = ptr::without_provenance_mut(number);
            assert!(!add(handle), "{number:#x}");
            assert!(!remove(handle, is_counter), "{number:#x}");
        }
        assert!(add(live));
        assert!(remove(live, is_counter));
    }

    /// Two threads record through whatever handle is published, two replace and free them. Each
    /// record must be in the series that its handle was made for.
    #[test]
    fn free_while_others_add() {
        const SERIES: usize = 16;
        let engine = Engine::builder().build().unwrap();
        let published: Vec<AtomicPtr<Opaque>> =
            (0..SERIES).map(|_| AtomicPtr::new(ptr::null_mut())).collect();
        let done = AtomicBool::new(false);
        let rounds = if cfg!(debug_assertions) { 20_000 } else { 200_000 };
        let counts: Vec<[u64; SERIES]> = std::thread::scope(|scope| {
            let recorders: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let mut counts = [0; SERIES];
                        while !done.load(Relaxed) {
                            for (series, handle) in published.iter().enumerate() {
                                counts[series] += u64::from(add(handle.load(Acquire)));
                            }
                        }
                        counts
                    })
                })
                .collect();
            let replacers: Vec<_> = (0..2)
                .map(|half| {
                    let (engine, published) = (&engine, &published);
                    scope.spawn(move || {
                        for round in 0..rounds {
                            let series = (round % (SERIES / 2)) * 2 + half;
                            let fresh = new_counter(engine, &format!("series_{series}"));
                            let old = published[series].swap(fresh, AcqRel);
                            assert_eq!(remove(old, is_counter), !old.is_null());
                        }
                    })
                })
                .collect();
            for replacer in replacers {
                replacer.join().unwrap();
            }
            done.store(true, Relaxed);
            recorders.into_iter().map(|recorder| recorder.join().unwrap()).collect()
        });
        for (series, handle) in published.iter().enumerate() {
            remove(handle.load(Acquire), is_counter);
            let recorded: u64 = counts.iter().map(|counts| counts[series]).sum();
            let counter = engine.metrics().counter(&format!("series_{series}"), &[]).unwrap();
            assert_eq!(counter.value(), recorded, "series {series}");
        }
        let recorded: u64 = counts.iter().flatten().sum();
        assert!(recorded > 0);
    }
}
