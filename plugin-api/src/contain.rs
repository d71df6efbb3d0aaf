//! Panics of a plugin's code end here: they become errors that say what and where.
//!
//! A plugin file has a std of its own, and so a panic hook of its own. The export macro sets one
//! that prints nothing while the exporter's code runs, because a plugin is a guest in the host's
//! process; panics of the plugin's other threads are printed as ever. Exporters that are linked
//! into a program leave its hook alone.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::Once,
};

use crate::{Error, abi::TALLYPORT_PANIC};

thread_local! {
    /// Contained calls that run on this thread.
    static CONTAINED: Cell<usize> = const { Cell::new(0) };
    /// Where the last panic of a contained call was; empty where no hook of ours looks.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs `body`; its panic becomes an error.
pub(crate) fn contained<R>(body: impl FnOnce() -> R) -> Result<R, Error> {
    CONTAINED.with(|depth| depth.set(depth.get() + 1));
    let done = catch_unwind(AssertUnwindSafe(body));
    CONTAINED.with(|depth| depth.set(depth.get() - 1));
    done.map_err(panicked)
}

/// Sees to it that panics of contained calls are not printed; for the export macro.
#[doc(hidden)]
pub fn keep_panics_quiet() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if CONTAINED.try_with(Cell::get).unwrap_or(0) == 0 {
                return before(panic);
            }
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            // Without a place the error says less.
            let _ = PLACE.try_with(|last| last.try_borrow_mut().map(|mut last| *last = place));
        }));
    });
}

fn panicked(payload: Box<dyn Any + Send>) -> Error {
    let text = payload.downcast_ref::<&'static str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("(no text)");
    let place =
        PLACE.with(|place| place.try_borrow_mut().map(|mut place| std::mem::take(&mut *place)));
    let error = match place.unwrap_or_default().as_str() {
        "" => Error::new(TALLYPORT_PANIC, format!("panic: {text}")),
        place => Error::new(TALLYPORT_PANIC, format!("panic at {place}: {text}")),
    };
    // A payload whose Drop panics would unwind from here: forget it instead.
    std::mem::forget(payload);
    error
}
