//! The shape of every C entry: nothing unwinds out, arguments are checked, a status comes back.
//!
//! - [`fallible!`]: fallible calls. The body gets a [`Call`] to read its arguments through, and returns
//!   a `Result`; the error becomes a status and, if the caller wants it, a `tallyport_error`. A
//!   panic is PANIC, and poisons the engine that the call was on: its cold calls answer POISONED
//!   from then on, while recording goes on.
//! - [`record!`]: calls through a recording handle. No lock, no allocation, no thread-local.
//! - [`plain!`]: what cannot fail otherwise: frees and questions.
//!
//! tests/boundary.rs proves that every `extern "C"` function of this crate is one of the three.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    ptr::{self, NonNull},
    sync::{Arc, Once},
};

use serde_json::Value;
use tallyport_core::model::{Error, ErrorKind, gate::Inside};
use tallyport_plugin_api::abi::{TALLYPORT_OK, TALLYPORT_PANIC, tallyport_error, tallyport_status};

use crate::{
    buf::tallyport_buf,
    collector::tallyport_collector_options,
    engine::EngineState,
    error::ErrorState,
    handles::{self, Object},
    log,
    log_ring::tallyport_log_ring_options,
    options::{
        tallyport_engine_options, tallyport_family_options, tallyport_listener_options,
        tallyport_plugin_options,
    },
    store::tallyport_store,
};

/// A fallible entry: `fallible!(err, |call| { …; Ok(()) })`.
macro_rules! fallible {
    ($err:expr, |$call:ident| $body:expr) => {{
        // SAFETY: this is the body of a C entry, whose contract makes the caller vouch for its
        // pointers, as `Call` says. Tests: tests/c_hosts.rs, its hosts under valgrind too.
        let call = unsafe { $crate::boundary::Call::new() };
        $crate::boundary::run(call, $err, |$call| $body)
    }};
}

/// Recording in a section inside another, a thread's first one, or with a wrong handle.
#[cold]
#[inline(never)]
pub(crate) fn record_with_care<T, R: Copy>(
    otherwise: R,
    handle: *const T,
    body: impl FnOnce(&Object) -> Option<R>,
) -> R {
    contained(otherwise, || {
        handles::with(handle, body).unwrap_or_else(|| {
            handles::count_misuse();
            otherwise
        })
    })
}

/// An entry through a recording handle: `record!(otherwise, handle, Counter(counter) => …)`.
macro_rules! record {
    ($otherwise:expr, $handle:expr, $kind:ident($object:ident) => $body:expr) => {{
        // `move`, because a captured reference would send the amount through memory.
        let body = move |object: &$crate::handles::Object| match object {
            $crate::handles::Object::$kind($object) => Some($body),
            _ => None,
        };
        let alone = || $crate::handles::with_alone($handle, body);
        match $crate::boundary::contained(None, alone) {
            Some(done) => done,
            // The last call of the function, so that the frequent way has no stack frame.
            None => $crate::boundary::record_with_care($otherwise, $handle, body),
        }
    }};
}

/// An entry that cannot fail: `plain!(otherwise, …)`, or with a call as in `fallible!`.
macro_rules! plain {
    ($otherwise:expr, |$call:ident| $body:expr) => {
        $crate::boundary::contained($otherwise, || {
            // SAFETY: as in `fallible!`.
            let call = unsafe { $crate::boundary::Call::new() };
            let $call = &call;
            $body
        })
    };
    ($otherwise:expr, $body:expr) => {
        $crate::boundary::contained($otherwise, || $body)
    };
}

pub(crate) use {fallible, plain, record};

/// A C call that is running; what is read through it lives until the call returns.
///
/// Its methods take the call's own pointers. Each is NULL, or what the header says of it: readable
/// text of the given length, an array of the given count, a place to write one value to. NULL and
/// misaligned ones are refused here; the rest only the caller can know, so the caller vouches for
/// it, to whoever makes a `Call`.
pub(crate) struct Call {
    /// The engines that the call is on.
    engines: RefCell<Vec<Arc<EngineState>>>,
}

/// Where one output goes.
pub(crate) struct Out<'a, T> {
    place: NonNull<T>,
    call: PhantomData<&'a Call>,
}

