//! What the kit lends to one exporter, and what it notes about the use of it.
//!
//! Handles are numbers that point to no memory. What is lent is known by its address in one table
//! of the process, so a service never has to believe a pointer of the plugin.

use std::{
    collections::BTreeMap,
    ffi::c_void,
    ptr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread::ThreadId,
    time::Duration,
};

use tallyport_plugin_api::abi::{
    TALLYPORT_LIMIT, TALLYPORT_OK, TALLYPORT_PLUGIN_ABI, tallyport_error, tallyport_host,
    tallyport_sink, tallyport_status,
};

use super::{
    call::Age,
    memory::{Loan, bytes_of},
    services,
};

/// What a plugin can do wrong with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Misuse {
    /// Text that is NULL with a length, or not UTF-8.
    Text,
    /// A level, a status or a length that does not exist.
    Domain,
    /// A sink, an error, a call or a host table that is not lent, or not any more.
    Handle,
    /// A sink or an error on another thread than that of its call.
    Thread,
    /// `sink_commit` without `sink_reserve`, or of more than was lent.
    Commit,
    /// A write after the sink refused.
    LateWrite,
    /// A service after `destroy`.
    AfterDestroy,
}

/// When a sink refuses.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Refuse {
    /// Never.
    #[default]
    Never,
    /// From the write on that would exceed so many bytes, with this status.
    PastByte(usize, tallyport_status),
    /// From this write on, counted from 0.
    AtWrite(usize, tallyport_status),
}

/// More than an export of the kit's smaller snapshots needs.
const FLOOD_BYTES: usize = 64 << 20;

/// Most windows of the past that are kept.
const MAX_CLOSED: usize = 64;

/// A sink during one export.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    pub(crate) bytes: Vec<u8>,
    pub(crate) writes: usize,
    pub(crate) late_writes: usize,
    pub(crate) refuse: Refuse,
    pub(crate) refused: Option<tallyport_status>,
    /// Bytes that may be written where that is more than 64 MiB.
    pub(crate) most: usize,
    /// It was refused because of too many bytes.
    pub(crate) flooded: bool,
    /// How long each write takes.
    pub(crate) pause: Duration,
    /// What `sink_reserve` lent last.
    pub(crate) window: Option<(Loan, usize)>,
    /// Windows of the past: closed, their addresses still taken.
    pub(crate) closed: Vec<Loan>,
    /// Lend exactly what was asked for, not a page or more.
    pub(crate) narrow: bool,
    pub(crate) windows: usize,
    pub(crate) thread: Option<ThreadId>,
}

/// What a plugin put into an error.
#[derive(Debug, Default, Clone)]
pub(crate) struct Fault {
    pub(crate) code: tallyport_status,
    pub(crate) message: String,
    pub(crate) details: Vec<(String, String)>,
    pub(crate) thread: Option<ThreadId>,
}

/// Everything that is lent to one exporter at the moment.
#[derive(Debug, Default)]
pub(crate) struct Lending {
    pub(crate) sinks: BTreeMap<usize, Sink>,
    pub(crate) errors: BTreeMap<usize, Fault>,
    /// The first finding of each kind.
    pub(crate) misuse: BTreeMap<Misuse, String>,
    pub(crate) destroyed: bool,
}

/// The state behind one host table.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    lending: Mutex<Lending>,
}

impl Notes {
    pub(crate) fn lending(&self) -> MutexGuard<'_, Lending> {
        self.lending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lending {
    pub(crate) fn note(&mut self, misuse: Misuse, text: impl FnOnce() -> String) {
        self.misuse.entry(misuse).or_insert_with(text);
    }
}

/// Host tables that are lent, by address.
static DESKS: Mutex<BTreeMap<usize, Arc<Notes>>> = Mutex::new(BTreeMap::new());
/// Uses of host tables that are not there.
static STRAYS: AtomicU64 = AtomicU64::new(0);
static NEXT: AtomicUsize = AtomicUsize::new(1);

/// A new handle: an address that no memory can have.
fn handle() -> usize {
    0xBAD0_0000_0000_0000 + NEXT.fetch_add(1, Relaxed) * 64
}

/// What is behind a table that a plugin hands back.
pub(crate) fn notes(host: *const tallyport_host) -> Option<Arc<Notes>> {
    let desks = DESKS.lock().unwrap_or_else(PoisonError::into_inner);
    let found = desks.get(&host.addr()).cloned();
    if found.is_none() {
        STRAYS.fetch_add(1, Relaxed);
    }
    found
}

/// Services that were called with a pointer that is no table of a host.
pub(crate) fn strays() -> u64 {
    STRAYS.load(Relaxed)
}

/// The shape of a host table.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HostShape {
    /// How long it is.
    pub(crate) age: Age,
    /// Whether the services that a host may lack are NULL.
    pub(crate) sparse: bool,
}

