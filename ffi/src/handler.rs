//! Event handlers: functions of the host that are registered by name.

use tallyport_core::{event::Bus, model::Error};
use tallyport_plugin_api::abi::{tallyport_error, tallyport_status, tallyport_str};

use crate::{
    boundary::{Call, fallible, null},
    buf::tallyport_buf,
    callback::EventFunction,
    engine::tallyport_engine,
    options::tallyport_listener_options,
    subscription::{callback, describe, in_options},
};

/// Registers a function under a name for events. It is called on the publisher's thread, and stays
/// until it is unregistered or the engine is closed.
///
/// Threads: any thread. Ownership: as tallyport_event_subscribe. Errors: as
/// tallyport_event_subscribe; NULL_ARGUMENT without a `function`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_handler_register(
    engine: *const tallyport_engine,
    options: *const tallyport_listener_options,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        with_handler(call, engine, options, |bus, name, events, function| {
            bus.register_handler(name, events, callback(function))
        })
    })
}

/// Puts a function in the place of the handler of that name, whose running calls have ended when
/// this returns, as tallyport_handler_unregister says. No event that both are for is missed.
///
/// Threads: any thread. Ownership: as tallyport_event_subscribe. Errors: as
/// tallyport_handler_register; NOT_FOUND when nothing has that name. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_handler_replace(
    engine: *const tallyport_engine,
    options: *const tallyport_listener_options,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        with_handler(call, engine, options, |bus, name, events, function| {
            bus.replace_handler(name, events, callback(function))
        })
    })
}

/// Takes a handler out. It is not called any more when this returns, and no call of it runs; on a
/// thread that is inside an event's function it does not wait, as tallyport_subscription_free says.
///
/// Threads: any thread. Ownership: borrows `name`; returns owned `err`. Errors: NOT_FOUND,
/// NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_handler_unregister(
    engine: *const tallyport_engine,
    name: tallyport_str,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let entered = call.engine(engine)?;
        entered.engine.events().unregister_handler(call.text("name", name)?)
    })
}

/// The handlers in order of registration as a JSON array; each as tallyport_subscription_status.
///
/// Threads: any thread. Ownership: returns owned `buf` (free with tallyport_buf_free) and `err`.
/// Errors: NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_handlers_list(
    engine: *const tallyport_engine,
    buf: *mut tallyport_buf,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.fill_json(buf, || {
            let entered = call.engine(engine)?;
            Ok(entered.engine.events().handlers().iter().map(describe).collect())
        })
    })
}

/// Reads the options of a handler, whose data is the library's from then on, and calls `with`.
fn with_handler(
    call: &Call,
    engine: *const tallyport_engine,
    options: *const tallyport_listener_options,
    with: impl FnOnce(&Bus, &str, &[&str], EventFunction) -> Result<(), Error>,
) -> Result<(), Error> {
    let options = call.options("options", options)?;
    let function = EventFunction::of(&options).ok_or_else(|| null("options.function"));
    let entered = call.engine(engine)?;
    if options.queue_events != 0 || options.queue_bytes != 0 {
        let message = "a handler is called at once and has no queue; subscribe instead";
        return Err(Error::invalid("options.queue_events", message));
    }
    let name = call.text("options.name", options.name)?;
    let events = call.words("options.events", options.events)?;
    with(entered.engine.events(), name, &events, function?).map_err(in_options)
}
