//! From an [`Exporter`] to the C tables: trampolines that contain panics, and the export macros.
//!
//! One shape for every entry: check the pointers, refuse a poisoned instance, run the safe code
//! contained (`contain.rs`), report an error to the host's object. A panic poisons the instance;
//! nothing unwinds into the host.

use core::ffi::{c_char, c_void};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    Call, Completed, Error, Exporter, Host, Sink, Snapshot, Synced,
    abi::*,
    contain::contained,
    layout::TALLYPORT_PLUGIN_LAYOUT_HASH,
    raw::{self, Lent},
};

/// What a `tallyport_exporter` points to in a plugin made with this SDK.
struct Instance<E> {
    exporter: E,
    host: Host,
    /// The host's table, for calls during which it is certainly alive.
    lent: Lent<'static, tallyport_host>,
    poisoned: AtomicBool,
}

/// The table of an exporter; made for a type that is one, so what it points to is right.
#[doc(hidden)]
#[derive(Debug)]
#[repr(transparent)]
pub struct PluginTable(tallyport_plugin_v1);

impl PluginTable {
    #[must_use]
    pub const fn of<E: Exporter>() -> Self {
        Self(vtable::<E>())
    }
}

/// Exporters that are linked into a program, as [`plugin_set!`](crate::plugin_set) makes them.
///
/// A [`tallyport_plugin_set`] may hold any pointer; this holds those of exporters only, so that
/// safe code can hand it to an engine.
#[derive(Debug)]
#[repr(transparent)]
pub struct PluginSet(tallyport_plugin_set);

impl PluginSet {
    #[doc(hidden)]
    #[must_use]
    pub const fn of<const COUNT: usize>(tables: &'static [PluginTable; COUNT]) -> Self {
        Self(tallyport_plugin_set {
            struct_size: size_of::<tallyport_plugin_set>() as u32,
            count: COUNT as u32,
            stride: size_of::<tallyport_plugin_v1>() as u32,
            flags: 0,
            plugins: tables.as_ptr().cast(),
        })
    }

