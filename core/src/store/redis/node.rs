//! One server: bytes out, values in, all before one deadline.
//!
//! The redis crate packs commands and parses replies; the socket is ours, because a deadline is for
//! a whole step and not for each read: a stopped server still accepts connections, and one that
//! sends a byte a second never times out by reads.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use redis::{Cmd, Parser, Value};

use crate::model::{Error, ErrorKind};

/// Most bytes of replies in one exchange.
const MAX_REPLY_BYTES: u64 = 1 << 30;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// Host and port.
    Tcp(String, u16),
    /// Path of a socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

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
        let socket = match &self.address {
            Address::Unix(path) => UnixStream::connect(path).map(Socket::Unix),
            Address::Tcp(host, port) => connect_tcp(host, *port, deadline).map(Socket::Tcp),
        };
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
        let mut timed = Timed { socket, deadline, room: MAX_REPLY_BYTES };
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
        let timed_out = matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock);
        let message = format!("Redis store: {what} {}", self.address);
        if timed_out || Instant::now() >= deadline {
            return Error::new(ErrorKind::Timeout, format!("{message}: the deadline passed"));
        }
        Error::io(message, error)
    }
}

fn connect_tcp(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(deadline)?) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What is left until a deadline.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// A socket each of whose calls ends before the deadline.
struct Timed<'a> {
    socket: &'a mut Socket,
    deadline: Instant,
    room: u64,
}

impl Read for &mut Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.uninterrupted(|socket, left| match socket {
            Socket::Tcp(stream) => {
                stream.set_read_timeout(left)?;
                stream.read(buffer)
            }
            Socket::Unix(stream) => {
                stream.set_read_timeout(left)?;
                stream.read(buffer)
            }
        })?;
        self.room = self.room.checked_sub(read as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "a reply of more than 1 GiB")
        })?;
        Ok(read)
    }
}

impl Timed<'_> {
    /// Calls until it was not interrupted: a stopped process that goes on is, with a timeout set.
    fn uninterrupted(
        &mut self,
        mut call: impl FnMut(&mut Socket, Option<Duration>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            let left = Some(left(self.deadline)?);
            match call(self.socket, left) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.uninterrupted(|socket, left| match socket {
            Socket::Tcp(stream) => {
                stream.set_write_timeout(left)?;
                stream.write(bytes)
            }
            Socket::Unix(stream) => {
                stream.set_write_timeout(left)?;
                stream.write(bytes)
            }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
