//! The thread that waits for all clients at once.
//!
//! A turn: answers of the workers go out, what is over its time ends, everything is waited for, what is
//! ready is read, written or accepted. Each connection takes one step a turn, so none starves another.
//! It runs no code but the server's own.

use std::{
    io::{self, ErrorKind},
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam::channel::{Receiver, Sender, TrySendError};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{
    answer::{Answer, Manner},
    connection::{Connection, Life, State},
    desk::{self, Desk, Order, Reply},
    meter::Closed,
    request,
    socket::{Listener, Socket},
    workers::{Shared, Ticket},
};

/// Connections that are accepted in one turn, so that those that are there get on.
const ACCEPTS: usize = 64;
/// After the system refused a connection for want of descriptors.
const DEAF: Duration = Duration::from_millis(100);
/// Read at once.
const SCRATCH_BYTES: usize = 16 << 10;

/// The thread's own.
pub(super) struct Poller {
    pub(super) shared: Arc<Shared>,
    /// `None` once the server stops.
    pub(super) listener: Option<Listener>,
    pub(super) orders: Sender<(Ticket, Order)>,
    pub(super) answers: Receiver<(Ticket, Answer)>,
    pub(super) connections: Connections,
}

/// Clients, each at its place until it ends.
#[derive(Debug, Default)]
pub(super) struct Connections {
    places: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Of the last request.
    number: u64,
    /// Until then nobody is accepted.
    deaf_until: Option<Instant>,
}

/// What is ready after a wait.
#[derive(Debug, Default)]
struct Ready {
    listener: bool,
    places: Vec<usize>,
}

impl Connections {
    fn count(&self) -> usize {
        self.places.len() - self.free.len()
    }

    fn insert(&mut self, connection: Connection) {
        match self.free.pop().and_then(|place| self.places.get_mut(place)) {
            Some(place) => *place = Some(connection),
            None => self.places.push(Some(connection)),
        }
    }

    fn get(&mut self, place: usize) -> Option<&mut Connection> {
        self.places.get_mut(place).and_then(Option::as_mut)
    }

    /// Closes it.
    fn remove(&mut self, place: usize) -> bool {
        let there = self.places.get_mut(place).is_some_and(|place| place.take().is_some());
        if there {
            self.free.push(place);
        }
        there
    }

    fn all(&self) -> impl Iterator<Item = (usize, &Connection)> {
        let places = self.places.iter().enumerate();
        places.filter_map(|(place, connection)| Some((place, connection.as_ref()?)))
    }

    /// Who waits for nothing but a request, for the longest time.
    fn idlest(&self) -> Option<usize> {
        let idle = self.all().filter(|(_, connection)| connection.is_idle());
        idle.min_by_key(|(_, connection)| connection.since).map(|(place, _)| place)
    }
}

impl Poller {
    /// Serves until it is told to stop, and for as long as it may then.
    pub(super) fn run(mut self) {
        let mut scratch = vec![0; SCRATCH_BYTES];
        while self.turn(&mut scratch) {}
        let left = self.connections.count();
        self.connections = Connections::default();
        self.shared.meter.ended(left);
    }

    fn turn(&mut self, scratch: &mut [u8]) -> bool {
        let desk = self.shared.desk.load_full();
        let now = Instant::now();
        while let Ok((ticket, answer)) = self.answers.try_recv() {
            let asked = self.connections.get(ticket.place);
            let asked = asked.filter(|asked| asked.number == ticket.number);
            if asked.is_some_and(|asked| matches!(asked.state, State::Waiting(_))) {
                self.respond(&desk, ticket.place, answer, now);
                self.advance(&desk, ticket.place, now);
            }
        }
        self.expire(&desk, now);
        let stop = *self.shared.stop.lock();
        if let Some(until) = stop {
            self.listener = None;
            let idle: Vec<_> = self.connections.all().filter(|(_, one)| one.is_idle()).collect();
            let idle: Vec<_> = idle.into_iter().map(|(place, _)| place).collect();
            idle.into_iter().for_each(|place| self.close(place, None));
            if self.connections.count() == 0 || now >= until {
                return false;
            }
        }
        let ready = match self.wait(now, stop) {
            Ok(ready) => ready,
            Err(error) => {
                tracing::error!("the metrics endpoint ends: it cannot wait for clients: {error}");
                return false;
            }
        };
        self.shared.bell.silence();
        let now = Instant::now();
        for place in ready.places {
            self.step(&desk, place, now, scratch);
        }
        if ready.listener {
            self.accept(&desk, now, scratch);
        }
        true
    }

    /// Waits until something is ready or over its time.
    fn wait(&self, now: Instant, stop: Option<Instant>) -> io::Result<Ready> {
        let bell = self.shared.bell.descriptor()?;
        let mut places = Vec::new();
        let mut waited = vec![PollFd::from_borrowed_fd(bell, PollFlags::IN)];
        let mut until = stop;
        let mut sooner =
            |at: Instant| until = Some(until.map_or(at, |until: Instant| until.min(at)));
        let deaf = self.connections.deaf_until.filter(|until| *until > now);
        deaf.into_iter().for_each(&mut sooner);
        let listener = self.listener.as_ref().filter(|_| deaf.is_none());
        if let Some(listener) = listener {
            waited.push(PollFd::from_borrowed_fd(listener.descriptor()?, PollFlags::IN));
        }
        let before = waited.len();
        for (place, connection) in self.connections.all() {
            sooner(connection.deadline);
            if let Some(interest) = connection.interest() {
                waited.push(PollFd::from_borrowed_fd(connection.socket().descriptor()?, interest));
                places.push(place);
            }
        }
        let left = until.map(|until| until.saturating_duration_since(now));
        let left = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut waited, left.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR | Errno::AGAIN) => return Ok(Ready::default()),
            Err(error) => return Err(error.into()),
        }
        let is_ready = |one: &PollFd<'_>| !one.revents().is_empty();
        let connections = waited.get(before..).unwrap_or_default();
        let places = places.into_iter().zip(connections);
        Ok(Ready {
            listener: listener.is_some() && waited.get(1).is_some_and(is_ready),
            places: places.filter(|(_, one)| is_ready(one)).map(|(place, _)| place).collect(),
        })
    }

    fn close(&mut self, place: usize, why: Option<Closed>) {
        if self.connections.remove(place) {
            self.shared.meter.ended(1);
            why.into_iter().for_each(|why| self.shared.meter.closed(why));
        }
    }

    fn live(&mut self, place: usize, life: Life) -> bool {
        let sent = self.connections.get(place).map_or(0, Connection::take_sent);
        if sent > 0 {
            self.shared.meter.sent(sent);
        }
        match life {
            Life::On => true,
            Life::Over(why) => {
                self.close(place, why);
                false
            }
        }
    }

    /// Ends what is over its time.
    fn expire(&mut self, desk: &Desk, now: Instant) {
        let late = self.connections.all().filter(|(_, connection)| connection.deadline <= now);
        let late: Vec<usize> = late.map(|(place, _)| place).collect();
        for place in late {
            let Some(connection) = self.connections.get(place) else { continue };
            let begun = connection.has_begun();
            match &connection.state {
                State::Reading if begun => {
                    self.shared.meter.closed(Closed::Slow);
                    self.respond(desk, place, desk::refuse(request::TOO_SLOW), now);
                }
                State::Reading => self.close(place, None),
                State::Waiting(manner) => {
                    let late = desk::too_late(*manner);
                    self.respond(desk, place, late, now);
                }
                State::Writing(..) => self.close(place, Some(Closed::Slow)),
                State::Draining(_) => self.close(place, None),
            }
        }
    }

    /// Takes a step with a client that is ready.
    fn step(&mut self, desk: &Desk, place: usize, now: Instant, scratch: &mut [u8]) {
        let bounds = &desk.settings.bounds;
        let Some(connection) = self.connections.get(place) else { return };
        let life = match connection.state {
            State::Writing(..) => connection.write(now, bounds),
            _ => connection.read(now, bounds, scratch),
        };
        if self.live(place, life) {
            self.advance(desk, place, now);
        }
    }

    /// Answers the requests that came whole, up to one that has to wait.
    fn advance(&mut self, desk: &Desk, place: usize, now: Instant) {
        let bounds = &desk.settings.bounds;
        loop {
            let Some(connection) = self.connections.get(place) else { return };
            if !matches!(connection.state, State::Reading) {
                return;
            }
            let answer = match connection.request(bounds) {
                Ok(None) => return,
                Err(fault) => desk::refuse(fault),
                Ok(Some(request)) => match desk.receive(request) {
                    Reply::Now(answer) => answer,
                    Reply::Later(order) => match self.order(desk, place, order, now) {
                        Some(answer) => answer,
                        None => return,
                    },
                },
            };
            self.respond(desk, place, answer, now);
        }
    }

    /// Has a worker make the answer; the answer if none has time.
    fn order(&mut self, desk: &Desk, place: usize, order: Order, now: Instant) -> Option<Answer> {
        self.connections.number += 1;
        let number = self.connections.number;
        let manner = order.manner;
        match self.orders.try_send((Ticket { place, number }, order)) {
            Ok(()) => {
                let connection = self.connections.get(place)?;
                connection.wait(number, manner, now, &desk.settings.bounds);
                None
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                Some(desk::busy(manner, "as many requests as may wait do"))
            }
        }
    }

    fn respond(&mut self, desk: &Desk, place: usize, mut answer: Answer, now: Instant) {
        let Some(connection) = self.connections.get(place) else { return };
        self.shared.meter.answered(answer.code);
        if self.listener.is_none() {
            answer.keep_alive = false;
        }
        let life = connection.answer(answer, now, &desk.settings.bounds);
        self.live(place, life);
    }

    /// Takes the clients that wait to be accepted.
    fn accept(&mut self, desk: &Desk, now: Instant, scratch: &mut [u8]) {
        for _ in 0..ACCEPTS {
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok(socket) => self.admit(desk, socket, now, scratch),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!("a client of the metrics endpoint was not accepted: {error}");
                    // Descriptors, most likely: one of those that are there gives way.
                    if !self.evict() {
                        self.connections.deaf_until = Some(now + DEAF);
                    }
                    return;
                }
            }
        }
    }

    fn evict(&mut self) -> bool {
        let Some(place) = self.connections.idlest() else { return false };
        self.close(place, Some(Closed::Evicted));
        true
    }

    fn admit(&mut self, desk: &Desk, socket: Socket, now: Instant, scratch: &mut [u8]) {
        let bounds = &desk.settings.bounds;
        if self.connections.count() >= bounds.connections && !self.evict() {
            // What it asked is read: else its system would throw the answer away.
            let _ = socket.read(scratch);
            let answer = desk::busy(Manner::LAST, "all connections are being answered");
            self.shared.meter.closed(Closed::Full);
            self.shared.meter.answered(answer.code);
            let _ = socket.write(answer.rest(0)).and_then(|_| socket.finish());
            return;
        }
        self.shared.meter.opened();
        self.connections.insert(Connection::new(socket, now, bounds));
    }
}
