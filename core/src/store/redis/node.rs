//! One server: bytes out, values in, all before one deadline.
//!
//! The redis crate packs commands and parses replies; the socket is ours.

use std::{
    io::{self, Write},
    time::Instant,
};

use redis::{Cmd, Parser, Value};

use super::super::socket::{Address, Socket, failed};
use crate::model::Error;

/// A connection to one server, made when it is needed and after a fork anew.
pub(super) struct Node {
    pub(super) address: Address,
    open: Option<(u32, Socket, Parser)>,
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

    /// Whether the connection is there and this process's own.
    pub(super) fn is_open(&mut self) -> bool {
        if self.open.as_ref().is_some_and(|(owner, ..)| *owner != std::process::id()) {
            // The parent's: closing our descriptor of it tells the server nothing.
            self.open = None;
        }
        self.open.is_some()
    }

    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Connects, unless it is connected.
    pub(super) fn connect(&mut self, deadline: Instant) -> Result<(), Error> {
        if self.is_open() {
            return Ok(());
        }
        let socket = Socket::connect(&self.address, deadline);
        let socket = socket.map_err(|error| self.failed("connect", &error, deadline))?;
        self.open = Some((std::process::id(), socket, Parser::new()));
        Ok(())
    }

    /// Sends commands in one piece and reads as many replies; errors of the server are replies.
    ///
    /// After an error the connection is closed: what comes on it later belongs to nothing.
    pub(super) fn exchange(
        &mut self,
        commands: &[Cmd],
        deadline: Instant,
    ) -> Result<Vec<Value>, Error> {
        self.connect(deadline)?;
        let result = self.try_exchange(commands, deadline);
        result.map_err(|error| {
            self.close();
            self.failed("talk to", &error, deadline)
        })
    }

    fn try_exchange(&mut self, commands: &[Cmd], deadline: Instant) -> io::Result<Vec<Value>> {
        let Some((_, socket, parser)) = &mut self.open else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let mut timed = socket.timed(deadline);
        let mut bytes = Vec::new();
        for command in commands {
            command.write_packed_command(&mut bytes);
        }
        timed.write_all(&bytes)?;
        let mut replies = Vec::with_capacity(commands.len());
        for _ in commands {
            let value = parser.parse_value(&mut timed).map_err(|error| {
                let passed = Instant::now() >= deadline;
                let kind =
                    if passed { io::ErrorKind::TimedOut } else { io::ErrorKind::InvalidData };
                io::Error::new(kind, error.to_string())
            })?;
            replies.push(value);
        }
        Ok(replies)
    }

    fn failed(&self, what: &str, error: &io::Error, deadline: Instant) -> Error {
        failed(format_args!("Redis store: {what} {}", self.address), error, deadline)
    }
}
