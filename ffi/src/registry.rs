//! The registries as a whole: exporters, subscribers and handlers.

use serde_json::json;
use tallyport_plugin_api::abi::{tallyport_error, tallyport_status};

use crate::{
    boundary::fallible, buf::tallyport_buf, engine::tallyport_engine, plugin, subscription,
};

/// What every exporter, subscriber and handler did, as a JSON object: `plugins` as
/// tallyport_plugins_list, `subscribers` and `handlers` as tallyport_subscription_status.
///
/// Published as the event `registry.stats_collected`.
///
/// Threads: any thread. Ownership: returns owned `buf` (free with tallyport_buf_free) and `err`.
/// Errors: NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_registries_statistics(
    engine: *const tallyport_engine,
    buf: *mut tallyport_buf,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.fill_json(buf, || {
            let statistics = call.engine(engine)?.engine.registry_statistics();
            let plugins = statistics.plugins.iter();
            let plugins = plugins.map(|(about, did)| plugin::describe(about, did));
            let listeners =
                |list: &[_]| list.iter().map(subscription::describe).collect::<Vec<_>>();
            Ok(json!({
                "plugins": plugins.collect::<Vec<_>>(),
                "subscribers": listeners(&statistics.subscribers),
                "handlers": listeners(&statistics.handlers),
            }))
        })
    })
}

/// Looks for what is wrong in the registries: an exporter that is not called, a queue that dropped
/// events. A JSON object: `healthy`, and `problems`, one sentence each.
///
/// Published as the event `registry.health_check`.
///
/// Threads: any thread. Ownership: returns owned `buf` (free with tallyport_buf_free) and `err`.
/// Errors: NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_registries_check(
    engine: *const tallyport_engine,
    buf: *mut tallyport_buf,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.fill_json(buf, || {
            let problems = call.engine(engine)?.engine.check_registries();
            Ok(json!({ "healthy": problems.is_empty(), "problems": problems }))
        })
    })
}
