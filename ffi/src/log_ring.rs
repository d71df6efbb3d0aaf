//! Log rings: an engine's messages wait for a host that asks for them, instead of a log function.
//!
//! A ring is bounded: where there is no room the oldest line goes, and is counted. Lines go in where
//! they come up, with no more than the ring's own lock held; nobody's code is called.

use std::{
    collections::VecDeque,
    ffi::c_void,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::json;
use tallyport_core::model::{Error, Mutex, fork};
use tallyport_plugin_api::{
    abi::{
        TALLYPORT_LOG_DEBUG, TALLYPORT_LOG_ERROR, TALLYPORT_LOG_INFO, TALLYPORT_LOG_WARN,
        tallyport_error, tallyport_status, tallyport_str,
    },
    text,
};

use crate::{
    boundary::{fallible, plain},
    buf::tallyport_buf,
    handles::{self, Object},
};

/// Keeps the last messages of engines until the host takes them. Opaque.
pub struct tallyport_log_ring {
    _private: (),
}

/// How much a log ring keeps.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct tallyport_log_ring_options {
    /// sizeof(tallyport_log_ring_options).
    pub size: u32,
    /// 0.
    pub flags: u32,
    /// Most lines, to 1048576; 0: 1024.
    pub lines: u64,
    /// Most bytes that they take, roughly; 0: 1 MiB. A longer line is dropped and counted.
    pub bytes: u64,
}

/// A message that is taken out of a log ring: borrowed, with its texts, until the function returns.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct tallyport_log_line {
    /// sizeof(tallyport_log_line).
    pub size: u32,
    /// TALLYPORT_LOG_*.
    pub level: i32,
    /// When it came up: nanoseconds since the Unix epoch.
    pub timestamp_ns: u64,
    /// The part of the library that it came up in.
    pub target: tallyport_str,
    /// What it says.
    pub message: tallyport_str,
}

/// Most lines of a ring.
const MAX_LINES: u64 = 1 << 20;
const DEFAULT_LINES: usize = 1024;
const DEFAULT_BYTES: usize = 1 << 20;

struct Line {
    level: i32,
    timestamp_ns: u64,
    target: &'static str,
    message: String,
}

impl Line {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.message.len()
    }
}

#[derive(Default)]
struct Kept {
    lines: VecDeque<Line>,
    bytes: usize,
    dropped: u64,
    /// The fork generation that the lines are of.
    generation: u64,
}

/// What a ring's handle leads to.
pub(crate) struct LogRing {
    lines: usize,
    bytes: usize,
    kept: Mutex<Kept>,
    /// Nobody can drain it any more.
    freed: AtomicBool,
}

impl LogRing {
    fn new(options: &tallyport_log_ring_options) -> Result<Self, Error> {
        if options.lines > MAX_LINES {
            let message = format!("a ring keeps at most {MAX_LINES} lines, not {}", options.lines);
            return Err(Error::invalid("options.lines", message));
        }
        let or = |number: u64, default| match number {
            0 => default,
            _ => usize::try_from(number).unwrap_or(usize::MAX),
        };
        Ok(Self {
            lines: or(options.lines, DEFAULT_LINES),
            bytes: or(options.bytes, DEFAULT_BYTES),
            kept: Mutex::new(Kept { generation: fork::generation(), ..Kept::default() }),
            freed: AtomicBool::new(false),
        })
    }

    /// Puts a line in; the oldest ones make room.
    pub(crate) fn push(&self, level: i32, target: &'static str, message: String) {
        if self.freed.load(Relaxed) {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let line = Line { level, timestamp_ns, target, message };
        let weight = line.weight();
        let mut gone = Vec::new();
        self.with(|kept| {
            if weight > self.bytes {
                kept.dropped += 1;
                return;
            }
            while kept.lines.len() >= self.lines || kept.bytes + weight > self.bytes {
                let Some(oldest) = kept.lines.pop_front() else { break };
                kept.bytes -= oldest.weight();
                kept.dropped += 1;
                gone.push(oldest);
            }
            kept.bytes += weight;
            kept.lines.push_back(line);
        });
        // Memory is given back without the lock.
        drop(gone);
    }

    fn pop(&self) -> Option<Line> {
        self.with(|kept| {
            let line = kept.lines.pop_front()?;
            kept.bytes -= line.weight();
            Some(line)
        })
    }

    /// A forked child begins with an empty ring: what waits is its parent's to take.
    fn with<R>(&self, f: impl FnOnce(&mut Kept) -> R) -> R {
        let generation = fork::generation();
        let mut kept = self.kept.lock();
        if kept.generation != generation {
            *kept = Kept { generation, ..Kept::default() };
        }
        f(&mut kept)
    }
}

/// The ring of a handle; `field` is the argument's name.
pub(crate) fn lookup(
    field: &str,
    handle: *const tallyport_log_ring,
) -> Result<Arc<LogRing>, Error> {
    handles::lookup(field, handle, |object| match object {
        Object::LogRing(ring) => Some(Arc::clone(ring)),
        _ => None,
    })
}

/// Makes a log ring, for the `log_ring` of engines' options. Several engines may have one.
///
/// Threads: any thread. Ownership: borrows `options`; returns owned `ring` (free with
/// tallyport_log_ring_free) and `err`. Errors: INVALID_ARGUMENT with the field, LIMIT, NULL_ARGUMENT.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_log_ring_new(
    options: *const tallyport_log_ring_options,
    ring: *mut *mut tallyport_log_ring,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let options = call.options("options", options)?;
        call.give("ring", ring, || Ok(Object::LogRing(Arc::new(LogRing::new(&options)?))))
    })
}

