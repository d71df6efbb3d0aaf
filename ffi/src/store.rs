//! The host's own store: functions that keep items by key, through which instances share totals.

use std::{ffi::c_void, sync::Arc};

use tallyport_core::{
    model::{Error, ErrorKind, Mutex},
    store::KeyValue,
};
use tallyport_plugin_api::abi::{tallyport_error, tallyport_status, tallyport_str};

use crate::{
    boundary::{fallible, null},
    engine::tallyport_engine,
    handles::{self, Object},
    store_functions::{HostItems, StoreFunctions},
};

/// What a function of a store answers: it is done; of `get`: the value was handed over.
pub const TALLYPORT_STORE_DONE: i32 = 0;
/// It was not done, and that is no failure: there is no such item (`get`, `remove`), there is one
/// already (`add`), it was written or removed since it was read (`cas`). Anything else is a failure.
pub const TALLYPORT_STORE_NOT_DONE: i32 = 1;

/// A call of a function of a store, which lasts until that function returns. Opaque.
pub struct tallyport_store_call {
    _private: (),
}

/// A store of the host's own, for tallyport_store_attach: a cache or database that keeps items by key.
///
/// Begin with `tallyport_store s = {.size = sizeof s};`. All functions but `cas` must be there.
///
/// Threads: they are called on the threads that call tallyport_sync, tallyport_sync_leave and
/// tallyport_snapshot_take_shared on the engine, inside those calls, one at a time; never on a thread
/// of the library's own. They may record, and make any call on other engines; on this engine, calls
/// that sync answer UNSUPPORTED. They must return: no exception and no longjmp.
///
/// Ownership: keys, values and the call are borrowed until the function returns.
///
/// Keys: 1 to 250 of `A-Z a-z 0-9 . _ : -`, all beginning with `tallyport:NAMESPACE:` (the
/// configuration's `store.namespace`); the host may put more before. Values are any bytes, zero too,
/// and come back as they were written, in one step: never a part of one. They take no terminating NUL.
///
/// Failures: a function that cannot reach what it keeps items in must fail, by any answer but
/// TALLYPORT_STORE_DONE and TALLYPORT_STORE_NOT_DONE, and may say why (tallyport_store_call_fail): an item
/// that is "not there" only because nobody could look is a loss for good. What failed may have been
/// done or not, now or later. The call that it was made in answers IO, and the next one goes on.
///
/// How it is used: a sync is some calls of `get`, then `set` of new keys, one `cas`, then `remove`. With
/// `cas` totals of all instances are exact while no item vanishes before its time (strategy
/// `distributed_basic`); an item that did is found out, counted in `tallyport_sync_mishaps_total`,
/// and sent again. Without `cas` each instance has its own items only, and totals fall when one ends
/// (`distributed_manual`); tallyport_engine_status says so. All functions are tried with a key of
/// their own before the first sync, and again after a failure: a `cas` that does not do as it says is
/// not used. Leases compare the clocks of the hosts, so these have to agree to some seconds.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct tallyport_store {
    /// sizeof(tallyport_store).
    pub size: u32,
    /// 0.
    pub flags: u32,
    /// What it is, for people, for example `Rails.cache (MemCacheStore)`; empty: `the host's store`.
    pub name: tallyport_str,
    /// Given to every function.
    pub data: *mut c_void,
    /// Called once with `data`, on any thread, when nothing can call the functions any more: after
    /// tallyport_engine_close, or when tallyport_store_attach failed. May be NULL.
    pub free_data: Option<unsafe extern "C" fn(data: *mut c_void)>,
    /// Reads an item: hands its value over with tallyport_store_call_value, once, and answers DONE; or
    /// NOT_DONE when there is none, or its time has passed.
    pub get: Option<
        unsafe extern "C" fn(
            data: *mut c_void,
            call: *mut tallyport_store_call,
            key: tallyport_str,
        ) -> i32,
    >,
    /// Writes an item, in the place of one that is there, and keeps it for `ttl_ms` at the least.
    pub set: Option<
        unsafe extern "C" fn(
            data: *mut c_void,
            call: *mut tallyport_store_call,
            key: tallyport_str,
            value: tallyport_str,
            ttl_ms: u64,
        ) -> i32,
    >,
    /// Writes an item as `set`, if there is none; NOT_DONE if there is. In one step: of two that add the
    /// same key at once, one is DONE.
    pub add: Option<
        unsafe extern "C" fn(
            data: *mut c_void,
            call: *mut tallyport_store_call,
            key: tallyport_str,
            value: tallyport_str,
            ttl_ms: u64,
        ) -> i32,
    >,
    /// Writes an item as `set`, if it is as it was when `get` handed it over with `token`; NOT_DONE if it
    /// was written since, with whatever value, or is gone. In one step: of two that swap the same item
    /// at once, one is DONE. NULL where that cannot be done.
    pub cas: Option<
        unsafe extern "C" fn(
            data: *mut c_void,
            call: *mut tallyport_store_call,
            key: tallyport_str,
            value: tallyport_str,
            ttl_ms: u64,
            token: u64,
        ) -> i32,
    >,
    /// Removes an item; NOT_DONE when there is none.
    pub remove: Option<
        unsafe extern "C" fn(
            data: *mut c_void,
            call: *mut tallyport_store_call,
            key: tallyport_str,
        ) -> i32,
    >,
    /// Most bytes of a value that it keeps, at least 16384; 0: 1048576. Values stay below it.
    pub max_item_bytes: u64,
}

