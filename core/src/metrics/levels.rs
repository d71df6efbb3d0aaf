//! Things that are found by a hash without a lock and never removed.
//!
//! Levels of doubling size, made as they are needed. A thing has a window of a few places in each
//! level, and lies in the first free one; so a free place in a window ends the search.

use once_cell::race::OnceBox;

/// Levels: from 64 places on, 64 Mi.
const LEVELS: usize = 20;
/// Places of a level that a thing may lie in; also the least of a level.
const WINDOW: usize = 8;

/// A place is one pointer, published with Release and read with Acquire.
type Level<T> = Box<[OnceBox<T>]>;

/// Things by hash. Any thread; who fills places holds a lock of its own.
#[derive(Debug)]
pub(super) struct Levels<T> {
    levels: [OnceBox<Level<T>>; LEVELS],
    /// Places of the first level: a power of two, at least [`WINDOW`].
    first: usize,
}

impl<T> Levels<T> {
    pub(super) fn new(first: usize) -> Self {
        let first = first.max(WINDOW).next_power_of_two();
        Self { levels: [const { OnceBox::new() }; LEVELS], first }
    }

    /// The thing of that hash that `is` accepts.
    pub(super) fn find(&self, hash: u32, is: impl Fn(&T) -> bool) -> Option<&T> {
        for (level, places) in self.levels.iter().map_while(OnceBox::get).enumerate() {
            for place in window(places, hash, level) {
                // A free place: the thing would be in it.
                let thing = place.get()?;
                if is(thing) {
                    return Some(thing);
                }
            }
        }
        None
    }

    /// Where a new thing goes; `None` when its window is full in every level. Only one thread at a
    /// time fills places, so what is free stays free.
    pub(super) fn free_place(&self, hash: u32) -> Option<&OnceBox<T>> {
        self.levels.iter().enumerate().find_map(|(level, places)| {
            let make = || Box::new((0..self.first << level).map(|_| OnceBox::new()).collect());
            let places = places.get_or_init(make);
            window(places, hash, level).find(|place| place.get().is_none())
        })
    }
}

/// The places of a hash in one level.
fn window<T>(places: &Level<T>, hash: u32, level: usize) -> impl Iterator<Item = &OnceBox<T>> {
    // Other bits of the hash in each level, so that things that met once do not meet again.
    let first = hash.wrapping_mul(0x9E37_79B9 + 2 * level as u32).rotate_left(16) as usize;
    (0..WINDOW).filter_map(move |step| places.get((first + step) & (places.len() - 1)))
}
