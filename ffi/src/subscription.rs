//! Subscriptions: a host's function that is called, or a queue that the host drains.

use std::{ffi::c_void, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tallyport_core::{
    event::{Event, Listen, ListenerInfo, QueueLimits, Subscription},
    model::{Error, ErrorKind},
};
use tallyport_plugin_api::abi::{tallyport_error, tallyport_status};

use crate::{
    boundary::{fallible, plain},
    buf::tallyport_buf,
    callback::EventFunction,
    engine::tallyport_engine,
    event::lend,
    handles::{self, Object},
    options::{tallyport_event, tallyport_listener_options},
};

/// A subscription to events. It ends when it is freed. Opaque.
pub struct tallyport_subscription {
    _private: (),
}

fn lookup(handle: *const tallyport_subscription) -> Result<Arc<Subscription>, Error> {
    handles::lookup("subscription", handle, |object| match object {
        Object::Subscription(subscription) => Some(Arc::clone(subscription)),
        _ => None,
    })
}

/// Subscribes to events: with `function`, which is called on the publisher's thread, or without
/// one, to a queue that tallyport_subscription_drain empties on a thread of the host's.
///
/// Threads: any thread. Ownership: borrows `options`; takes `data` of it also when it fails, unless
/// the options themselves are wrong: `free_data` is called once, when nothing can call `function`
/// any more. Returns owned `subscription` (free with tallyport_subscription_free) and `err`. Errors:
/// INVALID_ARGUMENT with the field, ALREADY_EXISTS for a name in use, LIMIT, CLOSED, NULL_ARGUMENT,
/// BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_event_subscribe(
    engine: *const tallyport_engine,
    options: *const tallyport_listener_options,
    subscription: *mut *mut tallyport_subscription,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let options = call.options("options", options)?;
        let function = EventFunction::of(&options);
        call.give("subscription", subscription, || {
            let entered = call.engine(engine)?;
            let name = call.text_or_none("options.name", options.name)?;
            let patterns = call.words("options.events", options.events)?;
            let listen = Listen { name, patterns: &patterns };
            let bus = entered.engine.events();
            let made = match (function, queue_limits(&options)) {
                (Some(function), None) => bus.subscribe(listen, callback(function)),
                (None, limits) => bus.subscribe_queued(listen, limits.unwrap_or_default()),
                (Some(_), Some(_)) => {
                    let message = "`function` is called at once, so there is no queue to limit; \
                                   without `function`, the queue is drained by the host";
                    Err(Error::invalid("options.queue_events", message))
                }
            };
            Ok(Object::Subscription(Arc::new(made.map_err(in_options)?)))
        })
    })
}

/// Hands events of a subscription's queue to `function`, oldest first, on this thread.
///
/// Waits up to `timeout_ms` for the first one, takes what is there, and returns after `max` events
/// (0: when the queue is empty). `function` gets `data` and a borrowed event, and answers 0 to go
/// on; anything else stops. It may call this library, and must return: no exception, no longjmp.
///
/// Threads: any thread; several may drain one queue, and each event goes to one of them. Ownership:
/// borrows; returns owned `err`. Errors: TIMEOUT when no event came in time, CLOSED when the
/// subscription or its engine ended and the queue is empty, CANCELLED when `function` stopped it,
/// INVALID_ARGUMENT for a subscription with a function, NULL_ARGUMENT, BAD_HANDLE. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_subscription_drain(
    subscription: *const tallyport_subscription,
    function: Option<unsafe extern "C" fn(data: *mut c_void, event: *const tallyport_event) -> i32>,
    data: *mut c_void,
    max: u64,
    timeout_ms: u64,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let subscription = lookup(subscription)?;
        let function = call.event_function(function, data)?;
        let mut timeout = Duration::from_millis(timeout_ms);
        for taken in 0.. {
            if max != 0 && taken >= max {
                break;
            }
            match subscription.next(timeout) {
                Ok(event) => match event.lend(|event| lend(event, |raw| function.call(raw))) {
                    0 => timeout = Duration::ZERO,
                    answer => {
                        let message = format!("the function stopped with {answer}");
                        return Err(
                            Error::new(ErrorKind::Cancelled, message).with_field("function")
                        );
                    }
                },
                Err(_) if taken > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })
}

