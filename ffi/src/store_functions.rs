//! Calls of the functions of a host's store.

use std::{ffi::c_void, sync::Arc, time::Duration};

use tallyport_core::{
    model::{Error, ErrorKind},
    store::{
        Item, KeyValue,
        keyed::{DEFAULT_ITEM_BYTES, LEAST_ITEM_BYTES},
    },
};
use tallyport_plugin_api::{abi::tallyport_str, text};

use crate::{
    handles::{self, Object},
    store::{
        StoreCall, TALLYPORT_STORE_DONE, TALLYPORT_STORE_NOT_DONE, failed, tallyport_store,
        tallyport_store_call,
    },
};

/// A host's functions and their data.
#[derive(Debug)]
pub(crate) struct StoreFunctions(tallyport_store);

// SAFETY: the header says that the functions are called, with their data, on the threads that sync,
// one at a time; the host vouches for that when it gives them. Test: a_host_gives_its_own_store.
unsafe impl Send for StoreFunctions {}
// SAFETY: as above; a call borrows the one `HostItems` of a session mutably.
unsafe impl Sync for StoreFunctions {}

impl StoreFunctions {
    /// Takes the functions and their data.
    pub(crate) fn of(store: &tallyport_store) -> Self {
        Self(*store)
    }
}

impl Drop for StoreFunctions {
    fn drop(&mut self) {
        if let Some(free) = self.0.free_data {
            // SAFETY: the host vouched for it; it is called once, after every call of a function.
            // Test: a_host_gives_its_own_store counts the calls.
            unsafe { free(self.0.data) };
        }
    }
}

/// A host's store as what keeps items.
#[derive(Debug, Clone)]
pub(crate) struct HostItems {
    functions: Arc<StoreFunctions>,
    name: String,
    most: usize,
}

impl HostItems {
    pub(crate) fn new(
        functions: Arc<StoreFunctions>,
        name: &str,
        most: u64,
    ) -> Result<Self, Error> {
        let most = match most {
            0 => DEFAULT_ITEM_BYTES,
            most => usize::try_from(most).unwrap_or(usize::MAX),
        };
        if most < LEAST_ITEM_BYTES {
            let message =
                format!("`store.max_item_bytes` is {most}; a store needs {LEAST_ITEM_BYTES}");
            return Err(Error::invalid("store.max_item_bytes", message));
        }
        Ok(Self { functions, name: name.to_owned(), most })
    }

    /// Makes one call, and says whether it was done and what it handed over.
    fn call(
        &self,
        function: &str,
        act: impl FnOnce(&tallyport_store, *mut c_void, *mut tallyport_store_call) -> Option<i32>,
    ) -> Result<(bool, Option<Item>), Error> {
        let told = Arc::new(StoreCall::default());
        let handle: *mut tallyport_store_call =
            handles::give("call", Object::StoreCall(Arc::clone(&told)))?;
        let store = &self.functions.0;
        let answer = act(store, store.data, handle);
        handles::remove(handle, |object| matches!(object, Object::StoreCall(_)));
        let why = told.failure.lock().take();
        match answer {
            Some(TALLYPORT_STORE_DONE) => {
                let value = told.value.lock().take();
                Ok((true, value.map(|(bytes, token)| Item { bytes, token })))
            }
            Some(TALLYPORT_STORE_NOT_DONE) => Ok((false, None)),
            Some(answer) => Err(failed(&self.name, function, answer, why)),
            None => Err(Error::new(ErrorKind::Unsupported, format!("it has no `{function}`"))),
        }
    }
}

fn bytes(value: &[u8]) -> tallyport_str {
    tallyport_str { ptr: value.as_ptr().cast(), len: value.len() }
}

fn ms(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

impl KeyValue for HostItems {
    fn name(&self) -> &str {
        &self.name
    }

    fn max_item_bytes(&self) -> usize {
        self.most
    }

    fn has_cas(&self) -> bool {
        self.functions.0.cas.is_some()
    }

    fn get(&mut self, key: &str) -> Result<Option<Item>, Error> {
        let (done, value) = self.call("get", |store, data, call| {
            // SAFETY: the host vouched for its functions and data; key and call outlive the call.
            store.get.map(|get| unsafe { get(data, call, text(key)) })
        })?;
        match (done, value) {
            (true, Some(item)) => Ok(Some(item)),
            (true, None) => {
                let why = "it is done without tallyport_store_call_value".to_owned();
                Err(failed(&self.name, "get", TALLYPORT_STORE_DONE, Some(why)))
            }
            (false, _) => Ok(None),
        }
    }

    fn set(&mut self, key: &str, value: &[u8], ttl: Duration) -> Result<(), Error> {
        let (done, _) = self.call("set", |store, data, call| {
            // SAFETY: as in `get`; the value outlives the call too.
            store.set.map(|set| unsafe { set(data, call, text(key), bytes(value), ms(ttl)) })
        })?;
        match done {
            true => Ok(()),
            false => Err(failed(&self.name, "set", TALLYPORT_STORE_NOT_DONE, None)),
        }
    }

    fn add(&mut self, key: &str, value: &[u8], ttl: Duration) -> Result<bool, Error> {
        let (done, _) = self.call("add", |store, data, call| {
            // SAFETY: as in `set`.
            store.add.map(|add| unsafe { add(data, call, text(key), bytes(value), ms(ttl)) })
        })?;
        Ok(done)
    }

    fn cas(&mut self, key: &str, value: &[u8], ttl: Duration, token: u64) -> Result<bool, Error> {
        let (done, _) = self.call("cas", |store, data, call| {
            // SAFETY: as in `set`.
            store.cas.map(|cas| unsafe { cas(data, call, text(key), bytes(value), ms(ttl), token) })
        })?;
        Ok(done)
    }

    fn delete(&mut self, key: &str) -> Result<(), Error> {
        self.call("remove", |store, data, call| {
            // SAFETY: as in `get`.
            store.remove.map(|remove| unsafe { remove(data, call, text(key)) })
        })
        .map(drop)
    }
}
