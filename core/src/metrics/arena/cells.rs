//! Cells: the words that recording changes, and how each kind is changed.
//!
//! Every cell is written by locked instructions, so any thread and any signal handler may write
//! at any time: no lock, no allocation, no thread-local. A histogram's bucket is one 16-byte
//! {f64 sum, u64 count} that is replaced at once (cmpxchg16b), so a snapshot never sees a count
//! without its sum; a CPU without that instruction writes two words, and the sum may then trail
//! the count by the observations in flight.

use std::{
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::Block;

impl Block {
    /// The word at `index`, which must be inside the block.
    fn word(&self, index: usize) -> &AtomicU64 {
        debug_assert!((index + 1) * 8 <= self.len);
        let first = self.first();
        // SAFETY: every caller stays inside the words that it asked `allocate` for, which lie in
        // the mapping; the block keeps the arena alive. Test: blocks_are_reused_and_zeroed.
        let word = unsafe { first.add(index) };
        // SAFETY: aligned to 8 (GRAIN is 16), zero-initialised, and only ever accessed atomically.
        unsafe { word.as_ref() }
    }

    fn first(&self) -> NonNull<AtomicU64> {
        // SAFETY: `allocate` keeps offset + len inside the mapping.
        unsafe { self.arena.mapping.base().add(self.offset) }.cast()
    }
}

/// Zeroes a block that no handle can reach any more.
pub(super) fn zero(block: &Block) {
    for index in 0..block.len / 8 {
        block.word(index).store(0, Relaxed);
    }
}

/// A sum of u64 amounts.
#[derive(Debug)]
pub(crate) struct U64Cell(Block);

impl U64Cell {
    pub(crate) const BYTES: usize = 8;

    pub(crate) fn new(block: Block) -> Self {
        Self(block)
    }

    pub(crate) fn add(&self, amount: u64) {
        self.0.word(0).fetch_add(amount, Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.word(0).load(Relaxed)
    }
}

/// A sum of i64 amounts.
#[derive(Debug)]
pub(crate) struct I64Cell(Block);

impl I64Cell {
    pub(crate) const BYTES: usize = 8;

    pub(crate) fn new(block: Block) -> Self {
        Self(block)
    }

    pub(crate) fn add(&self, amount: i64) {
        self.0.word(0).fetch_add(amount.cast_unsigned(), Relaxed);
    }

    pub(crate) fn read(&self) -> i64 {
        self.0.word(0).load(Relaxed).cast_signed()
    }
}

/// A sum of f64 amounts.
#[derive(Debug)]
pub(crate) struct F64Cell(Block);

impl F64Cell {
    pub(crate) const BYTES: usize = 8;

    pub(crate) fn new(block: Block) -> Self {
        Self(block)
    }

    pub(crate) fn add(&self, amount: f64) {
        add_f64(self.0.word(0), amount);
    }

    pub(crate) fn read(&self) -> f64 {
        f64::from_bits(self.0.word(0).load(Relaxed))
    }
}

/// A last value.
#[derive(Debug)]
pub(crate) struct GaugeCell(Block);

impl GaugeCell {
    pub(crate) const BYTES: usize = 8;

    pub(crate) fn new(block: Block) -> Self {
        Self(block)
    }

    pub(crate) fn set(&self, value: f64) {
        self.0.word(0).store(value.to_bits(), Relaxed);
    }

    pub(crate) fn add(&self, amount: f64) {
        add_f64(self.0.word(0), amount);
    }

    pub(crate) fn read(&self) -> f64 {
        f64::from_bits(self.0.word(0).load(Relaxed))
    }
}

fn add_f64(word: &AtomicU64, amount: f64) {
    let mut bits = word.load(Relaxed);
    loop {
        let sum = (f64::from_bits(bits) + amount).to_bits();
        match word.compare_exchange_weak(bits, sum, Relaxed, Relaxed) {
            Ok(_) => return,
            Err(now) => bits = now,
        }
    }
}

/// One {sum, count} per bucket.
#[derive(Debug)]
pub(crate) struct HistogramCell {
    block: Block,
    buckets: usize,
}

impl HistogramCell {
    /// Bytes for a number of buckets, the one up to +Inf included.
    pub(crate) fn bytes(buckets: usize) -> usize {
        buckets * 16
    }

    pub(crate) fn new(block: Block, buckets: usize) -> Self {
        Self { block, buckets }
    }

    /// Number of buckets, the one up to +Inf included.
    pub(crate) fn buckets(&self) -> usize {
        self.buckets
    }

    /// Adds one observation to a bucket; an index past the last counts in the last.
    pub(crate) fn observe(&self, bucket: usize, value: f64) {
        let bucket = bucket.min(self.buckets - 1);
        if pair::add(&self.block, bucket, value) {
            return;
        }
        self.block.word(bucket * 2 + 1).fetch_add(1, Relaxed);
        add_f64(self.block.word(bucket * 2), value);
    }

    /// Sum and count of one bucket, read together.
    pub(crate) fn read(&self, bucket: usize) -> (f64, u64) {
        let bucket = bucket.min(self.buckets - 1);
        pair::read(&self.block, bucket).unwrap_or_else(|| {
            let sum = f64::from_bits(self.block.word(bucket * 2).load(Relaxed));
            (sum, self.block.word(bucket * 2 + 1).load(Relaxed))
        })
    }
}

#[cfg(target_arch = "x86_64")]
mod pair {
    use std::{
        arch::asm,
        sync::atomic::{AtomicU64, Ordering::Relaxed},
    };

    use super::super::Block;

    /// Adds {value, 1} to a pair in one step; false where the CPU cannot.
    pub(super) fn add(block: &Block, pair: usize, value: f64) -> bool {
        if !is_x86_feature_detected!("cmpxchg16b") {
            return false;
        }
        let (sum, count) = (block.word(pair * 2), block.word(pair * 2 + 1));
        let mut seen = [sum.load(Relaxed), count.load(Relaxed)];
        loop {
            let [sum_bits, count] = seen;
            let next = [(f64::from_bits(sum_bits) + value).to_bits(), count + 1];
            // SAFETY: the CPU has the instruction, and both words are of the block.
            let now = unsafe { compare_exchange(sum, seen, next) };
            if now == seen {
                return true;
            }
            seen = now;
        }
    }

    /// Reads a pair in one step; `None` where the CPU cannot.
    pub(super) fn read(block: &Block, pair: usize) -> Option<(f64, u64)> {
        if !is_x86_feature_detected!("cmpxchg16b") {
            return None;
        }
        let (sum, _count) = (block.word(pair * 2), block.word(pair * 2 + 1));
        // SAFETY: as in `add`; an exchange of zero for zero changes nothing.
        let [sum_bits, count] = unsafe { compare_exchange(sum, [0, 0], [0, 0]) };
        Some((f64::from_bits(sum_bits), count))
    }

    /// `lock cmpxchg16b`: stores `next` if the pair equals `seen`; returns what was there.
    ///
    /// By hand, because the intrinsic becomes a call into libatomic without optimisation.
    ///
    /// # Safety
    /// The CPU has cmpxchg16b; `first` is the first of two words of one block, 16-byte aligned.
    unsafe fn compare_exchange(first: &AtomicU64, seen: [u64; 2], next: [u64; 2]) -> [u64; 2] {
        let ([seen_low, seen_high], [next_low, next_high]) = (seen, next);
        let (low, high): (u64, u64);
        // SAFETY: the caller vouches for the words; rbx, which the compiler keeps for itself, is
        // restored. Test: concurrent_recording_is_exact.
        unsafe {
            asm!(
                "xchg rbx, {next_low}",
                "lock cmpxchg16b xmmword ptr [{place}]",
                "mov rbx, {next_low}",
                next_low = inout(reg) next_low => _,
                place = in(reg) first.as_ptr(),
                in("rcx") next_high,
                inout("rax") seen_low => low,
                inout("rdx") seen_high => high,
                options(nostack),
            );
        }
        [low, high]
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod pair {
    use super::super::Block;

    pub(super) fn add(_block: &Block, _pair: usize, _value: f64) -> bool {
        false
    }

    pub(super) fn read(_block: &Block, _pair: usize) -> Option<(f64, u64)> {
        None
    }
}