/// An option struct of the header.
///
/// # Safety
/// `repr(C)`, begins with `u32 size, u32 flags`, and zero bytes are a value of it.
pub(crate) unsafe trait Options: Copy {}
// SAFETY: repr(C); integers, pointers, Option<fn>: asserted by `options::layouts`.
unsafe impl Options for tallyport_engine_options {}
// SAFETY: as above.
unsafe impl Options for tallyport_family_options {}
// SAFETY: as above.
unsafe impl Options for tallyport_plugin_options {}
// SAFETY: as above.
unsafe impl Options for tallyport_listener_options {}
// SAFETY: as above; asserted in its own file.
unsafe impl Options for tallyport_collector_options {}
// SAFETY: as above; asserted in its own file.
unsafe impl Options for tallyport_log_ring_options {}
// SAFETY: as above, asserted in `store`.
unsafe impl Options for tallyport_store {}

/// Larger option structs than this are a wrong `size`.
const MAX_OPTIONS_BYTES: usize = 4096;

impl Call {
    /// # Safety
    /// In the body of a C entry, given to methods with that entry's own arguments only.
    pub(crate) unsafe fn new() -> Self {
        Self { engines: RefCell::default() }
    }

    /// Notes that the call is on an engine, for the case that it panics.
    pub(crate) fn is_on(&self, engine: &Arc<EngineState>) {
        self.engines.borrow_mut().push(Arc::clone(engine));
    }

    /// An output; it is `none` until it is set.
    pub(crate) fn out<T: Copy>(
        &self,
        field: &str,
        place: *mut T,
        none: T,
    ) -> Result<Out<'_, T>, Error> {
        let place = self.pointer(field, place.cast_const())?.cast_mut();
        // SAFETY: not NULL, aligned, and the caller vouches for a place of that type.
        unsafe { place.write(none) };
        let place = NonNull::new(place).ok_or_else(|| null(field))?;
        Ok(Out { place, call: PhantomData })
    }

    /// An output that is a handle of what `make` returns.
    pub(crate) fn give<T>(
        &self,
        field: &str,
        place: *mut *mut T,
        make: impl FnOnce() -> Result<Object, Error>,
    ) -> Result<(), Error> {
        let out = self.out(field, place, ptr::null_mut())?;
        out.set(handles::give(field, make()?)?);
        Ok(())
    }

    /// An output buffer with the bytes that `make` returns.
    pub(crate) fn fill(
        &self,
        buf: *mut tallyport_buf,
        make: impl FnOnce() -> Result<Vec<u8>, Error>,
    ) -> Result<(), Error> {
        let out = self.out("buf", buf, tallyport_buf::EMPTY)?;
        out.set(tallyport_buf::from_vec(make()?));
        Ok(())
    }

    /// An output buffer with the JSON of what `make` returns.
    pub(crate) fn fill_json(
        &self,
        buf: *mut tallyport_buf,
        make: impl FnOnce() -> Result<Value, Error>,
    ) -> Result<(), Error> {
        self.fill(buf, || make().map(|value| value.to_string().into_bytes()))
    }

    /// A copy of an option struct, as large as the caller's; what it leaves out is zero.
    pub(crate) fn options<T: Options>(&self, field: &str, from: *const T) -> Result<T, Error> {
        let from = self.pointer(field, from)?;
        let own = size_of::<T>();
        // SAFETY: every option struct begins with its size (Options).
        let size = unsafe { from.cast::<u32>().read() } as usize;
        if !(8..=MAX_OPTIONS_BYTES).contains(&size) {
            let message = format!("`{field}.size` is {size}; it must be the sizeof of the struct");
            return Err(Error::invalid(&format!("{field}.size"), message));
        }
        let mut copy = std::mem::MaybeUninit::<T>::zeroed();
        // SAFETY: `size` bytes are readable by the struct's own word, and `T` has room for as many
        // as are copied.
        unsafe {
            ptr::copy_nonoverlapping(from.cast::<u8>(), copy.as_mut_ptr().cast(), size.min(own));
        }
        for offset in own..size {
            // SAFETY: inside the `size` bytes of the caller's struct.
            if unsafe { from.cast::<u8>().wrapping_add(offset).read() } != 0 {
                let message = format!("`{field}` sets a field that this library does not know");
                return Err(Error::new(ErrorKind::Unsupported, message).with_field(field));
            }
        }
        // SAFETY: zeroed, then overwritten with a value of the caller's; both are valid (Options).
        let copy = unsafe { copy.assume_init() };
        // SAFETY: `flags` is the second word of every option struct (Options).
        let flags = unsafe { (&raw const copy).cast::<u32>().wrapping_add(1).read() };
        if flags != 0 {
            let message = format!("`{field}.flags` is {flags}; no flag is defined");
            return Err(Error::invalid(&format!("{field}.flags"), message));
        }
        Ok(copy)
    }

    /// A pointer that must be there.
    pub(crate) fn pointer<T>(&self, field: &str, pointer: *const T) -> Result<*const T, Error> {
        if pointer.is_null() {
            return Err(null(field));
        }
        if !pointer.is_aligned() {
            return Err(Error::invalid(field, format!("`{field}` is a misaligned pointer")));
        }
        Ok(pointer)
    }

    fn poison(&self) {
        self.engines.borrow().iter().for_each(|engine| engine.poison());
    }

    /// Hands an error to the caller, if it wants one.
    fn report(&self, place: *mut *mut tallyport_error, error: Error) {
        if !place.is_null() && place.is_aligned() {
            let handle = handles::insert(Object::Error(Box::new(ErrorState::new(error))));
            // SAFETY: not NULL, aligned, and the caller vouches for a place of that type.
            unsafe { place.write(handle.unwrap_or(ptr::null_mut())) };
        }
    }
}

