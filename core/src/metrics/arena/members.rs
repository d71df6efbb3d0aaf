//! The processes that have an arena: who is there, who ended, and whose gauges are whose.
//!
//! A process takes a place in the table when it opens the arena, or as a child of a fork; its place
//! is its gauge plane. A place of a process that ended is swept by whoever meets it, and taken again.
//! Places are taken and left by single exchanges of one word, so that a process may be killed
//! anywhere: `pid | sweeper << 32`.
//!
//! Between a fork and its place in the table a child is known by a lock on the block's file that it
//! inherits: the kernel lets it go when the child does, or when there was no child.

use std::{
    os::fd::{FromRawFd, IntoRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicI32, AtomicU32,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
};

use super::ground::{GAUGE_PLANE_BYTES, Ground, MEMBERS, Word};
use crate::model::{Error, platform};

pub(super) const PID: usize = 0;
/// When the process began, in ticks since the boot; 0 until it said so.
pub(super) const STARTED: usize = 1;

/// In the place of a descriptor: no lock could be taken.
const NO_LOCK: i32 = -2;

/// A process in an arena, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) place: usize,
    pub(crate) pid: u32,
}

/// This process's part in an arena.
#[derive(Debug)]
pub(crate) struct Membership {
    ground: Arc<Ground>,
    /// One word that a forked child finds zeroed: this process's place + 1.
    page: platform::Mapping,
    /// The last place that this process or its parent had, + 1: that is what a child inherits.
    before: AtomicU32,
    /// A descriptor with a lock that stands for a child without a place; -1: none.
    unborn: AtomicI32,
    /// Whether there may be processes that this one did not see end.
    others: AtomicBool,
}

impl Membership {
    /// Takes a place for this process.
    ///
    /// # Errors
    /// Io, when the system has no memory.
    pub(super) fn begin(ground: &Arc<Ground>) -> Result<Self, Error> {
        let page = platform::Mapping::private(64 << 10)
            .map_err(|error| Error::io(format_args!("reserve a page"), &error))?;
        if let Err(error) = page.wipe_on_fork(0, 64 << 10) {
            tracing::debug!("a child of a raw clone is taken for its parent: {error}");
        }
        let membership = Self {
            ground: Arc::clone(ground),
            page,
            before: AtomicU32::new(0),
            unborn: AtomicI32::new(-1),
            // A memory file is known to this process alone, until it forks.
            others: AtomicBool::new(ground.path().is_some()),
        };
        membership.place();
        Ok(membership)
    }

    #[inline]
    fn word(&self) -> &AtomicU32 {
        // SAFETY: the first word of a mapping that lives as long as `self`; aligned, zeroed, only
        // ever accessed atomically. Test: a_child_takes_a_place_of_its_own.
        unsafe { self.page.base().cast::<AtomicU32>().as_ref() }
    }

    /// This process's place. Async-signal-safe, no lock.
    #[inline]
    pub(super) fn place(&self) -> usize {
        match self.word().load(Relaxed) {
            0 => self.take_place(),
            place => place as usize - 1,
        }
    }

    #[cold]
    #[inline(never)]
    fn take_place(&self) -> usize {
        let members = self.ground.members();
        if members == 1 {
            self.word().store(1, Relaxed);
            return 0;
        }
        let pid = u64::from(platform::process_id());
        let pid_of = |place| self.ground.member_word(place, PID);
        // The last place is everybody's for whom there is none.
        let free = (0..members - 1)
            .find(|place| pid_of(*place).compare_exchange(0, pid, AcqRel, Relaxed).is_ok())
            .or_else(|| {
                self.sweep_ended();
                (0..members - 1)
                    .find(|place| pid_of(*place).compare_exchange(0, pid, AcqRel, Relaxed).is_ok())
            });
        let place = free.unwrap_or(members - 1);
        if free.is_some() {
            self.ground.member_word(place, STARTED).store(platform::start_time(), Release);
        }
        let mine = place as u32 + 1;
        if let Err(other) = self.word().compare_exchange(0, mine, AcqRel, Acquire) {
            // Another thread of this process was faster.
            if free.is_some() {
                self.leave(place);
            }
            return other as usize - 1;
        }
        self.ground.word(Word::Joined).fetch_add(1, Relaxed);
        if self.before.swap(mine, AcqRel) != 0 {
            self.others.store(true, Release);
        }
        place
    }

    fn leave(&self, place: usize) {
        self.ground.member_word(place, STARTED).store(0, Relaxed);
        self.ground.member_word(place, PID).store(0, Release);
    }

    /// Before a fork: from here on this process is not alone. Idempotent.
    pub(super) fn before_fork(&self) {
        self.others.store(true, Release);
        if self.unborn.load(Acquire) == -1 {
            let descriptor = self.ground.lock_shared().map_or(NO_LOCK, IntoRawFd::into_raw_fd);
            self.unborn.store(descriptor, Release);
        }
    }

