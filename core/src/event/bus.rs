//! The bus: from who publishes to who listens.
//!
//! Each event of the catalogue has a topic, which holds its listeners as a list that is replaced
//! as a whole when somebody comes or goes. So publishing takes no lock, and an event that nobody
//! listens to costs one look-up. An event that is not in the catalogue is matched with each
//! listener.

use std::{
    cell::OnceCell,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use arc_swap::ArcSwap;

use super::{
    announce::{Announced, HANDLER, Names, Routes, SUBSCRIBER},
    catalogue::{self, Catalogue, Category, Definition},
    listener::{Delivery, Listener},
    name::check_event_name,
    payload::{Event, Field, Published},
    topics::Topics,
};
use crate::{
    model::{Clock, CorrelationId, Error, ErrorKind, Mutex, SystemClock},
    registry::{Entry, Registry, Watch},
};

/// Most subscribers, and most handlers.
const MAX_LISTENERS: usize = 4096;

/// An engine's events. Clones share it. Any thread.
#[derive(Debug, Clone)]
pub struct Bus(pub(super) Arc<Inner>);

/// An event of the catalogue that was looked up once, to publish it often.
#[derive(Debug, Clone)]
pub struct Topic {
    bus: Arc<Inner>,
    state: Arc<TopicState>,
}

pub(super) struct Inner {
    clock: Arc<dyn Clock>,
    topics: Topics,
    /// Held by whoever changes topics or their lists; nothing is called meanwhile. It has the
    /// next listener's place.
    changing: Mutex<u64>,
    pub(super) subscribers: Registry<Listener>,
    pub(super) handlers: Registry<Listener>,
    /// Events that were published too deep inside deliveries of others.
    too_deep: AtomicU64,
    /// Numbers of subscribers without a name.
    pub(super) next_name: AtomicU64,
    closed: AtomicBool,
}

/// One event of the catalogue, and who listens to it.
#[derive(Debug)]
pub(super) struct TopicState {
    pub(super) definition: Arc<Definition>,
    /// Whether the list has anybody; read before it.
    heard: AtomicBool,
    listeners: ArcSwap<Vec<Arc<Listener>>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus")
            .field("subscribers", &self.subscribers)
            .field("handlers", &self.handlers)
            .finish_non_exhaustive()
    }
}

impl Default for Bus {
    /// A bus with the system's clock.
    fn default() -> Self {
        Self::new(Arc::new(SystemClock::default()))
    }
}

