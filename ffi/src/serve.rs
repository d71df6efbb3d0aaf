//! Metrics over HTTP, as `[serve]` of the configuration says (docs/SERVE.md).

use serde_json::Value;
use tallyport_core::engine::Engine;
use tallyport_plugin_api::abi::{tallyport_error, tallyport_status, tallyport_str};

use crate::{boundary::fallible, buf::tallyport_buf, engine::tallyport_engine};

/// Serves metrics over HTTP on threads of its own; nothing else starts them.
///
/// `listen` is an address and a port, as `127.0.0.1:0` (one that is free); empty: `serve.listen`. It
/// ends with tallyport_serve_stop or tallyport_engine_close. The threads block the host's signals
/// and call no function of the host, but those that give values and may do so on any thread: no
/// event is published for a scrape, nothing is logged to the host's log function. A forked child serves nothing, and keeps none of the sockets; it may call
/// this itself, for another address.
///
/// Threads: any thread. Ownership: borrows `listen`; returns owned `err`. Errors: ALREADY_EXISTS,
/// CONFIG with the key for an address that is none and for credentials that cannot be used, IO when
/// it cannot listen there, UNSUPPORTED for a build without the feature `serve`, INVALID_UTF8,
/// NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_serve_start(
    engine: *const tallyport_engine,
    listen: tallyport_str,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let entered = call.engine(engine)?;
        start(&entered.engine, call.text_or_none("listen", listen)?)
    })
}

/// The address and port that metrics are served on, for example `127.0.0.1:9464`.
///
/// Threads: any thread. Ownership: returns owned `buf` (free with tallyport_buf_free) and `err`.
/// Errors: NOT_FOUND when none are, in a forked child too; NULL_ARGUMENT, BAD_HANDLE, POISONED.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_serve_address(
    engine: *const tallyport_engine,
    buf: *mut tallyport_buf,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| call.fill(buf, || address(&call.engine(engine)?.engine)))
}

/// Stops serving: what was asked is answered, for up to `timeout_ms`. Without a server a no-op.
///
/// Threads: any thread; none that the server runs an exporter on. Ownership: returns owned `err`.
/// Errors: TIMEOUT when answers were still being written then: connections are closed, and threads
/// end when their exporters return. NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_serve_stop(
    engine: *const tallyport_engine,
    timeout_ms: u64,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| stop(&call.engine(engine)?.engine, timeout_ms))
}

#[cfg(feature = "serve")]
mod with {
    use std::time::Duration;

    use serde_json::{Value, json};
    use tallyport_core::{
        engine::Engine,
        model::{Error, ErrorKind},
    };

    pub(super) fn start(engine: &Engine, listen: Option<&str>) -> Result<(), Error> {
        engine.start_serving(listen).map(drop)
    }

    pub(super) fn address(engine: &Engine) -> Result<Vec<u8>, Error> {
        let none = || Error::new(ErrorKind::NotFound, "no metrics are served");
        let (address, _) = engine.serving().ok_or_else(none)?;
        Ok(address.to_string().into_bytes())
    }

    /// A day is as good as for ever, and can be added to any time.
    const LONGEST_MS: u64 = 86_400_000;

    pub(super) fn stop(engine: &Engine, timeout_ms: u64) -> Result<(), Error> {
        engine.stop_serving(Duration::from_millis(timeout_ms.min(LONGEST_MS)))
    }

    pub(super) fn status(engine: &Engine) -> Value {
        engine.serving().map_or(Value::Null, |(address, counts)| {
            json!({
                "address": address.to_string(),
                "requests": counts.requests,
                "refused": counts.refused,
                "connections": counts.connections,
                "open": counts.open,
                "closed": counts.closed,
                "bytes": counts.bytes,
            })
        })
    }
}

#[cfg(not(feature = "serve"))]
mod without {
    use serde_json::Value;
    use tallyport_core::{
        engine::Engine,
        model::{Error, ErrorKind},
    };

    pub(super) fn start(_: &Engine, _: Option<&str>) -> Result<(), Error> {
        let message = "this build serves no metrics (cargo feature `serve`)";
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    pub(super) fn address(_: &Engine) -> Result<Vec<u8>, Error> {
        Err(Error::new(ErrorKind::NotFound, "no metrics are served"))
    }

    pub(super) fn stop(_: &Engine, _: u64) -> Result<(), Error> {
        Ok(())
    }

    pub(super) fn status(_: &Engine) -> Value {
        Value::Null
    }
}

#[cfg(feature = "serve")]
use with as http;
#[cfg(not(feature = "serve"))]
use without as http;

use http::{address, start, stop};

/// What is served, for the engine's status.
pub(crate) fn status(engine: &Engine) -> Value {
    http::status(engine)
}
