//! The limit: the least that an add to a per-CPU cell can be.
//!
//! A bare restartable section without the checks that a library needs (CPU bound, number of
//! aborts), on cells that nobody else reads. Linux x86-64 with glibc 2.35 or later.

use std::{arch::asm, ffi::CStr, hint::black_box, ptr::NonNull};

/// Bytes between the cells of two CPUs.
const STRIDE_SHIFT: u32 = 15;
const MAX_CPUS: usize = 1024;
/// Cells of a CPU.
const CELLS: usize = (1 << STRIDE_SHIFT) / 8;

/// Where the thread's registered `struct rseq` lies, and a plane of cells per CPU.
#[derive(Debug)]
pub struct Bare {
    offset: isize,
    cells: NonNull<u8>,
}

// SAFETY: each section writes its own CPU's plane only.
unsafe impl Send for Bare {}
// SAFETY: as above.
unsafe impl Sync for Bare {}

#[repr(align(16))]
struct One([u64; 2]);
static ONE: One = One([0, 1]);

impl Bare {
    /// `None` where glibc registered nothing.
    #[must_use]
    pub fn detect() -> Option<Self> {
        let size: u32 = symbol(c"__rseq_size")?;
        let offset: isize = symbol(c"__rseq_offset")?;
        if size < 16 {
            return None;
        }
        let cells = vec![0_u128; (MAX_CPUS << STRIDE_SHIFT) / 16].leak();
        Some(Self { offset, cells: NonNull::new(cells.as_mut_ptr().cast())? })
    }

    /// Adds one to the calling CPU's cell, `times` times.
    pub fn add_many(&self, times: u64) {
        for _ in 0..times {
            black_box(self).add_at(0);
        }
    }

    /// The same through a function that the compiler cannot inline, as a library's is.
    pub fn call_many(&self, times: u64) {
        extern "C" fn add(bare: &Bare, _amount: u64) {
            bare.add_at(0);
        }
        let add: extern "C" fn(&Bare, u64) = add;
        for _ in 0..times {
            black_box(add)(black_box(self), 1);
        }
    }

    /// Adds one to the calling CPU's cell at `index`.
    #[inline(always)]
    pub fn add_at(&self, index: usize) {
        let cell = self.cells.as_ptr().wrapping_add((index % CELLS) * 8);
        // SAFETY: the section's only store goes into the plane of the CPU that runs it.
        unsafe {
            asm!(
                ".pushsection __rseq_cs, \"aw\"",
                ".balign 32",
                "77:",
                ".long 0, 0",
                ".quad 71f, 72f - 71f, 74f",
                ".popsection",
                "70:",
                "lea {at}, [rip + 77b]",
                "mov fs:[{offset} + 8], {at}",
                "71:",
                "mov {at:e}, fs:[{offset} + 4]",
                "shl {at}, {shift}",
                "add qword ptr [{cell} + {at}], 1",
                "72:",
                ".pushsection __rseq_failure, \"ax\"",
                ".byte 0x0f, 0xb9, 0x3d",
                ".long 0x53053053",
                "74:",
                "jmp 70b",
                ".popsection",
                offset = in(reg) self.offset,
                cell = in(reg) cell,
                at = out(reg) _,
                shift = const STRIDE_SHIFT,
                options(nostack),
            );
        }
    }

    /// Adds {value, 1} to the calling CPU's pair at `bucket`: one 16-byte store.
    #[inline(always)]
    pub fn add_pair(&self, bucket: usize, value: f64) {
        let cell = self.cells.as_ptr().wrapping_add((bucket & 0xff) * 16);
        // SAFETY: as above; 256 pairs fit.
        unsafe {
            asm!(
                ".pushsection __rseq_cs, \"aw\"",
                ".balign 32",
                "77:",
                ".long 0, 0",
                ".quad 71f, 72f - 71f, 74f",
                ".popsection",
                "70:",
                "lea {at}, [rip + 77b]",
                "mov fs:[{offset} + 8], {at}",
                "71:",
                "mov {at:e}, fs:[{offset} + 4]",
                "shl {at}, {shift}",
                "movaps {pair}, xmmword ptr [{cell} + {at}]",
                "paddq {pair}, xmmword ptr [{one}]",
                "addsd {pair}, {value}",
                "movaps xmmword ptr [{cell} + {at}], {pair}",
                "72:",
                ".pushsection __rseq_failure, \"ax\"",
                ".byte 0x0f, 0xb9, 0x3d",
                ".long 0x53053053",
                "74:",
                "jmp 70b",
                ".popsection",
                offset = in(reg) self.offset,
                cell = in(reg) cell,
                at = out(reg) _,
                one = in(reg) ONE.0.as_ptr(),
                value = in(xmm_reg) value,
                pair = out(xmm_reg) _,
                shift = const STRIDE_SHIFT,
                options(nostack),
            );
        }
    }
}

fn symbol<T: Copy>(name: &CStr) -> Option<T> {
    // SAFETY: looking a name up changes nothing.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    // SAFETY: glibc documents both names as constants of these types.
    NonNull::new(address.cast::<T>()).map(|address| unsafe { address.read() })
}