/// The services of one exporter.
#[derive(Debug)]
pub(crate) struct Desk {
    table: Loan,
    notes: Arc<Notes>,
}

impl Desk {
    pub(crate) fn open(shape: HostShape) -> Result<Self, String> {
        let size = match shape.age {
            // Up to and with sink_write.
            Age::Older => std::mem::offset_of!(tallyport_host, sink_reserve),
            Age::Same => size_of::<tallyport_host>(),
            Age::Newer => size_of::<tallyport_host>() + 64,
        };
        let mut table = tallyport_host {
            struct_size: size as u32,
            abi: TALLYPORT_PLUGIN_ABI,
            host_data: ptr::without_provenance_mut::<c_void>(handle()),
            log: Some(services::log),
            error_set: Some(services::error_set),
            error_detail: Some(services::error_detail),
            sink_write: Some(services::sink_write),
            sink_reserve: Some(services::sink_reserve),
            sink_commit: Some(services::sink_commit),
            mono_ns: Some(services::mono_ns),
            get_service: Some(services::get_service),
        };
        if shape.sparse {
            table.sink_reserve = None;
            table.sink_commit = None;
            table.mono_ns = None;
            table.get_service = None;
        }
        let table = Loan::of(&bytes_of(&table, size), 8)?;
        let notes = Arc::<Notes>::default();
        let mut desks = DESKS.lock().unwrap_or_else(PoisonError::into_inner);
        desks.insert(table.start().addr(), Arc::clone(&notes));
        drop(desks);
        Ok(Self { table, notes })
    }

    pub(crate) fn table(&self) -> *const tallyport_host {
        self.table.start().cast()
    }

    pub(crate) fn notes(&self) -> &Arc<Notes> {
        &self.notes
    }

    /// Lends a sink until [`Desk::take_sink`].
    pub(crate) fn lend_sink(&self, sink: Sink) -> *mut tallyport_sink {
        let key = handle();
        let sink = Sink { thread: Some(std::thread::current().id()), ..sink };
        self.notes.lending().sinks.insert(key, sink);
        ptr::without_provenance_mut(key)
    }

    pub(crate) fn take_sink(&self, sink: *mut tallyport_sink) -> Sink {
        self.notes.lending().sinks.remove(&sink.addr()).unwrap_or_default()
    }

    /// Lends an error until [`Desk::take_error`].
    pub(crate) fn lend_error(&self) -> *mut tallyport_error {
        let key = handle();
        let fault = Fault { thread: Some(std::thread::current().id()), ..Fault::default() };
        self.notes.lending().errors.insert(key, fault);
        ptr::without_provenance_mut(key)
    }

    pub(crate) fn take_error(&self, error: *mut tallyport_error) -> Fault {
        self.notes.lending().errors.remove(&error.addr()).unwrap_or_default()
    }

    /// What the plugin did wrong, and is to be told.
    pub(crate) fn misuse(&self) -> BTreeMap<Misuse, String> {
        self.notes.lending().misuse.clone()
    }

    /// The exporter is gone: whatever comes now is a finding.
    pub(crate) fn closed(&self) {
        self.notes.lending().destroyed = true;
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let mut desks = DESKS.lock().unwrap_or_else(PoisonError::into_inner);
        desks.remove(&self.table.start().addr());
    }
}

impl Sink {
    /// Takes what is written, or refuses it.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> tallyport_status {
        if let Some(refused) = self.refused {
            self.late_writes += 1;
            return refused;
        }
        let refused = match self.refuse {
            Refuse::PastByte(most, status) if self.bytes.len() + bytes.len() > most => status,
            Refuse::AtWrite(number, status) if self.writes >= number => status,
            _ if self.bytes.len() + bytes.len() > self.most.max(FLOOD_BYTES) => {
                self.flooded = true;
                TALLYPORT_LIMIT
            }
            _ => TALLYPORT_OK,
        };
        if refused != TALLYPORT_OK {
            self.refused = Some(refused);
            return refused;
        }
        self.writes += 1;
        self.bytes.extend_from_slice(bytes);
        TALLYPORT_OK
    }

    /// Ends the loan of the window, if one is lent.
    pub(crate) fn end_window(&mut self) -> Option<(Vec<u8>, usize)> {
        let (loan, len) = self.window.take()?;
        let bytes = loan.written(len);
        // A window that cannot be closed finds less, and harms nothing.
        let _ = loan.close();
        // Addresses of the last ones stay taken; a system has only so many mappings.
        if self.closed.len() >= MAX_CLOSED {
            self.closed.clear();
        }
        self.closed.push(loan);
        Some((bytes, len))
    }
}