impl Bus {
    /// A bus with the built-in events, and nobody who listens.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let topics = Topics::new();
        catalogue::builtin().for_each(|definition| topics.add(TopicState::new(definition)));
        Self(Arc::new_cyclic(|own: &Weak<Inner>| {
            let registry = |kind, names| {
                let watch = Routes { bus: Weak::clone(own), names };
                Registry::new(kind, MAX_LISTENERS, Box::new(watch))
            };
            Inner {
                clock,
                topics,
                changing: Mutex::new(0),
                subscribers: registry("subscriber", &SUBSCRIBER),
                handlers: registry("handler", &HANDLER),
                too_deep: AtomicU64::new(0),
                next_name: AtomicU64::new(1),
                closed: AtomicBool::new(false),
            }
        }))
    }

    /// Publishes an event: every listener is called on this thread, or has it queued, in the order
    /// of their registration.
    ///
    /// Returns how many took it. A listener that fails or panics is no error of the publisher.
    /// Events that are published while 16 others are being delivered on this thread, each inside
    /// the one before, are dropped and counted.
    ///
    /// # Errors
    /// InvalidArgument for a name that is not `namespace.event`; it need not be in the catalogue.
    #[inline]
    pub fn publish(&self, name: &str, fields: &[Field<'_>]) -> Result<usize, Error> {
        self.0.publish(name, None, fields)
    }

    /// As [`Bus::publish`], as part of a piece of work that has a correlation id.
    ///
    /// # Errors
    /// As [`Bus::publish`], and InvalidArgument for an id that breaks [`CorrelationId::check`].
    pub fn publish_as(
        &self,
        name: &str,
        correlation_id: &str,
        fields: &[Field<'_>],
    ) -> Result<usize, Error> {
        CorrelationId::check(correlation_id)?;
        self.0.publish(name, Some(correlation_id), fields)
    }

    /// Looks an event of the catalogue up.
    ///
    /// # Errors
    /// NotFound for an event that is not in the catalogue.
    pub fn topic(&self, name: &str) -> Result<Topic, Error> {
        match self.0.topics.get(name) {
            Some(state) => Ok(Topic { bus: Arc::clone(&self.0), state: Arc::clone(state) }),
            None => {
                let message = format!("no event `{name}` is in the catalogue; define it first");
                Err(Error::new(ErrorKind::NotFound, message).with_field("name"))
            }
        }
    }

    /// Puts an event of the host's own into the catalogue. The same definition twice is fine.
    ///
    /// # Errors
    /// AlreadyExists when the name is taken by another definition, Limit.
    pub fn define(&self, definition: Definition) -> Result<(), Error> {
        let _changing = self.0.changing.lock();
        let known = self.0.topics.iter().map(|topic| &topic.definition);
        if !catalogue::admit(known, &definition)? {
            return Ok(());
        }
        let topic = TopicState::new(definition);
        topic.set(self.0.listeners_of(topic.definition.name()));
        self.0.topics.add(topic);
        Ok(())
    }

    /// The events that there are now.
    #[must_use]
    pub fn catalogue(&self) -> Catalogue {
        let definitions = self.0.topics.iter().map(|topic| Arc::clone(&topic.definition));
        Catalogue { events: definitions.map(|event| (event.name().into(), event)).collect() }
    }

    /// Events that were dropped because they were published too deep inside others.
    #[must_use]
    pub fn too_deep(&self) -> u64 {
        self.0.too_deep.load(Relaxed)
    }

    /// Ends every subscription and handler; what is published from now on reaches nobody.
    ///
    /// Queues can still be drained of what is in them.
    pub fn close(&self) {
        self.0.close();
    }

    /// What tells this bus of a registry's changes, as the events that `names` gives them.
    pub(crate) fn watch<T: Entry + 'static>(&self, names: &'static Names) -> Box<dyn Watch<T>> {
        Box::new(Announced { bus: self.clone(), names })
    }
}

impl Topic {
    /// Publishes the event; as [`Bus::publish`].
    #[inline]
    pub fn publish(&self, fields: &[Field<'_>]) -> usize {
        self.bus.send(&self.state, None, fields)
    }

    /// As [`Bus::publish_as`].
    ///
    /// # Errors
    /// InvalidArgument for an id that breaks [`CorrelationId::check`].
    pub fn publish_as(&self, correlation_id: &str, fields: &[Field<'_>]) -> Result<usize, Error> {
        CorrelationId::check(correlation_id)?;
        Ok(self.bus.send(&self.state, Some(correlation_id), fields))
    }

    /// What the catalogue says of it.
    #[must_use]
    pub fn definition(&self) -> &Definition {
        &self.state.definition
    }

    /// Whether anybody listens: a publisher may spare itself making a payload.
    #[inline]
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.state.heard.load(Acquire)
    }
}

impl TopicState {
    fn new(definition: Definition) -> Self {
        Self {
            definition: Arc::new(definition),
            heard: AtomicBool::new(false),
            listeners: ArcSwap::default(),
        }
    }

