//! A socket to a server, all of whose calls end before one deadline.
//!
//! A deadline is for a whole step and not for each read: a stopped server still accepts connections,
//! and one that sends a byte a second never times out by reads.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
        socket_with, sockopt,
    },
};

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

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    pub(super) fn connect(address: &Address, deadline: Instant) -> io::Result<Self> {
        match address {
            Address::Unix(path) => connect_unix(path, deadline).map(Self::Unix),
            Address::Tcp(host, port) => connect_tcp(host, *port, deadline).map(Self::Tcp),
        }
    }

    /// Whether a connection on which no reply is awaited can be used. A server that closed it
    /// meanwhile, or said something that nobody asked for, is to be connected to anew.
    ///
    /// Nothing has been sent then, so that is safe for every step.
    pub(super) fn is_idle(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let mut byte = [0_u8; 1];
        let seen = match self {
            Self::Tcp(stream) => recv(stream, &mut byte, flags),
            Self::Unix(stream) => recv(stream, &mut byte, flags),
        };
        matches!(seen, Err(Errno::AGAIN))
    }

    /// The socket for one exchange.
    pub(super) fn timed(&mut self, deadline: Instant) -> Timed<'_> {
        Timed { socket: self, deadline, room: MAX_REPLY_BYTES }
    }
}

/// Whether an exchange may be done a second time, on a fresh connection, where the first one was gone
/// without a word: what it asked for may have taken place, or may still do so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Reads, and what changes nothing when it comes twice.
    Safe,
    /// The caller has to learn that it does not know.
    Never,
}

/// An error of a socket, as one of a store: the deadline's end or what the system said.
pub(super) fn failed(what: impl fmt::Display, error: &io::Error, deadline: Instant) -> Error {
    let timed_out = matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock);
    if timed_out || Instant::now() >= deadline {
        return Error::new(ErrorKind::Timeout, format!("{what}: the deadline passed"));
    }
    Error::io(what, error)
}

/// Looks a name up, for as long as the system's resolver takes, and connects to one of its addresses.
fn connect_tcp(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    connect_any(&addresses, deadline)
}

/// Connects to the first address that answers. None takes the time of those behind it.
fn connect_any(addresses: &[SocketAddr], deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut rest = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        let share = left(deadline)? / rest.max(1);
        rest = rest.saturating_sub(1);
        match TcpStream::connect_timeout(address, share.max(Duration::from_millis(1))) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Connects to a socket of this host. Its server may not take connections: the one who waits in the
/// system's queue then waits no longer than the deadline.
fn connect_unix(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    loop {
        // Each write sets its own later.
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(left(deadline)?))?;
        match connect(&socket, &address) {
            Ok(()) => return Ok(UnixStream::from(socket)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What is left until a deadline.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// A socket each of whose calls ends before the deadline.
pub(super) struct Timed<'a> {
    socket: &'a mut Socket,
    deadline: Instant,
    room: u64,
}

impl Read for Timed<'_> {
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
    /// Whether anything was read.
    #[cfg(feature = "store-redis")]
    pub(super) fn has_heard(&self) -> bool {
        self.room < MAX_REPLY_BYTES
    }

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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use rustix::net::{bind, listen};

    use super::*;

    /// An address whose queue is full: a connection to it is neither taken nor refused.
    fn black_hole() -> (SocketAddr, Vec<TcpStream>, TcpListener) {
        let socket =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let socket = socket.unwrap();
        bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        listen(&socket, 0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(one) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            waiting.push(one);
            assert!(waiting.len() < 100, "its queue has no end");
        }
        (address, waiting, listener)
    }

    #[test]
    fn an_address_that_does_not_answer_leaves_time_for_the_next() {
        let (hole, _waiting, _listener) = black_hole();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let good = listener.local_addr().unwrap();
        let (start, all) = (Instant::now(), Duration::from_secs(2));
        let stream = connect_any(&[hole, good], start + all).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert!(start.elapsed() < all, "{:?}", start.elapsed());
        // Alone it has all of the time.
        let (start, all) = (Instant::now(), Duration::from_millis(300));
        let error = connect_any(&[hole], start + all).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        let took = start.elapsed();
        assert!(took >= all - Duration::from_millis(20) && took < all * 10, "{took:?}");
    }
}