/// Takes the oldest event out of a subscription's queue, as a JSON object: event, timestamp_ns,
/// correlation_id, payload.
///
/// Threads: any thread. Ownership: returns owned `buf` (free with tallyport_buf_free) and `err`.
/// Errors: as tallyport_subscription_drain. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_subscription_next(
    subscription: *const tallyport_subscription,
    timeout_ms: u64,
    buf: *mut tallyport_buf,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.fill_json(buf, || {
            let event = lookup(subscription)?.next(Duration::from_millis(timeout_ms))?;
            Ok(event.lend(|event| event.to_json()))
        })
    })
}

/// What a subscription is and did, as a JSON object: name, events, queue, delivered, failures,
/// last_error, queued, dropped.
///
/// Threads: any thread. Ownership: returns owned `buf` (free with tallyport_buf_free) and `err`.
/// Errors: NULL_ARGUMENT, BAD_HANDLE. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_subscription_status(
    subscription: *const tallyport_subscription,
    buf: *mut tallyport_buf,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| { call.fill_json(buf, || Ok(describe(&lookup(subscription)?.info()))) })
}

/// Ends a subscription. Its function is not called any more when this returns, and no call of it
/// runs: what it uses may go.
///
/// On a thread that is inside an event's function it does not wait for calls of other threads, as
/// those may wait for it; `free_data` tells when the last one ended. Do not hold a lock that the
/// function takes. Whoever waits in tallyport_subscription_drain gets CLOSED.
///
/// Threads: any thread. Ownership: takes `subscription`; NULL and a stale handle are no-ops. Errors:
/// none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_subscription_free(subscription: *mut tallyport_subscription) {
    plain!((), {
        let found = lookup(subscription);
        // The handle's own share goes when no thread can be using it; the end is now.
        if handles::remove(subscription, |object| matches!(object, Object::Subscription(_)))
            && let Ok(found) = found
        {
            found.end();
        }
    });
}

/// The subscriptions of an engine, in the order of their making, as a JSON array; each as
/// tallyport_subscription_status.
///
/// Threads: any thread. Ownership: returns owned `buf` (free with tallyport_buf_free) and `err`.
/// Errors: NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_subscribers_list(
    engine: *const tallyport_engine,
    buf: *mut tallyport_buf,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.fill_json(buf, || {
            let entered = call.engine(engine)?;
            Ok(entered.engine.events().subscribers().iter().map(describe).collect())
        })
    })
}

/// A listener as JSON.
pub(crate) fn describe(info: &ListenerInfo) -> Value {
    json!({
        "name": info.name,
        "events": info.patterns,
        "queue": info.queued.is_some(),
        "delivered": info.counts.calls,
        "failures": info.counts.failures,
        "last_error": info.counts.last_error,
        "queued": info.queued,
        "dropped": info.dropped,
    })
}

/// A host's function as a listener; what it answers other than 0 is a failure.
pub(crate) fn callback(
    function: EventFunction,
) -> impl Fn(&Event<'_>) -> Result<(), Error> + Send + Sync {
    move |event| match lend(event, |raw| function.call(raw)) {
        0 => Ok(()),
        answer => {
            let message = format!("the function answered {answer}");
            Err(Error::new(ErrorKind::PluginFailed, message))
        }
    }
}

/// An error's field, as the host knows it.
pub(crate) fn in_options(error: Error) -> Error {
    match error.field() {
        Some("name") => error.with_field("options.name"),
        Some("pattern") => error.with_field("options.events"),
        Some("queue_events") => error.with_field("options.queue_events"),
        _ => error,
    }
}

/// The limits that the options set; 0: the default.
fn queue_limits(options: &tallyport_listener_options) -> Option<QueueLimits> {
    let default = QueueLimits::default();
    let limit = |number: u64, default| match number {
        0 => default,
        _ => usize::try_from(number).unwrap_or(usize::MAX),
    };
    let set = options.queue_events != 0 || options.queue_bytes != 0;
    set.then(|| QueueLimits {
        events: limit(options.queue_events, default.events),
        bytes: limit(options.queue_bytes, default.bytes),
    })
}