impl<T> Out<'_, T> {
    /// Writes the output.
    pub(crate) fn set(self, value: T) {
        // SAFETY: `Call::out` checked the place and wrote to it in this very call.
        unsafe { self.place.write(value) };
    }
}

/// A required pointer is NULL.
pub(crate) fn null(field: &str) -> Error {
    Error::new(ErrorKind::NullArgument, format!("`{field}` is NULL")).with_field(field)
}

/// Runs a fallible entry.
pub(crate) fn run(
    call: Call,
    error: *mut *mut tallyport_error,
    body: impl FnOnce(&Call) -> Result<(), Error>,
) -> tallyport_status {
    contained(TALLYPORT_PANIC, || {
        let held = log::hold();
        let done = watched(|| body(&call)).unwrap_or_else(|panic| {
            call.poison();
            Err(panic)
        });
        // The host's log function runs here, when no lock of the engine is held.
        drop(held);
        match done {
            Ok(()) => TALLYPORT_OK,
            Err(why) => {
                let status = why.kind().status();
                call.report(error, why);
                status
            }
        }
    })
}

/// Runs an entry; `otherwise` if it panics.
#[inline]
pub(crate) fn contained<R>(otherwise: R, body: impl FnOnce() -> R) -> R {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(done) => done,
        Err(payload) => {
            // Dropping a foreign payload may panic again.
            std::mem::forget(payload);
            otherwise
        }
    }
}

thread_local! {
    /// Watched calls that run on this thread.
    static WATCHED: Cell<usize> = const { Cell::new(0) };
    /// Where the last panic of a watched call was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Sees to it that the panics of watched calls are not printed; those of a Rust host still are.
fn hook() {
    static HOOK: Once = Once::new();
    if HOOK.is_completed() || std::thread::panicking() {
        return; // a host that unwinds: the hook cannot be set now
    }
    // What std locks for it is not left locked in a forked child.
    let _inside = Inside::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if WATCHED.try_with(Cell::get).unwrap_or(0) == 0 {
                return before(panic);
            }
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            // Without a place the error says less.
            let _ = PLACE.try_with(|last| last.try_borrow_mut().map(|mut last| *last = place));
        }));
    });
}

/// Runs `body`; its panic becomes an error that says what and where, and is not printed.
fn watched<R>(body: impl FnOnce() -> R) -> Result<R, Error> {
    hook();
    WATCHED.with(|depth| depth.set(depth.get() + 1));
    let done = catch_unwind(AssertUnwindSafe(body));
    WATCHED.with(|depth| depth.set(depth.get() - 1));
    done.map_err(panicked)
}

fn panicked(payload: Box<dyn Any + Send>) -> Error {
    let place = PLACE.with(|place| std::mem::take(&mut *place.borrow_mut()));
    let what = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "a panic without a text".to_owned(),
    };
    std::mem::forget(payload);
    let message = format!("a bug in Tallyport, please report it: {what} (at {place})");
    Error::new(ErrorKind::Panic, message)
}

#[cfg(test)]
mod tests {
    use tallyport_plugin_api::abi::{TALLYPORT_POISONED, tallyport_str};

