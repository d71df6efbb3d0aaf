//! Restartable sequences: adding to this CPU's own cell without a locked instruction.
//!
//! A section reads the CPU's number, adds to that CPU's cell, and commits with one store, its last
//! instruction. The kernel restarts it if the thread was preempted, moved or interrupted by a
//! signal in between, so nothing is lost and nothing is added twice. Linux x86-64 with a glibc
//! that registers threads (2.35 and later); everything else uses the shared plane.
//!
//! The rules, each found by breaking a simpler version:
//! - CPU cells are written by these sections only, for ever; a `lock add` on one loses counts.
//! - One store a section, and it is the last instruction. Two double the first.
//! - The number is read and bound-checked inside the section, after `rseq_cs` was set.
//! - After 64 aborts in a row the caller uses the shared plane: a single-stepping debugger would
//!   restart the section for ever.
//! - The code must stay mapped: a stale `rseq_cs` after dlclose is a SIGSEGV (`-z nodelete`).

#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
pub(super) use linux_x86_64::{add_f64, add_pair, add_u64, detect};

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")))]
pub(super) use absent::{add_f64, add_pair, add_u64, detect};

/// log2 of the distance between two CPU planes: 256 MiB of address space each.
pub(super) const PLANE_SHIFT: u32 = 28;

/// Where this process's threads keep their registered `struct rseq`, relative to the thread pointer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rseq {
    pub(super) offset: isize,
}

#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
mod linux_x86_64 {
    use std::{arch::asm, ffi::CStr};

    use super::{PLANE_SHIFT, Rseq};

    /// Finds glibc's registration, through symbols that an older glibc may lack.
    ///
    /// `None`: not registered (old glibc, tunable off, seccomp, valgrind).
    pub(in super::super) fn detect() -> Option<Rseq> {
        let size = symbol::<u32>(c"__rseq_size")?;
        let offset = symbol::<isize>(c"__rseq_offset")?;
        // 16 bytes hold cpu_id_start, cpu_id and rseq_cs.
        if size < 16 || cpu_id(offset).cast_signed() < 0 {
            return None;
        }
        Some(Rseq { offset })
    }

    fn symbol<T: Copy>(name: &CStr) -> Option<T> {
        // SAFETY: looking a name up in the running program changes nothing.
        let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        if address.is_null() {
            return None;
        }
        // SAFETY: glibc documents both as constants of these types, written before main.
        // Test: rseq_is_detected_where_glibc_registers.
        Some(unsafe { address.cast::<T>().read() })
    }

    fn cpu_id(offset: isize) -> u32 {
        let cpu: u32;
        // SAFETY: glibc's offset leads to this thread's registered struct, which lives as long as
        // the thread; cpu_id is its second word.
        unsafe {
            asm!("mov {cpu:e}, fs:[{offset} + 4]", offset = in(reg) offset, cpu = out(reg) cpu,
                options(nostack, preserves_flags, readonly));
        }
        cpu
    }

    /// One section. `body` computes on `[{cell} + {at}]`, this CPU's cell; its last instruction is
    /// the one store. Evaluates to whether it committed.
    macro_rules! section {
        ([$($body:literal),+], $rseq:expr, $cpus:expr, $cell:expr, $($operands:tt)*) => {{
            let aborts: u32;
            asm!(
                // The descriptor: version and flags, start, length, abort address.
                ".pushsection __rseq_cs, \"aw\"",
                ".balign 32",
                "77:",
                ".long 0, 0",
                ".quad 71f, 72f - 71f, 74f",
                ".popsection",
                "xor {aborts:e}, {aborts:e}",
                "70:",
                "lea {at}, [rip + 77b]",
                "mov fs:[{offset} + 8], {at}",
                "71:",
                "mov {at:e}, fs:[{offset} + 4]",
                "cmp {at:e}, {cpus:e}",
                "jae 75f",
                "shl {at}, {shift}",
                $($body,)+
                "72:",
                // Out of line: the kernel requires the signature before the abort address.
                ".pushsection __rseq_failure, \"ax\"",
                ".byte 0x0f, 0xb9, 0x3d",
                ".long 0x53053053",
                "74:",
                "inc {aborts:e}",
                "cmp {aborts:e}, 64",
                "jb 70b",
                "75:",
                "mov {aborts:e}, -1",
                "jmp 76f",
                ".popsection",
                "76:",
                aborts = out(reg) aborts,
                at = out(reg) _,
                offset = in(reg) $rseq.offset,
                cpus = in(reg) $cpus,
                cell = in(reg) $cell,
                shift = const PLANE_SHIFT,
                $($operands)*
                options(nostack),
            );
            aborts.cast_signed() >= 0
        }};
    }

