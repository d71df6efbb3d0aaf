//! Forks: which process this is, and what a child does before anything else.
//!
//! A fork that the C library sees runs handlers: the gate is closed before, and opened after in both
//! processes ([`super::gate`]). A child that was made past the C library (`clone`, `_Fork`) finds that a
//! mark is gone which the kernel does not copy into children, at its first call that takes a lock
//! or asks for the generation, and does there what the handler would have done. Recording looks at
//! none of this.
//!
//! What is to be done in a child is short, and changes memory only: no lock, no allocation.

use std::{
    sync::atomic::{
        AtomicU32, AtomicU64, AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
    thread,
    time::{Duration, Instant},
};

use once_cell::race::OnceBox;

use super::{gate, grace, platform};

/// The mark: nobody has set it, or a fork took it away.
const GONE: u32 = 0;
const SET: u32 = 1;
/// A thread is setting it.
const BEING_SET: u32 = 2;

/// How long a thread may be at it: it does not wait for anything.
const PATIENCE: Duration = Duration::from_secs(2);

/// Most functions of [`on_child`].
const HOOKS: usize = 16;

static GENERATION: AtomicU64 = AtomicU64::new(1);
/// The process that set the mark; for systems that copy every page into children.
static PROCESS: AtomicU32 = AtomicU32::new(0);
/// The thread that is setting the mark; 0: none.
static SETTER: AtomicUsize = AtomicUsize::new(0);
static AROUND: [OnceBox<&'static Hooks>; HOOKS] = [const { OnceBox::new() }; HOOKS];
static HOOK: [OnceBox<fn()>; HOOKS] = [const { OnceBox::new() }; HOOKS];

/// A number that every forked child, grandchild … has another of than those it descends from.
///
/// Any thread; no lock.
#[inline]
#[must_use]
pub fn generation() -> u64 {
    notice();
    GENERATION.load(Acquire)
}

/// What locks are marked with. For a thread that noticed a fork already.
#[inline]
pub(super) fn tag() -> u32 {
    GENERATION.load(Relaxed) as u32
}

/// Has `hook` called in every forked child, before what notices the fork goes on. A second time the
/// same function is no change.
///
/// It runs in a handler of `fork`, or inside the first call of a child that was made past the C
/// library: it takes no lock, allocates nothing, and changes memory or closes descriptors only. [`generation`] is the
/// child's.
///
/// False: there are too many.
pub fn on_child(hook: fn()) -> bool {
    notice();
    gate::within(|| {
        HOOK.iter().any(|place| {
            // Of two threads at once the second one finds the first one's, and takes the next.
            let known = place.get_or_init(|| Box::new(hook));
            std::ptr::fn_addr_eq(*known, hook)
        })
    })
}

/// What is done around every fork that the C library sees or a host tells of. All are idempotent.
#[derive(Debug)]
pub struct Hooks {
    /// In the forking thread, when no other one has a lock of the engine.
    pub before: fn(),
    /// In the parent afterwards, or when it failed: before other threads get locks again.
    pub in_parent: fn(),
    /// In the child, as a function of [`on_child`].
    pub in_child: fn(),
}

/// Has `hooks` called. A second time the same ones are no change; false: there are too many.
pub fn on_fork(hooks: &'static Hooks) -> bool {
    let known = gate::within(|| {
        AROUND.iter().any(|place| {
            let known = place.get_or_init(|| Box::new(hooks));
            std::ptr::eq(*known, hooks)
        })
    });
    known && on_child(hooks.in_child)
}

fn around() -> impl Iterator<Item = &'static Hooks> {
    AROUND.iter().map_while(OnceBox::get).copied()
}

/// Before a fork: no thread but this one has a lock of the engine from now on. Idempotent.
pub fn before() {
    notice();
    gate::close();
    around().for_each(|hooks| (hooks.before)());
}

/// After it in the parent, or when it failed. Idempotent.
pub fn after_in_parent() {
    around().for_each(|hooks| (hooks.in_parent)());
    gate::open();
}

/// After it in the child. Idempotent.
pub fn after_in_child() {
    notice();
    gate::open();
}

/// Notices that this process is a forked child, if nobody did yet.
#[inline]
pub(super) fn notice() {
    if platform::fork::mark().load(Acquire) != SET {
        look(Alone::Perhaps);
    }
}

/// Whether no other thread runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alone {
    /// In the C library's handler.
    Surely,
    Perhaps,
}

#[cold]
fn look(alone: Alone) {
    let own = platform::this_thread();
    let mut since = None;
    loop {
        let mark = platform::fork::mark();
        let seen = mark.compare_exchange(GONE, BEING_SET, AcqRel, Acquire);
        match seen {
            Err(SET) => return,
            // By what is called below.
            Err(_) if SETTER.load(Relaxed) == own => return,
            // By a thread that a fork left behind.
            Err(_) if is_over(&mut since) => {}
            Err(_) => {
                thread::yield_now();
                continue;
            }
            Ok(_) => {}
        }
        SETTER.store(own, Relaxed);
        let next = set(alone);
        SETTER.store(0, Relaxed);
        // Perhaps the first mark, which another one replaced.
        return mark.store(next, Release);
    }
}

fn is_over(since: &mut Option<Instant>) -> bool {
    since.get_or_insert_with(Instant::now).elapsed() > PATIENCE
}

/// Prepares the first process for forks, or begins a child; returns what the mark is then.
fn set(alone: Alone) -> u32 {
    let process = std::process::id();
    let before = PROCESS.swap(process, AcqRel);
    if before == 0 {
        grace::prepare();
        platform::fork::register(prepare_handler, parent_handler, child_handler);
        platform::fork::set_mark(SET);
    } else if before != process || platform::fork::is_wiped() {
        begin_child(alone);
    }
    // Where the kernel copies every page into children, each call compares the process's number.
    if platform::fork::is_wiped() { SET } else { GONE }
}

extern "C" fn prepare_handler() {
    before();
}

extern "C" fn parent_handler() {
    after_in_parent();
}

extern "C" fn child_handler() {
    if platform::fork::mark().load(Acquire) != SET {
        look(Alone::Surely);
    }
    gate::open();
}

/// What a forked child does before anything else.
fn begin_child(alone: Alone) {
    GENERATION.fetch_add(1, AcqRel);
    gate::reset();
    // Threads that record look at nothing here: they may be in sections of theirs.
    if alone == Alone::Surely || platform::fork::is_single_threaded() {
        grace::reset();
    }
    HOOK.iter().map_while(OnceBox::get).for_each(|hook| hook());
}