    use super::*;
    use crate::{
        counter::{
            tallyport_counter_add, tallyport_counter_free, tallyport_counter_get_z,
            tallyport_counter_value,
        },
        engine::{
            tallyport_engine, tallyport_engine_close, tallyport_engine_open_z,
            tallyport_engine_status,
        },
        error::{tallyport_error_free, tallyport_error_message},
    };

    fn text_of(text: tallyport_str) -> String {
        // SAFETY: text of the library, alive until its error is freed.
        let bytes = unsafe { std::slice::from_raw_parts(text.ptr.cast::<u8>(), text.len) };
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn a_panic_poisons_cold_calls_and_recording_goes_on() {
        let (mut engine, mut counter) = (ptr::null_mut(), ptr::null_mut());
        let mut error = ptr::null_mut();
        let none = ptr::null_mut();
        // SAFETY: pointers to our own variables, and C strings.
        let opened = unsafe { tallyport_engine_open_z(ptr::null(), &raw mut engine, none) };
        assert_eq!(opened, TALLYPORT_OK);
        // SAFETY: as above.
        let got = unsafe {
            tallyport_counter_get_z(engine, c"a".as_ptr(), ptr::null(), &raw mut counter, none)
        };
        assert_eq!(got, TALLYPORT_OK);

        let buggy = |engine: *mut tallyport_engine, error: *mut *mut tallyport_error| {
            fallible!(error, |call| {
                let _entered = call.engine(engine)?;
                panic!("planted in {}", "the engine")
            })
        };
        assert_eq!(buggy(engine, &raw mut error), TALLYPORT_PANIC);
        // SAFETY: the error that the call made.
        let message = text_of(unsafe { tallyport_error_message(error) });
        assert!(message.contains("planted in the engine (at "), "{message}");
        assert!(message.contains("boundary.rs:"), "{message}");
        // SAFETY: as above.
        unsafe { tallyport_error_free(error) };

        let mut buf = crate::buf::tallyport_buf::EMPTY;
        // SAFETY: as above.
        let status = unsafe { tallyport_engine_status(engine, &raw mut buf, none) };
        assert_eq!(status, TALLYPORT_POISONED);
        // SAFETY: as above.
        unsafe { tallyport_counter_add(counter, 3) };
        // SAFETY: as above.
        assert_eq!(unsafe { tallyport_counter_value(counter) }, 3);
        // SAFETY: as above.
        unsafe { tallyport_counter_free(counter) };
        // SAFETY: as above.
        unsafe { tallyport_engine_close(engine) };
    }

    #[test]
    fn a_panic_in_a_call_without_an_error_is_contained_too() {
        assert_eq!(contained(7, || watched(|| panic!("planted")).map_or(8, |()| 9)), 8);
        let done = record!(5, ptr::null::<tallyport_engine>(), Counter(_counter) => 6);
        assert_eq!(done, 5);
    }

    #[test]
    fn options_of_an_older_and_a_newer_header_are_read() {
        #[repr(C)]
        #[derive(Clone, Copy)]
        struct Newer {
            known: tallyport_plugin_options,
            new: u64,
        }
        // SAFETY: every field of both is valid as zero.
        let mut newer = unsafe { std::mem::zeroed::<Newer>() };
        // SAFETY: this is the one caller, with pointers to its own variables.
        let call = unsafe { Call::new() };
        let read = |newer: &Newer| {
            call.options("options", (&raw const *newer).cast::<tallyport_plugin_options>())
        };
        newer.known.size = size_of::<Newer>() as u32;
        newer.known.name.len = 5;
        assert_eq!(read(&newer).unwrap().name.len, 5);
        newer.new = 1;
        assert_eq!(read(&newer).unwrap_err().kind(), ErrorKind::Unsupported);
        newer.known.size = std::mem::offset_of!(tallyport_plugin_options, path) as u32;
        newer.known.path.len = 7;
        let older = read(&newer).unwrap();
        assert_eq!((older.name.len, older.path.len), (5, 0));
        newer.known.size = 4;
        assert_eq!(read(&newer).unwrap_err().field(), Some("options.size"));
        newer.known.size = u32::MAX;
        assert_eq!(read(&newer).unwrap_err().field(), Some("options.size"));
        newer.known.size = 24;
        newer.known.flags = 1;
        assert_eq!(read(&newer).unwrap_err().field(), Some("options.flags"));
    }
}
