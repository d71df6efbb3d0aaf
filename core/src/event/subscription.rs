//! Subscribing, and handlers by name.

use std::{
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{
    bus::{Bus, Inner},
    listener::{Callback, Listener, ListenerInfo, QueueLimits},
    name::Pattern,
    payload::{Event, OwnedEvent},
};
use crate::model::Error;

/// Most patterns of one listener.
const MAX_PATTERNS: usize = 64;

/// What somebody listens to, and under which name.
#[derive(Debug, Clone, Copy)]
pub struct Listen<'a> {
    /// Name in lists and statistics; `None`: one is made.
    pub name: Option<&'a str>,
    /// Events: `task.completed`, `task.*`, `*`. An event that several mean is delivered once.
    pub patterns: &'a [&'a str],
}

impl<'a> Listen<'a> {
    /// Listens without a name of its own.
    #[must_use]
    pub fn to(patterns: &'a [&'a str]) -> Self {
        Self { name: None, patterns }
    }

    /// Listens under a name: 1 to 64 letters, digits, `.`, `_` and `-`.
    #[must_use]
    pub fn named(self, name: &'a str) -> Self {
        Self { name: Some(name), ..self }
    }
}

/// A subscription. It ends when it is dropped.
#[derive(Debug)]
pub struct Subscription {
    bus: Weak<Inner>,
    listener: Arc<Listener>,
}

impl Bus {
    /// Has `callback` called for every event that `listen` means, on the publisher's thread.
    ///
    /// It must be quick: the publisher waits. It may publish, subscribe and end subscriptions.
    ///
    /// # Errors
    /// InvalidArgument for a bad name or pattern, AlreadyExists for a name in use, Limit, Closed.
    pub fn subscribe(
        &self,
        listen: Listen<'_>,
        callback: impl Fn(&Event<'_>) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Result<Subscription, Error> {
        let (name, patterns) = self.read(listen)?;
        let listener = Arc::new(Listener::calling(name, patterns, Box::new(callback)));
        self.0.subscribe(&listener)?;
        Ok(Subscription { bus: Arc::downgrade(&self.0), listener })
    }

    /// Has every event that `listen` means wait in a queue, for [`Subscription::next`].
    ///
    /// # Errors
    /// As [`Bus::subscribe`].
    pub fn subscribe_queued(
        &self,
        listen: Listen<'_>,
        limits: QueueLimits,
    ) -> Result<Subscription, Error> {
        let (name, patterns) = self.read(listen)?;
        let listener = Listener::queueing(name.clone(), patterns, limits)
            .inspect_err(|error| self.0.subscribers.refused(&name, error))?;
        let listener = Arc::new(listener);
        self.0.subscribe(&listener)?;
        Ok(Subscription { bus: Arc::downgrade(&self.0), listener })
    }

    /// The subscribers, in order, with what they did.
    #[must_use]
    pub fn subscribers(&self) -> Vec<ListenerInfo> {
        self.0.subscribers.list().iter().map(|listener| listener.info()).collect()
    }

    /// Registers a function under a name for the events that `patterns` mean. It is called as a
    /// subscriber's is, and stays until it is unregistered.
    ///
    /// # Errors
    /// As [`Bus::subscribe`].
    pub fn register_handler(
        &self,
        name: &str,
        patterns: &[&str],
        callback: impl Fn(&Event<'_>) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let handler = self.handler(name, patterns, Box::new(callback))?;
        self.0.handlers.register(vec![Arc::clone(&handler)])?;
        self.0.end_if_closed(&handler)
    }

    /// Puts a handler in the place of the one of its name. No event that both listen to goes to
    /// neither; the old one's running calls have ended when this returns, as
    /// [`Bus::unregister_handler`] says.
    ///
    /// # Errors
    /// NotFound when nothing has that name, InvalidArgument for a bad pattern, Closed.
    pub fn replace_handler(
        &self,
        name: &str,
        patterns: &[&str],
        callback: impl Fn(&Event<'_>) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let handler = self.handler(name, patterns, Box::new(callback))?;
        self.0.handlers.replace(Arc::clone(&handler))?.finish();
        self.0.end_if_closed(&handler)
    }

    /// Takes a handler out. Its running calls have ended when this returns, unless this thread is
    /// delivering an event: then it does not wait.
    ///
    /// # Errors
    /// NotFound when nothing has that name.
    pub fn unregister_handler(&self, name: &str) -> Result<(), Error> {
        self.0.handlers.unregister(name)?.finish();
        Ok(())
    }

    /// The handlers, in order, with what they did.
    #[must_use]
    pub fn handlers(&self) -> Vec<ListenerInfo> {
        self.0.handlers.list().iter().map(|listener| listener.info()).collect()
    }

    fn handler(
        &self,
        name: &str,
        patterns: &[&str],
        callback: Callback,
    ) -> Result<Arc<Listener>, Error> {
        self.0.check_open()?;
        let patterns = parse(patterns).inspect_err(|error| self.0.handlers.refused(name, error))?;
        Ok(Arc::new(Listener::calling(name.to_owned(), patterns, callback)))
    }

    fn read(&self, listen: Listen<'_>) -> Result<(String, Vec<Pattern>), Error> {
        let name = match listen.name {
            Some(name) => name.to_owned(),
            None => format!("subscriber-{}", self.0.next_name.fetch_add(1, Relaxed)),
        };
        let patterns =
            parse(listen.patterns).inspect_err(|error| self.0.subscribers.refused(&name, error))?;
        Ok((name, patterns))
    }
}

fn parse(patterns: &[&str]) -> Result<Vec<Pattern>, Error> {
    if !(1..=MAX_PATTERNS).contains(&patterns.len()) {
        let message = format!("1 to {MAX_PATTERNS} patterns are needed, not {}", patterns.len());
        return Err(Error::invalid("pattern", message));
    }
    patterns.iter().map(|pattern| Pattern::parse(pattern)).collect()
}

impl Subscription {
    /// What it is, and what it did.
    #[must_use]
    pub fn info(&self) -> ListenerInfo {
        self.listener.info()
    }

    /// Events that its queue had no room for.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.listener.dropped()
    }

    /// Events that wait in its queue.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.listener.queued().unwrap_or(0)
    }

    /// Takes the oldest event out of the queue; waits for one up to `timeout`. Several threads may
    /// wait: each event goes to one of them.
    ///
    /// # Errors
    /// Timeout; Closed when the subscription or the engine ended and nothing is left;
    /// InvalidArgument for a subscription without a queue.
    pub fn next(&self, timeout: Duration) -> Result<OwnedEvent, Error> {
        self.listener.next(timeout)
    }

    /// Ends it: nothing more is delivered, and the running calls of its function have ended when
    /// this returns. On a thread that is delivering an event it does not wait for them.
    pub fn end(&self) {
        self.listener.end();
        if let Some(bus) = self.bus.upgrade() {
            bus.subscribers.unregister_entry(&self.listener);
        }
        self.listener.finish();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.end();
    }
}
