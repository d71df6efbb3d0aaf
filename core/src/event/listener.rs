//! Who is told of events: a function that runs on the publisher's thread, or a queue that the host
//! drains on its own.
//!
//! A listener that fails, panics, or does not drain its queue is counted and logged, and disturbs
//! nobody else. Ending one waits for its running calls: what its function uses may then go.

use std::{
    cell::Cell,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use super::{
    name::Pattern,
    payload::{Event, OwnedEvent},
    queue::{Nothing, Queue},
};
use crate::{
    model::{Error, ErrorKind, LongRwLock, fork, panic_text},
    registry::{Counts, Entry, Statistics},
};

/// A function that is told of events. It runs on the publisher's thread, which waits for it.
pub type Callback = Box<dyn Fn(&Event<'_>) -> Result<(), Error> + Send + Sync>;

/// How much a queue holds. What does not fit is dropped and counted; the publisher does not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Most events that wait.
    pub events: usize,
    /// Most bytes that they take, roughly.
    pub bytes: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { events: 1024, bytes: 16 << 20 }
    }
}

/// Most events of a queue.
const MAX_QUEUED: usize = 1 << 20;
/// Deepest nesting of events that are published while another is delivered.
pub(super) const MAX_DEPTH: u32 = 16;

thread_local! {
    /// Deliveries that run on this thread, one inside the other.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// A delivery on this thread, until it is dropped.
pub(super) struct Delivery(());

impl Delivery {
    /// `None` when they are nested too deeply.
    #[inline]
    pub(super) fn begin() -> Option<Self> {
        DEPTH.with(|depth| {
            let now = depth.get();
            (now < MAX_DEPTH).then(|| {
                depth.set(now + 1);
                Self(())
            })
        })
    }

    /// What counts as one, however deep.
    fn inside() -> Self {
        DEPTH.with(|depth| depth.set(depth.get().saturating_add(1)));
        Self(())
    }

    /// Whether this thread is inside one.
    fn runs_here() -> bool {
        DEPTH.with(Cell::get) > 0
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get().saturating_sub(1)));
    }
}

enum Way {
    Call(Callback),
    Queue(Sending),
}