/// Hands lines of a log ring to `function`, oldest first, on this thread, until it is empty or `max`
/// were taken (0: any number).
///
/// `function` gets `data` and a borrowed line, and answers 0 to go on; anything else stops, and the
/// line counts as taken. It may call this library, and must return: no exception, no longjmp. In a
/// forked child the ring begins empty.
///
/// Threads: any thread; several may drain one ring, and each line goes to one of them. Ownership:
/// borrows; returns owned `err`. Errors: CANCELLED when `function` stopped it, NULL_ARGUMENT,
/// BAD_HANDLE. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_log_ring_drain(
    ring: *const tallyport_log_ring,
    function: Option<
        unsafe extern "C" fn(data: *mut c_void, line: *const tallyport_log_line) -> i32,
    >,
    data: *mut c_void,
    max: u64,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let ring = lookup("ring", ring)?;
        let mut function = call.line_function(function, data)?;
        let mut taken = 0;
        while max == 0 || taken < max {
            let Some(line) = ring.pop() else { break };
            taken += 1;
            function(&tallyport_log_line {
                size: size_of::<tallyport_log_line>() as u32,
                level: line.level,
                timestamp_ns: line.timestamp_ns,
                target: text(line.target),
                message: text(&line.message),
            })?;
        }
        Ok(())
    })
}

/// Takes the oldest line out of a log ring, as a JSON object: level (`error` … `trace`), target,
/// message, timestamp_ns. The buffer is empty when the ring is.
///
/// Threads: any thread. Ownership: returns owned `buf` (free with tallyport_buf_free) and `err`.
/// Errors: NULL_ARGUMENT, BAD_HANDLE. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_log_ring_next(
    ring: *const tallyport_log_ring,
    buf: *mut tallyport_buf,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.fill(buf, || {
            let Some(line) = lookup("ring", ring)?.pop() else { return Ok(Vec::new()) };
            let json = json!({
                "level": name(line.level),
                "target": line.target,
                "message": line.message,
                "timestamp_ns": line.timestamp_ns,
            });
            Ok(json.to_string().into_bytes())
        })
    })
}

/// Lines that a log ring had no room for.
///
/// Threads: any thread. Ownership: borrows. Errors: 0 when `ring` is no live handle. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_log_ring_dropped(ring: *const tallyport_log_ring) -> u64 {
    plain!(0, lookup("ring", ring).map_or(0, |ring| ring.with(|kept| kept.dropped)))
}

/// Frees a log ring. Engines that have it log nowhere from then on.
///
/// Threads: any thread. Ownership: takes `ring`; NULL and a stale handle are no-ops. Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_log_ring_free(ring: *mut tallyport_log_ring) {
    plain!((), {
        if let Ok(found) = lookup("ring", ring)
            && handles::remove(ring, |object| matches!(object, Object::LogRing(_)))
        {
            // Engines have shares of it: its lines go now.
            found.freed.store(true, Relaxed);
            found.with(|kept| std::mem::take(&mut kept.lines));
        }
    });
}

fn name(level: i32) -> &'static str {
    match level {
        TALLYPORT_LOG_ERROR => "error",
        TALLYPORT_LOG_WARN => "warn",
        TALLYPORT_LOG_INFO => "info",
        TALLYPORT_LOG_DEBUG => "debug",
        _ => "trace",
    }
}

/// Sizes and offsets: part of the ABI.
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<tallyport_log_ring_options>() == 24);
    assert!(offset_of!(tallyport_log_ring_options, flags) == 4);
    assert!(offset_of!(tallyport_log_ring_options, lines) == 8);
    assert!(offset_of!(tallyport_log_ring_options, bytes) == 16);
    assert!(size_of::<tallyport_log_line>() == 48);
    assert!(offset_of!(tallyport_log_line, level) == 4);
    assert!(offset_of!(tallyport_log_line, timestamp_ns) == 8);
    assert!(offset_of!(tallyport_log_line, target) == 16);
    assert!(offset_of!(tallyport_log_line, message) == 32);
};
