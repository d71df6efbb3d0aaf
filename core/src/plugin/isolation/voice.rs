//! What a helper says: answers, and the log lines of the plugin and of the loader.
//!
//! Lines go through `tracing`, as in the host: the helper's subscriber is the [`Voice`]. Outside of
//! calls the host does not listen, so a line that finds no room is dropped and counted; during a
//! call it waits.

use std::{
    fmt::{self, Write as _},
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::{Duration, Instant},
};

use tallyport_plugin_api::abi::{
    TALLYPORT_LOG_DEBUG, TALLYPORT_LOG_ERROR, TALLYPORT_LOG_INFO, TALLYPORT_LOG_TRACE,
    TALLYPORT_LOG_WARN,
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::Interest,
};

use super::{
    channel::{NotSent, Sender},
    messages::FromHelper,
    wire::MAX_PART,
};
use crate::model::LongMutex;

/// Longest line; a message of one packet holds it.
const MAX_LINE_BYTES: usize = MAX_PART - 64;
/// How long a line waits for the host during a call.
const PATIENCE: Duration = Duration::from_secs(1);

/// The one way out, for every thread.
#[derive(Debug)]
pub(super) struct Voice {
    /// A message is several packets: one thread speaks at a time.
    sender: LongMutex<Sender>,
    /// The host listens.
    in_call: AtomicBool,
    lost: AtomicU32,
}

impl Voice {
    pub(super) fn new(sender: Sender) -> Arc<Self> {
        Arc::new(Self {
            sender: LongMutex::new(sender),
            in_call: AtomicBool::new(true),
            lost: AtomicU32::new(0),
        })
    }

    /// Says something, however long the host takes to listen.
    pub(super) fn say(&self, message: &FromHelper) -> Result<(), NotSent> {
        self.sender.lock().send(&message.frame(), None, None)
    }

    /// The last message of a call: the host does not listen after it.
    pub(super) fn answer(&self, message: &FromHelper) -> Result<(), NotSent> {
        self.in_call.store(false, Release);
        self.say(message)
    }

    pub(super) fn begin_call(&self) {
        self.in_call.store(true, Release);
    }

    fn line(&self, level: i32, mut message: String) {
        if message.len() > MAX_LINE_BYTES {
            message.truncate(message.floor_char_boundary(MAX_LINE_BYTES));
        }
        let lost = self.lost.swap(0, Relaxed);
        let level = level.cast_unsigned();
        let frame = FromHelper::Log { level, lost, message }.frame();
        let sender = self.sender.lock();
        let sent = if self.in_call.load(Acquire) {
            sender.send(&frame, None, Some(Instant::now() + PATIENCE)).is_ok()
        } else {
            matches!(sender.send_now(&frame), Ok(true))
        };
        if !sent {
            self.lost.fetch_add(lost.saturating_add(1), Relaxed);
        }
    }
}

/// The helper's subscriber.
#[derive(Debug)]
pub(super) struct Lines {
    voice: Arc<Voice>,
    /// `TALLYPORT_LOG_*`: what the host would drop is not sent.
    level: i32,
}

impl Lines {
    /// Has every event of this process said by `voice`, up to a level; 0: none.
    pub(super) fn install(voice: &Arc<Voice>, level: i32) {
        let lines = Self { voice: Arc::clone(voice), level };
        // A helper is one process with one `serve`: nobody was there before.
        let _ = tracing::subscriber::set_global_default(lines);
    }
}

/// The number of a level in the ABI.
pub(super) fn number(level: Level) -> i32 {
    match level {
        Level::ERROR => TALLYPORT_LOG_ERROR,
        Level::WARN => TALLYPORT_LOG_WARN,
        Level::INFO => TALLYPORT_LOG_INFO,
        Level::DEBUG => TALLYPORT_LOG_DEBUG,
        _ => TALLYPORT_LOG_TRACE,
    }
}

impl Subscriber for Lines {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && number(*metadata.level()) <= self.level
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let Text { mut message, fields } = text;
        message.push_str(&fields);
        self.voice.line(number(*event.metadata().level()), message);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// An event as one line. The plugin's name is left out: the host adds it.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "plugin" => Ok(()),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
