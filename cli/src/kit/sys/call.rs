//! `tallyport_call` in the shapes of older and newer hosts, and what it answers to.

use std::{
    collections::BTreeMap,
    ffi::c_void,
    ptr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tallyport_plugin_api::{
    abi::{tallyport_call, tallyport_str},
    text,
};

use super::memory::{Loan, bytes_of};

/// A host of an earlier minor, of this one, or of a later one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Age {
    /// Its structs end after the fields that every host has; then comes a guard page.
    Older,
    /// Its structs are those of this build.
    #[default]
    Same,
    /// Its structs go on, with bytes that mean nothing here.
    Newer,
}

/// When a call is withdrawn.
#[derive(Debug, Clone, Default)]
pub(crate) enum Cancel {
    /// Never.
    #[default]
    Never,
    /// From the poll with this number on, counted from 0.
    AtPoll(u64),
    /// Once another thread says so.
    When(Arc<AtomicBool>),
}

/// What a call is to be like.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallShape {
    pub(crate) age: Age,
    pub(crate) flags: u32,
    pub(crate) cancel: Cancel,
    /// From now.
    pub(crate) deadline: Option<Duration>,
}

#[derive(Debug)]
struct State {
    cancel: Cancel,
    deadline_ns: u64,
    polls: AtomicU64,
}

/// A call that is lent until it is dropped.
#[derive(Debug)]
pub(crate) struct Call {
    table: Loan,
    /// The format's text, in memory of its own.
    format: Loan,
    state: Arc<State>,
}

static CALLS: Mutex<BTreeMap<usize, Arc<State>>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Call {
    pub(crate) fn lend(format: &str, shape: CallShape) -> Result<Self, String> {
        let deadline_ns = match shape.deadline {
            Some(time) => monotonic_ns() + u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2),
            None => 0,
        };
        let own = Loan::of(format.as_bytes(), 1)?;
        let size = match shape.age {
            // Up to and with the format.
            Age::Older => std::mem::offset_of!(tallyport_call, traceparent),
            Age::Same => size_of::<tallyport_call>(),
            Age::Newer => size_of::<tallyport_call>() + 48,
        };
        let table = tallyport_call {
            struct_size: size as u32,
            flags: shape.flags,
            call_id: NEXT.fetch_add(1, Relaxed),
            deadline_ns,
            host_data: ptr::without_provenance_mut::<c_void>(0xBAD1_0000_0000_0000),
            is_cancelled: Some(is_cancelled),
            format: tallyport_str { ptr: own.start().cast(), len: format.len() },
            traceparent: text("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        };
        let table = Loan::of(&bytes_of(&table, size), 8)?;
        let state = State { cancel: shape.cancel, deadline_ns, polls: AtomicU64::new(0) };
        let state = Arc::new(state);
        let mut calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
        calls.insert(table.start().addr(), Arc::clone(&state));
        Ok(Self { table, format: own, state })
    }

    pub(crate) fn table(&self) -> *const tallyport_call {
        self.table.start().cast()
    }

    /// How often the plugin asked whether it is cancelled.
    pub(crate) fn polls(&self) -> u64 {
        self.state.polls.load(Relaxed)
    }

    /// Ends the loan: whoever still reads faults. The addresses stay taken until it is dropped.
    pub(crate) fn close(&self) -> Result<(), String> {
        self.table.close()?;
        self.format.close()
    }

    /// The call returned: its table is no handle any more.
    pub(crate) fn over(&self) {
        let mut calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
        calls.remove(&self.table.start().addr());
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.over();
    }
}

unsafe extern "C" fn is_cancelled(call: *const tallyport_call) -> i32 {
    let calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(state) = calls.get(&call.addr()).cloned() else {
        drop(calls);
        // A call that is over is withdrawn for good; `services` judges the host's own handles.
        return 1;
    };
    drop(calls);
    let poll = state.polls.fetch_add(1, Relaxed);
    let cancelled = match &state.cancel {
        Cancel::Never => false,
        Cancel::AtPoll(number) => poll >= *number,
        Cancel::When(flag) => flag.load(Relaxed),
    };
    i32::from(cancelled || (state.deadline_ns != 0 && monotonic_ns() >= state.deadline_ns))
}

/// CLOCK_MONOTONIC in nanoseconds, the clock of deadlines.
pub(crate) fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists and `time` is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let seconds = time.tv_sec.cast_unsigned().wrapping_mul(1_000_000_000);
    seconds.wrapping_add(time.tv_nsec.cast_unsigned())
}
