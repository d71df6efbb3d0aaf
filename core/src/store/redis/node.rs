//! One server: bytes out, values in, all before one deadline.
//!
//! The redis crate packs commands; the socket and what reads replies are ours.

use std::{
    io::{self, Write},
    time::Instant,
};

use redis::Cmd;

use super::{
    super::socket::{Address, Socket, failed},
    reply::{Replies, Reply},
};
use crate::model::Error;

/// A connection to one server, made when it is needed and after a fork anew.
pub(super) struct Node {
    pub(super) address: Address,
    open: Option<Open>,
}

struct Open {
    /// The process that made it.
    owner: u32,
    socket: Socket,
    replies: Replies,
    /// Whether it has answered before.
    proven: bool,
}

/// Why an exchange failed.
pub(super) struct Fault {
    pub(super) error: Error,
    /// The connection had answered before, and was gone without a word this time.
    pub(super) gone: bool,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Node {
    pub(super) fn new(address: Address) -> Self {
        Self { address, open: None }
    }

    /// Whether the connection is there, this process's own and still its server's.
    pub(super) fn is_open(&mut self) -> bool {
        // A parent's: closing our descriptor of it tells the server nothing.
        let usable = |open: &Open| {
            open.owner == std::process::id() && open.replies.is_empty() && open.socket.is_idle()
        };
        if !self.open.as_ref().is_some_and(usable) {
            self.open = None;
        }
        self.open.is_some()
    }

    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Connects.
    pub(super) fn connect(&mut self, deadline: Instant) -> Result<(), Error> {
        let socket = Socket::connect(&self.address, deadline);
        let socket = socket.map_err(|error| self.failed("connect", &error, deadline))?;
        let (owner, replies) = (std::process::id(), Replies::default());
        self.open = Some(Open { owner, socket, replies, proven: false });
        Ok(())
    }

    /// Sends commands in one piece over the open connection and reads as many replies; errors of the
    /// server are replies.
    ///
    /// After an error the connection is closed: what comes on it later belongs to nothing.
    pub(super) fn exchange<R: Reply>(
        &mut self,
        commands: &[Cmd],
        deadline: Instant,
    ) -> Result<Vec<R>, Fault> {
        let Some(open) = &mut self.open else {
            let error = self.failed("talk to", &io::ErrorKind::NotConnected.into(), deadline);
            return Err(Fault { error, gone: false });
        };
        match open.exchange(commands, deadline) {
            Ok(replies) => Ok(replies),
            Err((error, heard)) => {
                let gone = open.proven && !heard && Instant::now() < deadline;
                self.close();
                Err(Fault { error: self.failed("talk to", &error, deadline), gone })
            }
        }
    }

    fn failed(&self, what: &str, error: &io::Error, deadline: Instant) -> Error {
        failed(format_args!("Redis store: {what} {}", self.address), error, deadline)
    }
}

impl Open {
    /// An error says whether anything was heard before it.
    fn exchange<R: Reply>(
        &mut self,
        commands: &[Cmd],
        deadline: Instant,
    ) -> Result<Vec<R>, (io::Error, bool)> {
        let mut timed = self.socket.timed(deadline);
        let mut bytes = Vec::new();
        for command in commands {
            command.write_packed_command(&mut bytes);
        }
        timed.write_all(&bytes).map_err(|error| (error, false))?;
        let mut replies = Vec::with_capacity(commands.len());
        for _ in commands {
            let reply = R::read(&mut self.replies, &mut timed);
            replies.push(reply.map_err(|error| (error, timed.has_heard()))?);
        }
        self.proven = true;
        Ok(replies)
    }
}
