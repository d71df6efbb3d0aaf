//! The arenas of this process, for what a fork does with them.
//!
//! A list that only grows, of places that are used again: it is walked in the handlers of a fork,
//! where nothing may be waited for.

use std::{
    ptr,
    sync::atomic::{
        AtomicPtr,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

use super::members::Membership;
use crate::model::{fork, gate};

static FORKS: fork::Hooks =
    fork::Hooks { before, in_parent: after_in_parent, in_child: after_in_child };

struct Place {
    /// NULL: free.
    membership: AtomicPtr<Membership>,
    next: *mut Place,
}

static FIRST: AtomicPtr<Place> = AtomicPtr::new(ptr::null_mut());

fn places() -> impl Iterator<Item = &'static Place> {
    let mut next = FIRST.load(Acquire);
    std::iter::from_fn(move || {
        // SAFETY: a place is leaked when it is made, and never changes but for its atomic.
        // Test: a_child_takes_a_place_of_its_own.
        let place = unsafe { next.as_ref() }?;
        next = place.next;
        Some(place)
    })
}

/// Has forks told to a membership, until [`forget`]; it does not move meanwhile.
pub(super) fn remember(membership: &Membership) {
    if !fork::on_fork(&FORKS) {
        tracing::error!("too many want to know of forks: a child is taken for its parent");
    }
    let wanted = ptr::from_ref(membership).cast_mut();
    let take = |place: &&Place| {
        place.membership.compare_exchange(ptr::null_mut(), wanted, AcqRel, Relaxed).is_ok()
    };
    if places().find(take).is_some() {
        return;
    }
    let place = Place { membership: AtomicPtr::new(wanted), next: ptr::null_mut() };
    let place = Box::leak(Box::new(place));
    loop {
        place.next = FIRST.load(Acquire);
        let expected = place.next;
        if FIRST.compare_exchange(expected, ptr::from_mut(place), AcqRel, Relaxed).is_ok() {
            return;
        }
    }
}

/// Tells it of no further fork.
pub(super) fn forget(membership: &Membership) {
    let known = ptr::from_ref(membership).cast_mut();
    // No fork begins meanwhile.
    gate::within(|| {
        if let Some(place) = places().find(|place| place.membership.load(Acquire) == known) {
            place.membership.store(ptr::null_mut(), Release);
        }
    });
}

fn each(tell: impl Fn(&Membership)) {
    for place in places() {
        // SAFETY: a membership forgets itself before it ends, and no fork begins while it does so.
        // Test: a_child_takes_a_place_of_its_own.
        if let Some(membership) = unsafe { place.membership.load(Acquire).as_ref() } {
            tell(membership);
        }
    }
}

/// Before a fork.
fn before() {
    each(Membership::before_fork);
}

/// After it, in the parent.
fn after_in_parent() {
    each(Membership::after_fork_parent);
}

/// After it, in the child.
fn after_in_child() {
    each(Membership::after_fork_child);
}