    /// Adds to this CPU's u64; false: not added, use the shared plane.
    ///
    /// # Safety
    /// `cell` is the cell in CPU 0's plane of a mapping with `cpus` planes, and lives.
    #[inline(always)]
    pub(in super::super) unsafe fn add_u64(
        rseq: Rseq,
        cpus: u32,
        cell: *const u8,
        amount: u64,
    ) -> bool {
        // SAFETY: the caller vouches for the cells; the store stays inside the plane of a CPU
        // below `cpus`. Test: storms_of_preemption_lose_nothing.
        unsafe {
            section!(["add qword ptr [{cell} + {at}], {amount}"], rseq, cpus, cell,
                amount = in(reg) amount,)
        }
    }

    /// Adds to this CPU's f64; false: not added, use the shared plane.
    ///
    /// # Safety
    /// As [`add_u64`].
    #[inline(always)]
    pub(in super::super) unsafe fn add_f64(
        rseq: Rseq,
        cpus: u32,
        cell: *const u8,
        amount: f64,
    ) -> bool {
        // SAFETY: as in `add_u64`.
        unsafe {
            section!(
                [
                    "movsd {sum}, qword ptr [{cell} + {at}]",
                    "addsd {sum}, {amount}",
                    "movsd qword ptr [{cell} + {at}], {sum}"
                ],
                rseq, cpus, cell,
                amount = in(xmm_reg) amount,
                sum = out(xmm_reg) _,
            )
        }
    }

    /// A count of one beside a sum of zero, for `paddq`.
    #[repr(align(16))]
    struct One([u64; 2]);
    static ONE: One = One([0, 1]);

    /// Adds {value, 1} to this CPU's {f64 sum, u64 count}; false: not added.
    ///
    /// # Safety
    /// As [`add_u64`], and `cell` is aligned to 16.
    #[inline(always)]
    pub(in super::super) unsafe fn add_pair(
        rseq: Rseq,
        cpus: u32,
        cell: *const u8,
        value: f64,
    ) -> bool {
        let one = ONE.0.as_ptr();
        // SAFETY: as in `add_u64`; ONE is aligned to 16.
        unsafe {
            section!(
                [
                    "movaps {pair}, xmmword ptr [{cell} + {at}]",
                    "paddq {pair}, xmmword ptr [{one}]",
                    "addsd {pair}, {value}",
                    "movaps xmmword ptr [{cell} + {at}], {pair}"
                ],
                rseq, cpus, cell,
                value = in(xmm_reg) value,
                one = in(reg) one,
                pair = out(xmm_reg) _,
            )
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn rseq_is_detected_where_glibc_registers() {
            // glibc 2.35 and later, unless a tunable or a tool turned it off.
            let registered = symbol::<u32>(c"__rseq_size").is_some_and(|size| size >= 16);
            assert_eq!(detect().is_some(), registered);
        }
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")))]
mod absent {
    use super::Rseq;

    pub(in super::super) fn detect() -> Option<Rseq> {
        None
    }

    /// # Safety
    /// None is needed: it never writes.
    pub(in super::super) unsafe fn add_u64(_: Rseq, _: u32, _: *const u8, _: u64) -> bool {
        false
    }

    /// # Safety
    /// None is needed: it never writes.
    pub(in super::super) unsafe fn add_f64(_: Rseq, _: u32, _: *const u8, _: f64) -> bool {
        false
    }

    /// # Safety
    /// None is needed: it never writes.
    pub(in super::super) unsafe fn add_pair(_: Rseq, _: u32, _: *const u8, _: f64) -> bool {
        false
    }
}
