//! One client: its bytes become requests, its answers become bytes, each step before a deadline.
//!
//! Nothing here waits. One request at a time: what a client sends ahead stays in its socket and, up to
//! a head's limit, in the buffer, so a flood costs no memory.

use std::{
    io::{self, ErrorKind},
    mem,
    time::{Duration, Instant},
};

use rustix::event::PollFlags;

use super::{
    Bounds,
    answer::{Answer, Manner},
    meter::Closed,
    request::{self, Fault, Request},
    socket::Socket,
};

/// After the last answer: for how long, and for how many bytes, a client is listened to so that its
/// system does not throw the answer away.
const DRAIN_TIME: Duration = Duration::from_secs(2);
const DRAIN_BYTES: usize = 4 << 20;

/// A client.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    pub(super) state: State,
    buffer: Vec<u8>,
    /// How much of the buffer has no end of a head in it.
    scanned: usize,
    /// Bytes that were sent and not told.
    sent: usize,
    /// Of the request that it waits for, among all of the server.
    pub(super) number: u64,
    /// Since when it is in this state.
    pub(super) since: Instant,
    /// Until when it may be.
    pub(super) deadline: Instant,
}

/// What it is waited for.
#[derive(Debug)]
pub(super) enum State {
    /// The client sends a head.
    Reading,
    /// A worker makes an answer.
    Waiting(Manner),
    /// The client takes the answer, of which so many bytes are sent.
    Writing(Answer, usize),
    /// The client closes, or so many bytes more come.
    Draining(usize),
}

/// Whether the connection is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    On,
    /// It ended; `None`: as it should.
    Over(Option<Closed>),
}

fn again(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

impl Connection {
    pub(super) fn new(socket: Socket, now: Instant, bounds: &Bounds) -> Self {
        Self {
            socket,
            state: State::Reading,
            buffer: Vec::new(),
            scanned: 0,
            sent: 0,
            number: 0,
            since: now,
            deadline: now + bounds.head_time,
        }
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// What is to be waited for on its socket.
    pub(super) fn interest(&self) -> Option<PollFlags> {
        match self.state {
            State::Reading | State::Draining(_) => Some(PollFlags::IN),
            State::Writing(..) => Some(PollFlags::OUT),
            State::Waiting(_) => None,
        }
    }

    /// Whether nobody loses an answer when it is closed.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, State::Reading | State::Draining(_))
    }

    fn turn(&mut self, state: State, now: Instant, time: Duration) {
        self.state = state;
        self.since = now;
        self.deadline = now + time;
    }

    /// Takes what came.
    pub(super) fn read(&mut self, now: Instant, bounds: &Bounds, scratch: &mut [u8]) -> Life {
        let room = match &self.state {
            State::Reading => (bounds.head_bytes + 1).saturating_sub(self.buffer.len()),
            State::Draining(left) => *left,
            State::Waiting(_) | State::Writing(..) => return Life::On,
        };
        let room = room.min(scratch.len());
        let Some(space) = scratch.get_mut(..room) else { return Life::On };
        let read = match self.socket.read(space) {
            Ok(0) if self.buffer.is_empty() => return Life::Over(None),
            Ok(0) => return Life::Over(Some(Closed::Gone)),
            Ok(read) => read,
            Err(error) if again(&error) => return Life::On,
            Err(_) if self.buffer.is_empty() => return Life::Over(None),
            Err(_) => return Life::Over(Some(Closed::Gone)),
        };
        match &mut self.state {
            State::Draining(left) => {
                *left = left.saturating_sub(read);
                if *left == 0 {
                    return Life::Over(None);
                }
            }
            _ => {
                if self.buffer.is_empty() {
                    // A connection that was kept had its idle time; a head has less.
                    self.deadline = self.deadline.min(now + bounds.head_time);
                }
                self.buffer.extend_from_slice(space.get(..read).unwrap_or_default());
            }
        }
        Life::On
    }

    /// The next request of what came; `None`: it has not come whole.
    pub(super) fn request(&mut self, bounds: &Bounds) -> Result<Option<Request>, Fault> {
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let Some(end) = request::end_of_head(&self.buffer, self.scanned) else {
            // What begins like no request is not waited for.
            let begun = self.scanned == 0;
            self.scanned = self.buffer.len();
            if self.buffer.len() > bounds.head_bytes {
                return Err(request::TOO_LARGE);
            }
            if begun {
                request::parse(&self.buffer, bounds.headers)?;
            }
            return Ok(None);
        };
        if end > bounds.head_bytes {
            return Err(request::TOO_LARGE);
        }
        let head = self.buffer.get(..end).unwrap_or_default();
        let request = request::parse(head, bounds.headers)?;
        self.buffer.drain(..end);
        self.scanned = 0;
        // An end without a head: httparse and `end_of_head` disagree.
        request.map(Some).ok_or(request::TOO_LARGE)
    }

    /// Has it wait for a worker's answer.
    pub(super) fn wait(&mut self, number: u64, manner: Manner, now: Instant, bounds: &Bounds) {
        self.number = number;
        self.turn(State::Waiting(manner), now, bounds.answer_time);
    }

    /// Begins to send an answer.
    pub(super) fn answer(&mut self, answer: Answer, now: Instant, bounds: &Bounds) -> Life {
        self.turn(State::Writing(answer, 0), now, bounds.write_time);
        self.write(now, bounds)
    }

    /// Sends what there is room for.
    pub(super) fn write(&mut self, now: Instant, bounds: &Bounds) -> Life {
        let State::Writing(answer, sent) = &mut self.state else { return Life::On };
        loop {
            let rest = answer.rest(*sent);
            if rest.is_empty() {
                break;
            }
            match self.socket.write(rest) {
                Ok(written) => {
                    *sent += written;
                    self.sent += written;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Life::On,
                Err(_) => return Life::Over(Some(Closed::Gone)),
            }
        }
        if answer.keep_alive {
            let time = if self.buffer.is_empty() { bounds.idle_time } else { bounds.head_time };
            self.turn(State::Reading, now, time);
            return Life::On;
        }
        if self.socket.finish().is_err() {
            return Life::Over(None);
        }
        self.buffer = Vec::new();
        self.turn(State::Draining(DRAIN_BYTES), now, DRAIN_TIME);
        Life::On
    }

    /// Bytes that were sent since this was asked.
    pub(super) fn take_sent(&mut self) -> usize {
        mem::take(&mut self.sent)
    }

    /// Whether a head was begun.
    pub(super) fn has_begun(&self) -> bool {
        !self.buffer.is_empty()
    }
}
