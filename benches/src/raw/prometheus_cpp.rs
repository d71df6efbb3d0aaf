//! prometheus-cpp through `cpp/prometheus_cpp.cc`: its loops are compiled C++, as its users' are.

use std::{ffi::c_void, path::Path, slice};

use libloading::Library;

type Loop = unsafe extern "C" fn(*mut c_void, u64);
type Lookup = unsafe extern "C" fn(*mut c_void, *const Texts, usize, *const u32, usize, u64);
type Observe = unsafe extern "C" fn(*mut c_void, *const f64, usize, u64);

/// Three label values, as the shim takes them.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Texts {
    ptr: [*const u8; 3],
    len: [usize; 3],
}

impl Texts {
    /// Borrows `values`, which must outlive every use.
    #[must_use]
    pub fn new(values: [&'static str; 3]) -> Self {
        Self { ptr: values.map(str::as_ptr), len: values.map(str::len) }
    }
}

// SAFETY: points to text that lives for ever and is never written.
unsafe impl Send for Texts {}
// SAFETY: as above.
unsafe impl Sync for Texts {}

/// The shim with one counter, one histogram and one family of counters.
#[derive(Debug)]
pub struct PrometheusCpp {
    state: *mut c_void,
    counter: Loop,
    histogram: Observe,
    lookup: Lookup,
    encode: unsafe extern "C" fn(*mut c_void, *mut *const u8) -> usize,
}

// SAFETY: prometheus-cpp says that its metrics may be used by every thread; `encode` is called by
// one thread at a time.
unsafe impl Send for PrometheusCpp {}
// SAFETY: as above.
unsafe impl Sync for PrometheusCpp {}

impl PrometheusCpp {
    /// Opens the compiled shim.
    ///
    /// # Errors
    /// What the loader says.
    pub fn open(path: &Path) -> Result<Self, String> {
        // SAFETY: our own shim; it is never closed.
        let library = unsafe { Library::new(path) };
        let library = Box::leak(Box::new(library.map_err(|e| e.to_string())?));
        /// # Safety
        /// `T` is the symbol's type in `cpp/prometheus_cpp.cc`.
        unsafe fn symbol<T: Copy>(library: &Library, name: &[u8]) -> Result<T, String> {
            // SAFETY: the caller vouches for the type.
            unsafe { library.get::<T>(name) }.map(|symbol| *symbol).map_err(|e| e.to_string())
        }
        // SAFETY: the types are those of the shim; it has no preconditions.
        unsafe {
            let new: unsafe extern "C" fn() -> *mut c_void = symbol(library, b"pcpp_new\0")?;
            Ok(Self {
                state: new(),
                counter: symbol(library, b"pcpp_counter_loop\0")?,
                histogram: symbol(library, b"pcpp_histogram_loop\0")?,
                lookup: symbol(library, b"pcpp_lookup_loop\0")?,
                encode: symbol(library, b"pcpp_encode\0")?,
            })
        }
    }

    /// Adds one to the counter, `times` times.
    pub fn add_many(&self, times: u64) {
        // SAFETY: the shim's own state.
        unsafe { (self.counter)(self.state, times) };
    }

    /// Observes `values` in turn, `times` in all; their number is a power of two.
    pub fn observe_many(&self, values: &[f64], times: u64) {
        // SAFETY: as above; the values are as many as it says.
        unsafe { (self.histogram)(self.state, values.as_ptr(), values.len(), times) };
    }

    /// Finds or makes the series of `sets` in the order of `order` and adds one, `times` times.
    pub fn lookup_many(&self, sets: &[Texts], order: &[u32], times: u64) {
        let (sets, order) = ((sets.as_ptr(), sets.len()), (order.as_ptr(), order.len()));
        // SAFETY: as above; the shim keeps every index below the number of sets.
        unsafe { (self.lookup)(self.state, sets.0, sets.1, order.0, order.1, times) };
    }

    /// The text format of the family, until the next call.
    pub fn encode(&self) -> &[u8] {
        let mut text = std::ptr::null();
        // SAFETY: the shim answers its own buffer, which the next call overwrites.
        unsafe {
            let len = (self.encode)(self.state, &raw mut text);
            slice::from_raw_parts(text, len)
        }
    }
}
