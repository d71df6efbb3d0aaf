//! The host's log function or log ring: where an engine's messages go. Without one they go nowhere.
//!
//! The engine logs through `tracing`, possibly while it holds a lock. A host's function may call
//! the engine again, so a message waits until the call that it came up in is done, and is handed
//! over before that call returns (`hold`). Messages of threads that are in no call (a plugin's
//! own) are handed over at once. What calls from the log function log follows after, up to a
//! number: or it could go on for ever.

use std::{
    cell::RefCell,
    fmt::{self, Write as _},
    sync::Arc,
};

use tallyport_core::engine::config::LogLevel;
use tallyport_plugin_api::{
    abi::{
        TALLYPORT_LOG_DEBUG, TALLYPORT_LOG_ERROR, TALLYPORT_LOG_INFO, TALLYPORT_LOG_TRACE,
        TALLYPORT_LOG_WARN,
    },
    text,
};
use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::{callback::LogFunction, log_ring::LogRing};

/// Most messages that wait on one thread; the rest is counted.
const MAX_LINES: usize = 1024;
/// Most messages that the log function may cause while it is called for those of one call.
const MAX_CAUSED: usize = 64;

/// Where messages of one engine go.
#[derive(Debug)]
struct HostLog {
    function: LogFunction,
}

/// A message that waits for the end of a call.
struct Line {
    log: Arc<HostLog>,
    level: i32,
    target: &'static str,
    message: String,
}

/// Messages of the calls that run on this thread.
struct Held {
    calls: usize,
    lines: Vec<Line>,
    dropped: usize,
    /// The log function runs; calls that it makes do not call it again.
    delivering: bool,
    /// Messages that it caused.
    caused: usize,
}

impl Held {
    const EMPTY: Self =
        Self { calls: 0, lines: Vec::new(), dropped: 0, delivering: false, caused: 0 };

    fn add(&mut self, line: Line) {
        let room = if self.delivering {
            self.caused += 1;
            self.caused <= MAX_CAUSED
        } else {
            self.lines.len() < MAX_LINES
        };
        if room {
            self.lines.push(line);
        } else {
            self.dropped += 1;
        }
    }

    /// Whether it is now the caller's to deliver.
    fn begin_delivery(&mut self) -> bool {
        let due = self.calls == 0 && !self.delivering && !self.lines.is_empty();
        self.delivering |= due;
        due
    }
}

thread_local! {
    static HELD: RefCell<Held> = const { RefCell::new(Held::EMPTY) };
}

/// What takes an engine's messages.
#[derive(Clone)]
pub(crate) enum LogTo {
    Nobody,
    Function(LogFunction),
    Ring(Arc<LogRing>),
}

/// Where an engine logs to; `level` as in the options, or the configuration's.
pub(crate) fn dispatch(to: LogTo, level: i32, config: LogLevel) -> Dispatch {
    let level = match (level, config) {
        (1.., _) => level,
        (0, LogLevel::Error) => TALLYPORT_LOG_ERROR,
        (0, LogLevel::Warn) => TALLYPORT_LOG_WARN,
        (0, LogLevel::Info) => TALLYPORT_LOG_INFO,
        (0, LogLevel::Debug) => TALLYPORT_LOG_DEBUG,
        (0, LogLevel::Trace) => TALLYPORT_LOG_TRACE,
        _ => 0,
    };
    match to {
        _ if level <= 0 => Dispatch::none(),
        LogTo::Nobody => Dispatch::none(),
        LogTo::Function(function) => {
            let to = Arc::new(HostLog { function });
            Dispatch::new(ToHost {
                level,
                log: move |level, target, message| to.add(level, target, message),
            })
        }
        LogTo::Ring(ring) => Dispatch::new(ToHost {
            level,
            log: move |level, target, message| ring.push(level, target, message),
        }),
    }
}

/// Messages wait until the outermost of these is dropped.
pub(crate) struct Hold;

/// Begins a call.
pub(crate) fn hold() -> Hold {
    with_held(|held| held.calls += 1);
    Hold
}

impl Drop for Hold {
    fn drop(&mut self) {
        let due = with_held(|held| {
            held.calls = held.calls.saturating_sub(1);
            held.begin_delivery()
        });
        if due == Some(true) {
            deliver_all();
        }
    }
}

/// The log function runs on this thread.
struct Delivering;

impl Drop for Delivering {
    fn drop(&mut self) {
        with_held(|held| *held = Held { calls: held.calls, ..Held::EMPTY });
    }
}

/// Calls the log functions for everything that waits, and for what that causes.
fn deliver_all() {
    let _end = Delivering;
    let mut last = None;
    loop {
        let lines = with_held(|held| std::mem::take(&mut held.lines)).unwrap_or_default();
        if lines.is_empty() {
            break;
        }
        for line in lines {
            line.log.deliver(line.level, line.target, &line.message);
            last = Some(line.log);
        }
    }
    let dropped = with_held(|held| held.dropped).unwrap_or(0);
    if let (Some(log), 1..) = (last, dropped) {
        let message = format!("{dropped} further messages of this call were dropped");
        log.deliver(TALLYPORT_LOG_WARN, module_path!(), &message);
    }
}

/// `None` on a thread that is ending, and inside another one of these.
fn with_held<R>(f: impl FnOnce(&mut Held) -> R) -> Option<R> {
    HELD.try_with(|held| held.try_borrow_mut().ok().map(|mut held| f(&mut held))).ok().flatten()
}

impl HostLog {
    fn deliver(&self, level: i32, target: &str, message: &str) {
        self.function.call(level, text(target), text(message));
    }

    fn add(self: &Arc<Self>, level: i32, target: &'static str, message: String) {
        let due = with_held(|held| {
            held.add(Line { log: Arc::clone(self), level, target, message });
            held.begin_delivery()
        });
        if due == Some(true) {
            deliver_all();
        }
    }
}

/// The subscriber of one engine: events only.
struct ToHost<Log> {
    level: i32,
    log: Log,
}

impl<Log> Subscriber for ToHost<Log>
where
    Log: Fn(i32, &'static str, String) + Send + Sync + 'static,
{
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && number(*metadata.level()) <= self.level
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut message = Message::default();
        event.record(&mut message);
        let metadata = event.metadata();
        (self.log)(number(*metadata.level()), metadata.target(), message.text + &message.fields);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn number(level: Level) -> i32 {
    match level {
        Level::ERROR => TALLYPORT_LOG_ERROR,
        Level::WARN => TALLYPORT_LOG_WARN,
        Level::INFO => TALLYPORT_LOG_INFO,
        Level::DEBUG => TALLYPORT_LOG_DEBUG,
        Level::TRACE => TALLYPORT_LOG_TRACE,
    }
}

/// A message, then its fields as ` name=value`.
#[derive(Default)]
struct Message {
    text: String,
    fields: String,
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.text, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.text.push_str(value),
            name => {
                let _ = write!(self.fields, " {name}={value}");
            }
        }
    }
}
