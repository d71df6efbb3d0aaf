//! libtallyport.so, opened as a host opens it: what its header declares, called through pointers.

use std::{
    ffi::{CString, c_char, c_void},
    hint::black_box,
    path::Path,
    ptr,
};

use libloading::Library;

type Handle = *mut c_void;
type Open = unsafe extern "C" fn(*const c_char, *mut Handle, *mut Handle) -> i32;
type CounterGet = unsafe extern "C" fn(
    Handle,
    *const c_char,
    *const *const c_char,
    *mut Handle,
    *mut Handle,
) -> i32;
type HistogramGet = unsafe extern "C" fn(
    Handle,
    *const c_char,
    *const f64,
    usize,
    *const *const c_char,
    *mut Handle,
    *mut Handle,
) -> i32;

/// The library with one engine.
#[derive(Debug)]
pub struct TallyportSo {
    library: &'static Library,
    engine: Handle,
}

/// A counter's handle and the function that adds to it.
#[derive(Debug, Clone, Copy)]
pub struct CounterC {
    handle: Handle,
    add: unsafe extern "C" fn(Handle, u64),
}

/// A histogram's handle and the function that observes.
#[derive(Debug, Clone, Copy)]
pub struct HistogramC {
    handle: Handle,
    observe: unsafe extern "C" fn(Handle, f64),
}

// SAFETY: the header says: every call from any thread.
unsafe impl Send for TallyportSo {}
// SAFETY: as above.
unsafe impl Sync for TallyportSo {}
// SAFETY: as above.
unsafe impl Send for CounterC {}
// SAFETY: as above.
unsafe impl Sync for CounterC {}
// SAFETY: as above.
unsafe impl Send for HistogramC {}
// SAFETY: as above.
unsafe impl Sync for HistogramC {}

impl TallyportSo {
    /// Opens the library and an engine without a configuration.
    ///
    /// # Errors
    /// What the loader or the library says.
    pub fn open(path: &Path) -> Result<Self, String> {
        // SAFETY: our own library; it is never closed.
        let library = unsafe { Library::new(path) };
        let library: &'static Library =
            Box::leak(Box::new(library.map_err(|e| format!("{}: {e}", path.display()))?));
        let mut so = Self { library, engine: ptr::null_mut() };
        let open: Open = so.symbol(b"tallyport_engine_open_z\0")?;
        // SAFETY: NULL is "no configuration"; `err` may be NULL.
        let status = unsafe { open(ptr::null(), &raw mut so.engine, ptr::null_mut()) };
        done(status, "tallyport_engine_open_z").map(|()| so)
    }

    /// A counter without labels.
    ///
    /// # Errors
    /// The call's status.
    pub fn counter(&self, name: &str) -> Result<CounterC, String> {
        let get: CounterGet = self.symbol(b"tallyport_counter_get_z\0")?;
        let name = CString::new(name).map_err(|e| e.to_string())?;
        let mut handle = ptr::null_mut();
        let labels: [*const c_char; 1] = [ptr::null()];
        // SAFETY: both texts end with NUL, the list with NULL; `err` may be NULL.
        let status = unsafe {
            get(self.engine, name.as_ptr(), labels.as_ptr(), &raw mut handle, ptr::null_mut())
        };
        done(status, "tallyport_counter_get_z")?;
        Ok(CounterC { handle, add: self.symbol(b"tallyport_counter_add\0")? })
    }

    /// A histogram without labels.
    ///
    /// # Errors
    /// The call's status.
    pub fn histogram(&self, name: &str, bounds: &[f64]) -> Result<HistogramC, String> {
        let get: HistogramGet = self.symbol(b"tallyport_histogram_get_z\0")?;
        let name = CString::new(name).map_err(|e| e.to_string())?;
        let mut handle = ptr::null_mut();
        let labels: [*const c_char; 1] = [ptr::null()];
        // SAFETY: as in `counter`; the bounds are as many as it says.
        let status = unsafe {
            get(
                self.engine,
                name.as_ptr(),
                bounds.as_ptr(),
                bounds.len(),
                labels.as_ptr(),
                &raw mut handle,
                ptr::null_mut(),
            )
        };
        done(status, "tallyport_histogram_get_z")?;
        Ok(HistogramC { handle, observe: self.symbol(b"tallyport_histogram_observe\0")? })
    }

    fn symbol<T: Copy>(&self, name: &[u8]) -> Result<T, String> {
        // SAFETY: the types above are those of include/tallyport.h.
        let symbol = unsafe { self.library.get::<T>(name) };
        symbol.map(|symbol| *symbol).map_err(|e| e.to_string())
    }
}

impl CounterC {
    /// Adds one, `times` times, a call each.
    pub fn add_many(&self, times: u64) {
        for _ in 0..times {
            let this = black_box(self);
            // SAFETY: a live handle of the library that the function is of.
            unsafe { (this.add)(this.handle, 1) };
        }
    }
}

impl HistogramC {
    /// Observes one value.
    #[inline]
    pub fn observe(&self, value: f64) {
        let this = black_box(self);
        // SAFETY: as in `CounterC::add_many`.
        unsafe { (this.observe)(this.handle, value) };
    }
}

fn done(status: i32, what: &str) -> Result<(), String> {
    if status == 0 { Ok(()) } else { Err(format!("{what}: status {status}")) }
}