    /// After a fork, in the parent: what stands for the child is the child's. Idempotent.
    pub(super) fn after_fork_parent(&self) {
        self.let_go();
    }

    /// After a fork, in the child: it takes a place of its own. Idempotent.
    pub(super) fn after_fork_child(&self) {
        // Where the system does not wipe pages.
        let place = self.word().load(Relaxed);
        if place != 0 && self.pid(place as usize - 1) as u32 != platform::process_id() {
            self.word().store(0, Relaxed);
        }
        self.place();
        self.let_go();
    }

    fn let_go(&self) {
        match self.unborn.swap(-1, AcqRel) {
            -1 => {}
            // There was no lock to tell of the child: from now on this process cannot know.
            NO_LOCK => self.unborn.store(NO_LOCK, Release),
            // SAFETY: a descriptor that `before_fork` opened and nobody else knows.
            // Test: a_child_takes_a_place_of_its_own.
            descriptor => drop(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        }
    }

    /// Runs `f` while no other process has the arena, can be about to, or may open it; `None` where
    /// one has. The caller keeps this process from forking meanwhile: it has a lock that forks wait
    /// for.
    pub(crate) fn while_alone<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        if !self.ground.is_shared() {
            return Some(f());
        }
        let mine = self.place();
        if !self.others.load(Acquire) {
            return Some(f());
        }
        // Looked at first: to close an arena costs system calls.
        if !self.is_alone(mine) || self.unborn.load(Acquire) == NO_LOCK {
            return None;
        }
        self.ground.while_closed(|| {
            // A child of a child may have come before the lock was free.
            self.is_alone(mine).then(|| {
                self.others.store(self.ground.path().is_some(), Release);
                f()
            })
        })?
    }

    fn is_alone(&self, mine: usize) -> bool {
        let last = self.ground.members() - 1;
        if mine == last {
            return false;
        }
        self.sweep_ended();
        (0..=last).all(|place| place == mine || self.pid(place) == 0)
    }

    fn pid(&self, place: usize) -> u64 {
        self.ground.member_word(place, PID).load(Acquire)
    }

    /// The places whose gauges count: those of processes that are there, and everybody's.
    pub(crate) fn present(&self) -> Vec<Member> {
        if self.ground.members() == 1 {
            return vec![Member { place: 0, pid: platform::process_id() }];
        }
        self.sweep_ended();
        let last = self.ground.members() - 1;
        let there = (0..last).filter_map(|place| {
            let pid = self.pid(place) as u32;
            (pid != 0).then_some(Member { place, pid })
        });
        there.chain([Member { place: last, pid: 0 }]).collect()
    }

    /// Frees the places of processes that ended.
    pub(crate) fn sweep_ended(&self) {
        let me = platform::process_id();
        for place in 0..self.ground.members() - 1 {
            let word = self.ground.member_word(place, PID);
            let seen = word.load(Acquire);
            let (pid, sweeper) = (seen as u32, (seen >> 32) as u32);
            if pid == 0 || pid == me && sweeper == 0 {
                continue;
            }
            // Somebody is at it, and lives.
            if sweeper != 0 && (sweeper == me || platform::is_alive(sweeper, 0)) {
                continue;
            }
            let started = self.ground.member_word(place, STARTED).load(Acquire);
            if sweeper == 0 && platform::is_alive(pid, started) {
                continue;
            }
            let mine = u64::from(pid) | u64::from(me) << 32;
            if word.compare_exchange(seen, mine, AcqRel, Relaxed).is_ok() {
                self.zero_gauges(place);
                self.leave(place);
                // Its gauges are gone.
                self.ground.word(Word::Generation).fetch_add(1, Relaxed);
            }
        }
    }

    fn zero_gauges(&self, place: usize) {
        let used = self.ground.word(Word::Gauges).load(Acquire) as usize;
        let used = used.min(GAUGE_PLANE_BYTES);
        if self.ground.give_gauges_back(place, used) {
            return;
        }
        for offset in (0..used).step_by(8) {
            super::gauges::word(&self.ground, place, offset).store(0, Relaxed);
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        super::forks::forget(self);
        // A child that never used it has no place.
        let place = self.word().load(Relaxed) as usize;
        if place == 0 || self.ground.members() == 1 || place == MEMBERS {
            return;
        }
        let word = self.ground.member_word(place - 1, PID);
        let me = u64::from(platform::process_id());
        if word.compare_exchange(me, me | me << 32, AcqRel, Relaxed).is_ok() {
            self.zero_gauges(place - 1);
            self.leave(place - 1);
            self.ground.word(Word::Generation).fetch_add(1, Relaxed);
        }
    }
}
