//! The shared plane: adds by locked instructions, and reads of 16 bytes at once.
//!
//! A pair {f64 sum, u64 count} is replaced in one step (cmpxchg16b). A CPU without that
//! instruction writes two words, and the sum may then trail the count by what is in flight.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Adds to the f64 in a word.
pub(super) fn add_f64(word: &AtomicU64, amount: f64) {
    let mut bits = word.load(Relaxed);
    loop {
        let sum = (f64::from_bits(bits) + amount).to_bits();
        match word.compare_exchange_weak(bits, sum, Relaxed, Relaxed) {
            Ok(_) => return,
            Err(now) => bits = now,
        }
    }
}

/// Adds {value, 1} to a pair: two neighbouring words, the first aligned to 16.
pub(super) fn add_pair(sum: &AtomicU64, count: &AtomicU64, value: f64) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("cmpxchg16b") {
        let mut seen = [sum.load(Relaxed), count.load(Relaxed)];
        loop {
            let [sum_bits, counted] = seen;
            let next = [(f64::from_bits(sum_bits) + value).to_bits(), counted + 1];
            // SAFETY: the CPU has the instruction; the words are neighbours, aligned to 16.
            let now = unsafe { x86_64::compare_exchange(sum, seen, next) };
            if now == seen {
                return;
            }
            seen = now;
        }
    }
    count.fetch_add(1, Relaxed);
    add_f64(sum, value);
}

/// Reads a pair: both words at once where the CPU has AVX, whose aligned 16-byte loads are atomic.
pub(super) fn read_pair(sum: &AtomicU64, count: &AtomicU64) -> (f64, u64) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx") {
        // SAFETY: the words are neighbours, aligned to 16.
        let [sum_bits, count] = unsafe { x86_64::load(sum) };
        return (f64::from_bits(sum_bits), count);
    }
    (f64::from_bits(sum.load(Relaxed)), count.load(Relaxed))
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::{arch::asm, sync::atomic::AtomicU64};

    /// `lock cmpxchg16b`: stores `next` if the pair equals `seen`; returns what was there.
    ///
    /// By hand, because the intrinsic becomes a call into libatomic without optimisation.
    ///
    /// # Safety
    /// The CPU has cmpxchg16b; `first` is the first of two neighbouring words, aligned to 16.
    pub(super) unsafe fn compare_exchange(
        first: &AtomicU64,
        seen: [u64; 2],
        next: [u64; 2],
    ) -> [u64; 2] {
        let ([seen_low, seen_high], [next_low, next_high]) = (seen, next);
        let (low, high): (u64, u64);
        // SAFETY: the caller vouches for the words; rbx, which the compiler keeps for itself, is
        // restored. Test: storms_of_preemption_lose_nothing, also optimised a little.
        unsafe {
            asm!(
                "xchg rbx, rsi",
                "lock cmpxchg16b xmmword ptr [rdi]",
                "mov rbx, rsi",
                // Named, because the compiler may choose rbx for a register that it is free to.
                inout("rsi") next_low => _,
                in("rdi") first.as_ptr(),
                in("rcx") next_high,
                inout("rax") seen_low => low,
                inout("rdx") seen_high => high,
                options(nostack),
            );
        }
        [low, high]
    }

    /// Loads two words with one instruction.
    ///
    /// # Safety
    /// `first` is the first of two neighbouring words, aligned to 16. The load is atomic on a CPU
    /// with AVX.
    pub(super) unsafe fn load(first: &AtomicU64) -> [u64; 2] {
        let (low, high): (u64, u64);
        // SAFETY: the caller vouches for the words; nothing is written.
        // Test: concurrent_recording_is_exact.
        unsafe {
            asm!(
                "movaps {pair}, xmmword ptr [{place}]",
                "movq {low}, {pair}",
                "movhlps {pair}, {pair}",
                "movq {high}, {pair}",
                place = in(reg) first.as_ptr(),
                pair = out(xmm_reg) _,
                low = out(reg) low,
                high = out(reg) high,
                options(nostack, preserves_flags, readonly),
            );
        }
        [low, high]
    }
}