    /// Replaces the list; under the lock of `changing`.
    fn set(&self, listeners: Vec<Arc<Listener>>) {
        let heard = !listeners.is_empty();
        self.listeners.store(Arc::new(listeners));
        self.heard.store(heard, Release);
    }
}

impl Inner {
    #[inline]
    pub(super) fn publish(
        &self,
        name: &str,
        correlation_id: Option<&str>,
        fields: &[Field<'_>],
    ) -> Result<usize, Error> {
        match self.topics.get(name) {
            Some(topic) => Ok(self.send(topic, correlation_id, fields)),
            None => self.publish_unknown(name, correlation_id, fields),
        }
    }

    #[inline]
    fn send(
        &self,
        topic: &TopicState,
        correlation_id: Option<&str>,
        fields: &[Field<'_>],
    ) -> usize {
        if !topic.heard.load(Acquire) {
            return 0;
        }
        let definition = &topic.definition;
        let listeners = topic.listeners.load();
        self.deliver(
            &listeners,
            definition.name(),
            Some(definition.category()),
            correlation_id,
            fields,
        )
    }

    /// An event that is not in the catalogue.
    #[cold]
    fn publish_unknown(
        &self,
        name: &str,
        correlation_id: Option<&str>,
        fields: &[Field<'_>],
    ) -> Result<usize, Error> {
        check_event_name(name)?;
        let listeners = self.listeners_of(name);
        if listeners.is_empty() {
            return Ok(0);
        }
        Ok(self.deliver(&listeners, name, None, correlation_id, fields))
    }

    fn deliver(
        &self,
        listeners: &[Arc<Listener>],
        name: &str,
        category: Option<Category>,
        correlation_id: Option<&str>,
        fields: &[Field<'_>],
    ) -> usize {
        let Some(_delivery) = Delivery::begin() else {
            self.drop_too_deep(name);
            return 0;
        };
        let event = Event {
            name,
            category,
            published: Published::now(&*self.clock),
            correlation_id,
            generated: OnceCell::new(),
            fields,
        };
        if listeners.len() > 1 {
            // The first one may take its time before the second one asks.
            event.published.unix_ns();
        }
        listeners.iter().filter(|listener| listener.deliver(&event)).count()
    }

    #[cold]
    fn drop_too_deep(&self, name: &str) {
        let dropped = self.too_deep.fetch_add(1, Relaxed) + 1;
        if dropped.is_power_of_two() {
            tracing::warn!(
                event = name,
                dropped,
                "event dropped: published too deep inside the delivery of others; a listener \
                 probably publishes what it listens to"
            );
        }
    }

    /// Who listens to an event, in order.
    fn listeners_of(&self, name: &str) -> Vec<Arc<Listener>> {
        let (subscribers, handlers) = (self.subscribers.list(), self.handlers.list());
        let all = subscribers.iter().chain(handlers.iter());
        let mut found: Vec<_> =
            all.filter(|known| !known.has_ended() && known.matches(name)).cloned().collect();
        found.sort_by_key(|listener| listener.order());
        found
    }

    /// Brings the topics in line with a change of the registries.
    pub(super) fn route(&self, added: Option<&Arc<Listener>>, removed: Option<&Arc<Listener>>) {
        let mut next_order = self.changing.lock();
        let added = added.filter(|listener| !listener.has_ended());
        if let Some(added) = added {
            // Who replaces another listener has its place.
            added.set_order(removed.map_or(*next_order, |old| old.order()));
            *next_order += 1;
        }
        for topic in self.topics.iter() {
            let name = topic.definition.name();
            let comes = added.filter(|listener| listener.matches(name));
            let goes = removed.filter(|listener| listener.matches(name));
            if comes.is_none() && goes.is_none() {
                continue;
            }
            let mut next = Vec::clone(&topic.listeners.load());
            // A topic that was defined meanwhile has who comes already.
            next.retain(|known| {
                ![comes, goes].into_iter().flatten().any(|l| Arc::ptr_eq(l, known))
            });
            if let Some(comes) = comes {
                let place = next.partition_point(|other| other.order() <= comes.order());
                next.insert(place, Arc::clone(comes));
            }
            topic.set(next);
        }
    }

    /// Registers a listener that is not a handler.
    pub(super) fn subscribe(&self, listener: &Arc<Listener>) -> Result<(), Error> {
        self.check_open()?;
        self.subscribers.register(vec![Arc::clone(listener)])?;
        self.end_if_closed(listener)
    }

    pub(super) fn check_open(&self) -> Result<(), Error> {
        if !self.closed.load(Acquire) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Closed, "the engine was closed: it has no more events"))
    }

    /// What came while the bus was closed may have been overlooked.
    pub(super) fn end_if_closed(&self, listener: &Listener) -> Result<(), Error> {
        self.check_open().inspect_err(|_| listener.finish())
    }

    fn close(&self) {
        self.closed.store(true, Release);
        for registry in [&self.subscribers, &self.handlers] {
            let list = registry.list();
            // All are ended before any is waited for.
            list.iter().for_each(|listener| listener.end());
            list.iter().for_each(|listener| listener.finish());
            drop(list);
            registry.clear();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