    /// The set in the ABI's form.
    #[must_use]
    pub const fn as_abi(&'static self) -> &'static tallyport_plugin_set {
        &self.0
    }
}

pub(crate) const fn vtable<E: Exporter>() -> tallyport_plugin_v1 {
    let info = E::INFO;
    tallyport_plugin_v1 {
        struct_size: size_of::<tallyport_plugin_v1>() as u32,
        abi: TALLYPORT_PLUGIN_ABI,
        caps: info.caps,
        id: raw::text(info.id),
        version: raw::text(info.version),
        vendor: raw::text(info.vendor),
        description: raw::text(info.description),
        formats: info.formats.as_ptr().cast(),
        format_count: info.formats.len() as u32,
        signals: info.signals,
        config_schema_json: raw::text(info.config_schema_json),
        create: Some(create::<E>),
        export_snapshot: Some(export_snapshot::<E>),
        flush: Some(flush::<E>),
        cancel: Some(cancel::<E>),
        shutdown: Some(shutdown::<E>),
        destroy: Some(destroy::<E>),
        after_fork_child: None,
        get_extension: if E::LIFECYCLE { Some(get_extension::<E>) } else { None },
    }
}

/// The calls around exports and syncs, of an exporter that wants them.
const fn lifecycle<E: Exporter>() -> tallyport_lifecycle_v1 {
    tallyport_lifecycle_v1 {
        struct_size: size_of::<tallyport_lifecycle_v1>() as u32,
        flags: 0,
        on_export_request: Some(on_export_request::<E>),
        on_export_complete: Some(on_export_complete::<E>),
        on_sync: Some(on_sync::<E>),
    }
}

/// The descriptor of a file, for its section; see [`export_plugin_set!`](crate::export_plugin_set).
#[doc(hidden)]
#[must_use]
pub const fn file_desc(id: &str, version: &str) -> tallyport_file_desc {
    tallyport_file_desc {
        magic: TALLYPORT_FILE_MAGIC,
        struct_size: size_of::<tallyport_file_desc>() as u32,
        abi: TALLYPORT_PLUGIN_ABI,
        layout_hash: TALLYPORT_PLUGIN_LAYOUT_HASH,
        flags: TALLYPORT_FILE_RUST,
        id: padded::<64>(id),
        version: padded::<32>(version),
    }
}

const fn padded<const N: usize>(text: &str) -> [c_char; N] {
    let mut field = [0; N];
    let (mut bytes, mut at) = (text.as_bytes(), 0);
    assert!(bytes.len() < N, "the id or version of a plugin file is too long");
    while let [first, rest @ ..] = bytes {
        #[allow(clippy::indexing_slicing)] // const evaluation: out of range would not compile
        {
            field[at] = *first as c_char;
        }
        at += 1;
        bytes = rest;
    }
    field
}

unsafe extern "C" fn create<E: Exporter>(
    host: *const tallyport_host,
    config_json: tallyport_str,
    exporter: *mut *mut tallyport_exporter,
    error: *mut tallyport_error,
) -> tallyport_status {
    // SAFETY: the host lends its table until `destroy` returned; `Host` is closed there.
    let Ok(lent) = (unsafe { Lent::read(host) }) else { return TALLYPORT_NULL_ARGUMENT };
    let host = Host::new(lent);
    if exporter.is_null() {
        return TALLYPORT_NULL_ARGUMENT;
    }
    // SAFETY: the host lends the text for this call.
    let config = unsafe { raw::str_from(config_json) };
    let made = contained(|| {
        let config = config?;
        let options = parse_options::<E>(config)?;
        E::create(host.clone(), options)
    });
    match made.flatten() {
        Ok(made) => {
            let made = Instance { exporter: made, host, lent, poisoned: AtomicBool::new(false) };
            let made = Box::into_raw(Box::new(made)).cast::<tallyport_exporter>();
            // SAFETY: not NULL; the host gives a place for one pointer.
            unsafe { exporter.write(made) };
            TALLYPORT_OK
        }
        Err(failed) => {
            host.close();
            raw::report(&lent, error, &failed)
        }
    }
}

fn parse_options<E: Exporter>(config: &str) -> Result<E::Options, Error> {
    if config.trim().is_empty() {
        return Ok(E::Options::default());
    }
    let value: Value = serde_json::from_str(config).map_err(|e| {
        Error::new(TALLYPORT_INVALID_ARGUMENT, format!("options are not JSON: {e}"))
    })?;
    // serde would take a list for a struct, by position.
    let Some(options) = value.as_object() else {
        return Err(Error::new(TALLYPORT_INVALID_ARGUMENT, "options are not a JSON object"));
    };
    if options.is_empty() {
        return Ok(E::Options::default());
    }
    E::Options::deserialize(&value).map_err(|error| bad_option::<E>(&value, &error))
}

/// Names the option at fault: serde's own message leaves it out for a wrong type.
fn bad_option<E: Exporter>(options: &Value, error: &serde_json::Error) -> Error {
    let message = error.to_string();
    let fails_alike = |options: serde_json::Map<String, Value>| {
        let result = E::Options::deserialize(&Value::Object(options));
        result.is_err_and(|error| error.to_string() == message)
    };
    let at_fault = options.as_object().into_iter().flatten().find_map(|(key, value)| {
        fails_alike([(key.clone(), value.clone())].into_iter().collect()).then_some(key)
    });
    // What fails without any option (a missing one) is nobody's fault.
    let at_fault = at_fault.filter(|_| !fails_alike(serde_json::Map::new()));
    match at_fault {
        Some(key) => Error::option(key, message),
        None => Error::new(TALLYPORT_INVALID_ARGUMENT, format!("options: {message}")),
    }
}

/// Runs `body` on a live instance, contained; a panic poisons it.
///
/// # Safety
/// `exporter` is NULL or came from `create::<E>` and was not destroyed; `call` and `error` are as
/// the ABI says for one call.
unsafe fn call_on<E: Exporter>(
    exporter: *mut tallyport_exporter,
    call: *const tallyport_call,
    error: *mut tallyport_error,
    body: impl FnOnce(&Instance<E>, &Call<'_>) -> Result<(), Error>,
) -> tallyport_status {
    // SAFETY: the caller vouches for it; the host does not destroy during a call.
    let Some(instance) = (unsafe { exporter.cast::<Instance<E>>().as_ref() }) else {
        return TALLYPORT_NULL_ARGUMENT;
    };
    // SAFETY: the caller vouches for the call.
    match unsafe { run_on(instance, call, body) } {
        Ok(()) => TALLYPORT_OK,
        Err(failed) => raw::report(&instance.lent, error, &failed),
    }
}

/// As [`call_on`], for functions that answer nothing: what goes wrong is logged.
///
/// # Safety
/// As there.
unsafe fn tell<E: Exporter>(
    exporter: *mut tallyport_exporter,
    call: *const tallyport_call,
    body: impl FnOnce(&Instance<E>, &Call<'_>) -> Result<(), Error>,
) {
    // SAFETY: as in `call_on`.
    let Some(instance) = (unsafe { exporter.cast::<Instance<E>>().as_ref() }) else { return };
    // SAFETY: the caller vouches for the call.
    if let Err(failed) = unsafe { run_on(instance, call, body) } {
        raw::log(&instance.lent, TALLYPORT_LOG_ERROR, failed.message());
    }
}

/// # Safety
/// `call` is as the ABI says for one call.
unsafe fn run_on<E: Exporter>(
    instance: &Instance<E>,
    call: *const tallyport_call,
    body: impl FnOnce(&Instance<E>, &Call<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    if instance.poisoned.load(Ordering::Acquire) {
        return Err(Error::new(TALLYPORT_POISONED, "an earlier panic poisoned this exporter"));
    }
    let done = contained(|| {
        // SAFETY: the host lends the call until it returns.
        let raw = unsafe { Lent::read(call) }?;
        // SAFETY: as above, for its texts.
        let format = unsafe { raw::str_from(raw.get().format) }?;
        // SAFETY: as above.
        let traceparent = unsafe { raw::str_from(raw.get().traceparent) }?;
        body(instance, &Call { raw, format, traceparent })
    });
    if done.is_err() {
        instance.poisoned.store(true, Ordering::Release);
    }
    done.flatten()
}

unsafe extern "C" fn export_snapshot<E: Exporter>(
    exporter: *mut tallyport_exporter,
    call: *const tallyport_call,
    snapshot: *const tallyport_snapshot,
    sink: *mut tallyport_sink,
    error: *mut tallyport_error,
) -> tallyport_status {
    let body = |instance: &Instance<E>, call: &Call<'_>| {
        // SAFETY: the host lends the snapshot until the call returns.
        let snapshot = unsafe { Snapshot::from_abi(snapshot) }?;
        let mut out = |bytes: &[u8]| raw::sink_write(&instance.lent, sink, bytes);
        let mut sink = Sink::new(&mut out);
        instance.exporter.export(call, &snapshot, &mut sink)?;
        sink.finish()
    };
    // SAFETY: the host calls as the ABI says.
    unsafe { call_on(exporter, call, error, body) }
}

unsafe extern "C" fn flush<E: Exporter>(
    exporter: *mut tallyport_exporter,
    call: *const tallyport_call,
    error: *mut tallyport_error,
) -> tallyport_status {
    // SAFETY: the host calls as the ABI says.
    unsafe { call_on::<E>(exporter, call, error, |instance, call| instance.exporter.flush(call)) }
}

unsafe extern "C" fn shutdown<E: Exporter>(
    exporter: *mut tallyport_exporter,
    call: *const tallyport_call,
    error: *mut tallyport_error,
) -> tallyport_status {
    let body = |instance: &Instance<E>, call: &Call<'_>| instance.exporter.shutdown(call);
    // SAFETY: the host calls as the ABI says.
    unsafe { call_on(exporter, call, error, body) }
}

unsafe extern "C" fn get_extension<E: Exporter>(id: tallyport_str) -> *const c_void {
    // SAFETY: the host lends the text for this call.
    if unsafe { raw::str_from(id) }.ok() == Some("tallyport.lifecycle/1") {
        let table: &'static tallyport_lifecycle_v1 = const { &lifecycle::<E>() };
        return core::ptr::from_ref(table).cast();
    }
    core::ptr::null()
}

unsafe extern "C" fn on_export_request<E: Exporter>(
    exporter: *mut tallyport_exporter,
    call: *const tallyport_call,
    error: *mut tallyport_error,
) -> tallyport_status {
    let body = |instance: &Instance<E>, call: &Call<'_>| instance.exporter.on_export_request(call);
    // SAFETY: the host calls as the ABI says.
    unsafe { call_on(exporter, call, error, body) }
}

unsafe extern "C" fn on_export_complete<E: Exporter>(
    exporter: *mut tallyport_exporter,
    call: *const tallyport_call,
    result: *const tallyport_export_result,
) {
    let body = |instance: &Instance<E>, call: &Call<'_>| {
        // SAFETY: the host lends the result until the call returns.
        let result = *unsafe { Lent::read(result) }?.get();
        let duration = Duration::from_nanos(result.duration_ns);
        let done = Completed { status: result.status, bytes: result.bytes, duration };
        instance.exporter.on_export_complete(call, &done);
        Ok(())
    };
    // SAFETY: the host calls as the ABI says.
    unsafe { tell(exporter, call, body) }
}

unsafe extern "C" fn on_sync<E: Exporter>(
    exporter: *mut tallyport_exporter,
    call: *const tallyport_call,
    result: *const tallyport_sync_result,
) {
    let body = |instance: &Instance<E>, call: &Call<'_>| {
        // SAFETY: the host lends the result until the call returns.
        let result = *unsafe { Lent::read(result) }?.get();
        let done = Synced {
            syncs: result.syncs,
            series: result.series,
            bytes: result.bytes,
            duration: Duration::from_nanos(result.duration_ns),
            // SAFETY: as above, for its texts.
            store: unsafe { raw::str_from(result.store) }?,
            // SAFETY: as above.
            strategy: unsafe { raw::str_from(result.strategy) }?,
        };
        instance.exporter.on_sync(call, &done);
        Ok(())
    };
    // SAFETY: the host calls as the ABI says.
    unsafe { tell(exporter, call, body) }
}

unsafe extern "C" fn cancel<E: Exporter>(exporter: *mut tallyport_exporter) {
    // SAFETY: the host calls it while the exporter lives.
    let Some(instance) = (unsafe { exporter.cast::<Instance<E>>().as_ref() }) else { return };
    if let Err(panicked) = contained(|| instance.exporter.cancel()) {
        instance.poisoned.store(true, Ordering::Release);
        raw::log(&instance.lent, TALLYPORT_LOG_ERROR, panicked.message());
    }
}

unsafe extern "C" fn destroy<E: Exporter>(exporter: *mut tallyport_exporter) {
    if exporter.is_null() {
        return;
    }
    // SAFETY: it came from `create::<E>`, and the host destroys once, with no call running.
    let instance = unsafe { Box::from_raw(exporter.cast::<Instance<E>>()) };
    let (host, lent) = (instance.host.clone(), instance.lent);
    if let Err(panicked) = contained(move || drop(instance)) {
        raw::log(&lent, TALLYPORT_LOG_ERROR, panicked.message());
    }
    host.close();
}

/// Makes a static [`PluginSet`](crate::PluginSet) of exporters.
///
/// `plugin_set!(pub static EXPORTERS: [Prometheus, Json]);`
#[macro_export]
macro_rules! plugin_set {
    ($(#[$meta:meta])* $vis:vis static $name:ident: [$($exporter:ty),+ $(,)?]) => {
        $(#[$meta])*
        $vis static $name: $crate::PluginSet = {
            static TABLES: [$crate::PluginTable; [$(stringify!($exporter)),+].len()] =
                [$($crate::PluginTable::of::<$exporter>()),+];
            $crate::PluginSet::of(&TABLES)
        };
    };
}

/// Exports exporters from a cdylib: the entry symbol, the file descriptor, the layout check.
///
/// The whole of a plugin's boilerplate: `export_plugins!("com.example.mine", [Mine]);`
#[macro_export]
macro_rules! export_plugins {
    ($id:expr, [$($exporter:ty),+ $(,)?]) => {
        $crate::plugin_set!(static TALLYPORT_PLUGINS: [$($exporter),+]);
        $crate::export_plugin_set!($id, TALLYPORT_PLUGINS);
    };
}

/// As [`export_plugins!`], for a set that [`plugin_set!`](crate::plugin_set) made elsewhere.
#[macro_export]
macro_rules! export_plugin_set {
    ($id:expr, $set:path) => {
        const _: () = {
            #[used]
            #[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__tallyport"))]
            #[cfg_attr(not(target_os = "macos"), unsafe(link_section = ".tallyport"))]
            static FILE: $crate::abi::tallyport_file_desc =
                $crate::file_desc($id, env!("CARGO_PKG_VERSION"));

            #[unsafe(no_mangle)]
            extern "C" fn tallyport_plugin_query_v1(
                host_abi: u32,
            ) -> *const $crate::abi::tallyport_plugin_set {
                $crate::keep_panics_quiet();
                if $crate::abi::serves(host_abi, $crate::abi::TALLYPORT_PLUGIN_ABI) {
                    $crate::PluginSet::as_abi(&$set)
                } else {
                    ::core::ptr::null()
                }
            }

            extern "C" fn typed() -> *const $crate::layout_check::v1_0::Set {
                (&raw const *$crate::PluginSet::as_abi(&$set)).cast()
            }

            extern "C" fn root() -> $crate::layout_check::Constructed {
                $crate::layout_check::root(typed)
            }

            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals)] // a symbol's name
            static tallyport_layout_v1_0: $crate::layout_check::Header =
                $crate::layout_check::header(root);
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Info, Kind, LogLevel, Number, Value as MetricValue, format,
        testing::{Fixture, Harness, Run},
    };

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Options {
        panic_in: String,
        depth: u8,
    }

    /// Panics where its option says.
    struct Fragile {
        host: Host,
        panic_in: String,
    }

    impl Fragile {
        fn enter(&self, place: &str) {
            self.host.log(LogLevel::Debug, place);
            assert!(self.panic_in != place, "as told in {place}");
        }
    }

    impl Exporter for Fragile {
        type Options = Options;
        const INFO: Info =
            Info { formats: &[format("lines", "text/plain")], ..Info::new("f", "1") };

        fn create(host: Host, options: Options) -> Result<Self, Error> {
            assert!(options.panic_in != "create", "as told in create");
            if options.depth > 3 {
                return Err(Error::option("depth", "at most 3"));
            }
            Ok(Self { host, panic_in: options.panic_in })
        }

        fn export(
            &self,
            call: &Call<'_>,
            snapshot: &Snapshot<'_>,
            sink: &mut Sink<'_>,
        ) -> Result<(), Error> {
            self.enter("export");
            if call.is_cancelled() {
                return Err(Error::new(TALLYPORT_CANCELLED, "cancelled"));
            }
            for family in snapshot.families() {
                sink.write(family.name().as_bytes())?;
            }
            Ok(())
        }

        fn flush(&self, _call: &Call<'_>) -> Result<(), Error> {
            self.enter("flush");
            Ok(())
        }

        fn cancel(&self) {
            self.enter("cancel");
        }

        const LIFECYCLE: bool = true;

        fn on_export_request(&self, _call: &Call<'_>) -> Result<(), Error> {
            self.enter("request");
            Ok(())
        }

        fn on_export_complete(&self, _call: &Call<'_>, done: &Completed) {
            self.enter("complete");
            self.host.log(LogLevel::Info, &format!("{done:?}"));
        }

        fn on_sync(&self, _call: &Call<'_>, done: &Synced<'_>) {
            self.enter("sync");
            self.host.log(LogLevel::Info, &format!("{done:?}"));
        }

        fn shutdown(&self, _call: &Call<'_>) -> Result<(), Error> {
            self.enter("shutdown");
            Ok(())
        }
    }

    impl Drop for Fragile {
        fn drop(&mut self) {
            self.enter("drop");
        }
    }

    fn fragile(place: &str) -> Harness {
        Harness::create::<Fragile>(&format!(r#"{{"panic_in":"{place}"}}"#)).unwrap()
    }

    fn one_family() -> crate::testing::Frozen {
        let mut fixture = Fixture::at(1);
        fixture.family("a", Kind::Gauge, Number::F64).series(&[], MetricValue::F64(1.0));
        fixture.freeze()
    }

    #[test]
    fn a_panic_poisons_and_is_reported() {
        type Entry = fn(&Harness) -> Result<(), crate::testing::Failure>;
        let entries: [(&str, Entry); 3] = [
            ("export", |harness| harness.export("lines", &one_family()).map(drop)),
            ("flush", Harness::flush),
            ("shutdown", Harness::shutdown),
        ];
        for (place, entry) in entries {
            let harness = fragile(place);
            let failure = entry(&harness).unwrap_err();
            assert_eq!(failure.status, TALLYPORT_PANIC);
            assert_eq!(failure.message, format!("panic: as told in {place}"));
            for (_, later) in entries {
                assert_eq!(later(&harness).unwrap_err().status, TALLYPORT_POISONED, "{place}");
            }
        }
    }

    #[test]
    fn a_panic_in_create_is_reported() {
        let failure = Harness::create::<Fragile>(r#"{"panic_in":"create"}"#).unwrap_err();
        assert_eq!(
            (failure.status, &*failure.message),
            (TALLYPORT_PANIC, "panic: as told in create")
        );
    }

    /// The extension of an exporter, as a host finds it.
    fn lifecycle_of(harness: &Harness) -> tallyport_lifecycle_v1 {
        let get = harness.table().get_extension.unwrap();
        for other in ["", "tallyport.lifecycle/2", "tallyport.lifecycle/1 "] {
            // SAFETY: the SDK's function, with a text of ours.
            assert!(unsafe { get(raw::text(other)) }.is_null(), "{other:?}");
        }
        // SAFETY: as above.
        let found = unsafe { get(raw::text("tallyport.lifecycle/1")) };
        assert!(!found.is_null());
        // SAFETY: that is what lies there, by its name.
        unsafe { found.cast::<tallyport_lifecycle_v1>().read() }
    }

    #[test]
    fn who_wants_the_calls_around_exports_and_syncs_gets_them() {
        let harness = fragile("");
        let lifecycle = lifecycle_of(&harness);
        let result = tallyport_export_result {
            struct_size: size_of::<tallyport_export_result>() as u32,
            status: 3,
            bytes: 4,
            duration_ns: 5,
        };
        let sync = tallyport_sync_result {
            struct_size: size_of::<tallyport_sync_result>() as u32,
            syncs: 2,
            series: 3,
            bytes: 4,
            duration_ns: 5,
            store: raw::text("redis"),
            strategy: raw::text("distributed_atomic"),
        };
        let exporter = harness.exporter();
        let ask = |call, error| {
            // SAFETY: the SDK's functions on its own exporter, with what lives during the calls.
            let status = unsafe { lifecycle.on_export_request.unwrap()(exporter, call, error) };
            // SAFETY: as above.
            unsafe { lifecycle.on_export_complete.unwrap()(exporter, call, &raw const result) };
            // SAFETY: as above.
            unsafe { lifecycle.on_sync.unwrap()(exporter, call, &raw const sync) };
            // SAFETY: NULL is looked for.
            unsafe { lifecycle.on_sync.unwrap()(exporter, call, core::ptr::null()) };
            status
        };
        harness.around(ask).unwrap();
        let said = harness.destroy().into_iter().map(|(_, line)| line);
        // Besides the names of what was called.
        let said: Vec<String> = said.filter(|line| line.contains(' ')).collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert_eq!(said[0], "Completed { status: 3, bytes: 4, duration: 5ns }");
        assert!(said[1].starts_with("Synced { syncs: 2, series: 3, bytes: 4"), "{said:?}");
        assert!(said[1].contains("store: \"redis\", strategy: \"distributed_atomic\""), "{said:?}");
        assert!(said[2].contains("NULL"), "{said:?}");
    }

    #[test]
    fn a_panic_when_it_is_told_is_logged_and_poisons() {
        for place in ["complete", "sync"] {
            let harness = fragile(place);
            let (lifecycle, exporter) = (lifecycle_of(&harness), harness.exporter());
            // SAFETY: all zero is valid; the sizes are set.
            let (mut result, mut sync) =
                unsafe { core::mem::zeroed::<(tallyport_export_result, tallyport_sync_result)>() };
            result.struct_size = size_of::<tallyport_export_result>() as u32;
            sync.struct_size = size_of::<tallyport_sync_result>() as u32;
            let ask = |call, _| {
                match place {
                    // SAFETY: as above.
                    "sync" => unsafe {
                        lifecycle.on_sync.unwrap()(exporter, call, &raw const sync)
                    },
                    // SAFETY: as above.
                    _ => unsafe {
                        lifecycle.on_export_complete.unwrap()(exporter, call, &raw const result);
                    },
                }
                TALLYPORT_OK
            };
            harness.around(ask).unwrap();
            assert_eq!(harness.flush().unwrap_err().status, TALLYPORT_POISONED, "{place}");
            let said = harness.destroy();
            let told = format!("as told in {place}");
            assert!(said.iter().any(|(_, line)| line.contains(&told)), "{said:?}");
        }
    }

    #[test]
    fn a_panic_in_cancel_is_logged_and_poisons() {
        let harness = fragile("cancel");
        harness.cancel();
        assert_eq!(harness.flush().unwrap_err().status, TALLYPORT_POISONED);
        let log = harness.destroy();
        assert!(
            log.contains(&(TALLYPORT_LOG_ERROR, "panic: as told in cancel".to_owned())),
            "{log:?}"
        );
    }

    #[test]
    fn a_panic_in_drop_is_logged() {
        let log = fragile("drop").destroy();
        assert_eq!(log.last(), Some(&(TALLYPORT_LOG_ERROR, "panic: as told in drop".to_owned())));
    }

    #[test]
    fn a_bad_option_is_named() {
        for (options, named, says) in [
            (r#"{"depth":9}"#, Some("depth"), "option `depth`: at most 3"),
            (r#"{"panic_in":"","depth":"x"}"#, Some("depth"), "expected u8"),
            (r#"{"depht":1}"#, Some("depht"), "unknown field `depht`"),
            (r#"["",1]"#, None, "options are not a JSON object"),
            ("{", None, "options are not JSON: "),
        ] {
            let failure = Harness::create::<Fragile>(options).unwrap_err();
            assert_eq!(failure.status, TALLYPORT_INVALID_ARGUMENT);
            assert!(failure.message.contains(says), "{options}: {}", failure.message);
            let option = failure.details.iter().find(|(key, _)| key == "option");
            assert_eq!(option.map(|(_, path)| path.as_str()), named, "{options}");
        }
        assert!(Harness::create::<Fragile>("").is_ok());
        assert!(Harness::create::<Fragile>("{}").is_ok());
    }

    #[test]
    fn what_the_sink_and_the_call_say_is_returned() {
        let harness = fragile("");
        let run = Run { limit: 0, limit_status: TALLYPORT_TIMEOUT, ..Run::new("lines") };
        assert_eq!(harness.run(run, &one_family()).1.unwrap_err().status, TALLYPORT_TIMEOUT);
        let run = Run { cancel_at: Some(0), ..Run::new("lines") };
        assert_eq!(harness.run(run, &one_family()).1.unwrap_err().status, TALLYPORT_CANCELLED);
        assert_eq!(harness.export("lines", &one_family()).unwrap(), b"a");
        assert_eq!(harness.export_null("lines").unwrap_err().status, TALLYPORT_NULL_ARGUMENT);
    }
}