const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<tallyport_store>() == 88);
    assert!(offset_of!(tallyport_store, flags) == 4);
    assert!(offset_of!(tallyport_store, name) == 8);
    assert!(offset_of!(tallyport_store, data) == 24);
    assert!(offset_of!(tallyport_store, free_data) == 32);
    assert!(offset_of!(tallyport_store, get) == 40);
    assert!(offset_of!(tallyport_store, set) == 48);
    assert!(offset_of!(tallyport_store, add) == 56);
    assert!(offset_of!(tallyport_store, cas) == 64);
    assert!(offset_of!(tallyport_store, remove) == 72);
    assert!(offset_of!(tallyport_store, max_item_bytes) == 80);
};

/// What the function of a store told during one call.
#[derive(Debug, Default)]
pub(crate) struct StoreCall {
    pub(crate) value: Mutex<Option<(Vec<u8>, u64)>>,
    pub(crate) failure: Mutex<Option<String>>,
}

/// Gives an engine a store of the host's own, through which it shares totals from now on.
///
/// The configuration's `store.kind` is `host`, or not there. Nothing is called yet: the first sync asks
/// the store what it can. Syncs are made by the host (tallyport_sync): tallyport_sync_start is
/// UNSUPPORTED with it. One store for the life of an engine.
///
/// Threads: any thread. Ownership: borrows `store`; takes `data` of it also when it fails, unless the
/// struct itself is wrong; returns owned `err`. Errors: NULL_ARGUMENT and INVALID_ARGUMENT with the
/// field, CONFIG for a configuration with another store, ALREADY_EXISTS, UNSUPPORTED in a forked child
/// and while syncs run in the background, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_store_attach(
    engine: *const tallyport_engine,
    store: *const tallyport_store,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let engine = call.engine(engine)?;
        let store = call.options("store", store)?;
        let functions = StoreFunctions::of(&store);
        for (field, is_there) in [
            ("store.get", store.get.is_some()),
            ("store.set", store.set.is_some()),
            ("store.add", store.add.is_some()),
            ("store.remove", store.remove.is_some()),
        ] {
            if !is_there {
                return Err(null(field));
            }
        }
        let name = call.text_or_none("store.name", store.name)?.unwrap_or("the host's store");
        let items = HostItems::new(Arc::new(functions), name, store.max_item_bytes)?;
        let make = move || Ok(Box::new(items.clone()) as Box<dyn KeyValue>);
        engine.engine.set_store(make)
    })
}

fn lookup(handle: *const tallyport_store_call) -> Result<Arc<StoreCall>, Error> {
    handles::lookup("call", handle, |object| match object {
        Object::StoreCall(call) => Some(Arc::clone(call)),
        _ => None,
    })
}

/// Hands over the value of an item that a store's `get` found, and the token to swap it by.
///
/// `token` is another one whenever the item was written in between; any number without a `cas`. The
/// value is copied; a second one takes its place.
///
/// Threads: the thread of the function that was given `call`, until it returns. Ownership: borrows
/// `value`; returns owned `err`. Errors: NULL_ARGUMENT, BAD_HANDLE after the function returned.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_store_call_value(
    call: *mut tallyport_store_call,
    value: tallyport_str,
    token: u64,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |entry| {
        let bytes = entry.bytes("value", value)?.to_vec();
        *lookup(call)?.value.lock() = Some((bytes, token));
        Ok(())
    })
}

/// Says why a function of a store fails; the error of the sync then ends with it.
///
/// Threads: the thread of the function that was given `call`, until it returns. Ownership: borrows
/// `message`; returns owned `err`. Errors: NULL_ARGUMENT, INVALID_UTF8, BAD_HANDLE after the function
/// returned. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_store_call_fail(
    call: *mut tallyport_store_call,
    message: tallyport_str,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |entry| {
        let message = entry.text("message", message)?.to_owned();
        *lookup(call)?.failure.lock() = Some(message);
        Ok(())
    })
}

/// An error of a store's function.
pub(crate) fn failed(name: &str, function: &str, answer: i32, why: Option<String>) -> Error {
    let why = why.unwrap_or_else(|| format!("it answered {answer}"));
    Error::new(ErrorKind::Io, format!("{name}: `{function}` failed: {why}"))
}