/// The sending end of a queue.
struct Sending(Arc<Queue>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A subscriber or a handler.
pub(super) struct Listener {
    name: String,
    patterns: Vec<Pattern>,
    /// Its place among the listeners of an event; the bus gives it.
    order: AtomicU64,
    statistics: Statistics,
    dropped: AtomicU64,
    /// What the host drains.
    queue: Option<Arc<Queue>>,
    /// Nothing is delivered any more.
    ended: AtomicBool,
    /// Read while its function runs; `None` once it ended.
    way: LongRwLock<Option<Way>>,
    /// Of the process that made it: calls of another one's threads never end.
    generation: u64,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A subscriber or a handler, for introspection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerInfo {
    /// Its name.
    pub name: String,
    /// What it listens to.
    pub patterns: Vec<String>,
    /// Events that wait in its queue; `None` for one that is called.
    pub queued: Option<usize>,
    /// Events that were handed to it, failures, and the last one's message.
    pub counts: Counts,
    /// Events that its queue had no room for.
    pub dropped: u64,
}

impl Listener {
    fn new(name: String, patterns: Vec<Pattern>, way: Way, queue: Option<Arc<Queue>>) -> Self {
        Self {
            name,
            patterns,
            order: AtomicU64::new(u64::MAX),
            statistics: Statistics::default(),
            dropped: AtomicU64::new(0),
            queue,
            ended: AtomicBool::new(false),
            way: LongRwLock::new(Some(way)),
            generation: fork::generation(),
        }
    }

    /// One whose function runs on the publisher's thread.
    pub(super) fn calling(name: String, patterns: Vec<Pattern>, callback: Callback) -> Self {
        Self::new(name, patterns, Way::Call(callback), None)
    }

    /// One with a queue, for [`Listener::next`].
    pub(super) fn queueing(
        name: String,
        patterns: Vec<Pattern>,
        limits: QueueLimits,
    ) -> Result<Self, Error> {
        if !(1..=MAX_QUEUED).contains(&limits.events) {
            let message = format!("a queue holds 1 to {MAX_QUEUED} events, not {}", limits.events);
            return Err(Error::invalid("queue_events", message));
        }
        let queue = Arc::new(Queue::new(limits));
        let way = Way::Queue(Sending(Arc::clone(&queue)));
        Ok(Self::new(name, patterns, way, Some(queue)))
    }

    pub(super) fn matches(&self, event: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(event))
    }

    pub(super) fn order(&self) -> u64 {
        self.order.load(Relaxed)
    }

    pub(super) fn set_order(&self, order: u64) {
        self.order.store(order, Relaxed);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Acquire)
    }

    /// Hands it an event; whether it took it. Never waits, never unwinds.
    pub(super) fn deliver(&self, event: &Event<'_>) -> bool {
        // Before the lock, so that whoever ends it is not kept waiting by ever new calls.
        if self.has_ended() {
            return false;
        }
        // Refused only to who comes after somebody that takes the function out: it has ended.
        let Some(way) = self.way.try_read() else { return false };
        let taken = match &*way {
            None => false,
            Some(Way::Call(callback)) => {
                match catch_unwind(AssertUnwindSafe(|| callback(event))) {
                    Ok(Ok(())) => self.statistics.called(),
                    Ok(Err(error)) => self.failed(event, error.to_string()),
                    Err(payload) => self.failed(event, panic_text(payload)),
                }
                true
            }
            Some(Way::Queue(queue)) => {
                let taken = queue.0.push(event);
                if taken {
                    self.statistics.called();
                } else {
                    self.drop_one(event);
                }
                taken
            }
        };
        drop(way);
        // Somebody ended it during the call, and could not wait: the last call lets go.
        if self.has_ended()
            && let Some(mut way) = self.way.try_write()
        {
            self.let_go(&mut way);
        }
        taken
    }

    #[cold]
    fn failed(&self, event: &Event<'_>, message: String) {
        let text = message.clone();
        let failures = self.statistics.failed(message);
        // A listener that always fails fills no log: the 1st, 2nd, 4th, 8th … failure is written.
        if failures.is_power_of_two() {
            tracing::warn!(
                listener = self.name,
                event = event.name(),
                failures,
                "event listener failed: {text}"
            );
        }
    }

    #[cold]
    fn drop_one(&self, event: &Event<'_>) {
        let dropped = self.dropped.fetch_add(1, Relaxed) + 1;
        if dropped.is_power_of_two() {
            tracing::warn!(
                listener = self.name,
                event = event.name(),
                dropped,
                "event dropped: the queue is full; drain it faster, or make it larger"
            );
        }
    }

    /// Delivers nothing from now on. [`Listener::finish`] lets go of its function.
    pub(super) fn end(&self) {
        self.ended.store(true, Release);
    }

    /// Lets go of its function, after the calls that run.
    ///
    /// On a thread that delivers an event it does not wait: the call that it would wait for may
    /// be its own caller. The function then goes with the last call of it.
    pub(super) fn finish(&self) {
        self.end();
        if !self.must_not_wait() {
            self.let_go(&mut self.way.write());
        } else if let Some(mut way) = self.way.try_write() {
            self.let_go(&mut way);
        }
    }

    /// Drops its function with the lock held, so that whoever ends it too waits for that.
    ///
    /// What the function owns may panic when it goes, may call the bus, and may be the very
    /// subscription: on this thread nobody waits meanwhile.
    fn let_go(&self, way: &mut Option<Way>) {
        let _delivery = Delivery::inside();
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(way.take()))) {
            let what = panic_text(payload);
            tracing::warn!(listener = self.name, "event listener failed as it ended: {what}");
        }
    }

    fn must_not_wait(&self) -> bool {
        // A queue's lock is held for the time of one push.
        let calls = self.queue.is_none();
        // In a forked child, threads that had the lock are not there to give it back.
        (calls && Delivery::runs_here()) || fork::generation() != self.generation
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Events that wait in its queue.
    pub(super) fn queued(&self) -> Option<usize> {
        self.queue.as_ref().map(|queue| queue.len())
    }

    /// The next event of its queue; waits for one up to `timeout`.
    pub(super) fn next(&self, timeout: Duration) -> Result<OwnedEvent, Error> {
        let Some(queue) = &self.queue else {
            let message = "the subscription has no queue: its function is called instead";
            return Err(Error::invalid("subscription", message));
        };
        queue.pop(timeout).map_err(|nothing| match nothing {
            Nothing::Came => Error::new(ErrorKind::Timeout, "no event came in time"),
            Nothing::WillCome => {
                let message = "the subscription ended, and its queue is empty";
                Error::new(ErrorKind::Closed, message).with_field("subscription")
            }
        })
    }

    pub(super) fn info(&self) -> ListenerInfo {
        ListenerInfo {
            name: self.name.clone(),
            patterns: self.patterns.iter().map(ToString::to_string).collect(),
            queued: self.queued(),
            counts: self.statistics.read(),
            dropped: self.dropped(),
        }
    }
}

impl Entry for Listener {
    fn name(&self) -> &str {
        &self.name
    }

    fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let patterns: Vec<String> = self.patterns.iter().map(ToString::to_string).collect();
        let delivery = if self.queue.is_some() { "queue" } else { "sync" };
        vec![("patterns", patterns.join(" ")), ("delivery", delivery.to_owned())]
    }
}
