//! Sockets that a forked child does not keep.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use crate::model::{gate, platform::inherited};

/// A descriptor that is noted while it is open: opened, noted and closed inside the gate.
#[derive(Debug)]
struct Noted<T: AsFd>(Option<T>);

impl<T: AsFd> Noted<T> {
    /// Opens one; `open` must not wait for anything.
    fn open(open: impl FnOnce() -> io::Result<T>) -> io::Result<Self> {
        gate::within(|| {
            let descriptor = open()?;
            if !inherited::note(&descriptor) {
                return Err(io::Error::other("the descriptor's number is too high"));
            }
            Ok(Self(Some(descriptor)))
        })
    }

    fn get(&self) -> io::Result<&T> {
        // It is there until it is dropped.
        self.0.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<T: AsFd> Drop for Noted<T> {
    fn drop(&mut self) {
        if let Some(descriptor) = self.0.take() {
            gate::within(|| {
                inherited::forget(&descriptor);
                drop(descriptor);
            });
        }
    }
}

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listener(Noted<TcpListener>);

impl Listener {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = Noted::open(|| TcpListener::bind(address))?;
        listener.get()?.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.0.get()?.local_addr()
    }

    /// A connection that waits; WouldBlock where none does.
    pub(super) fn accept(&self) -> io::Result<Socket> {
        let listener = self.0.get()?;
        let stream = Noted::open(|| listener.accept().map(|(stream, _)| stream))?;
        stream.get()?.set_nonblocking(true)?;
        // Heads and small answers are one segment each; it fails where the client is gone already.
        let _ = stream.get()?.set_nodelay(true);
        Ok(Socket(stream))
    }

    pub(super) fn descriptor(&self) -> io::Result<BorrowedFd<'_>> {
        Ok(self.0.get()?.as_fd())
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Socket(Noted<TcpStream>);

impl Socket {
    pub(super) fn descriptor(&self) -> io::Result<BorrowedFd<'_>> {
        Ok(self.0.get()?.as_fd())
    }

    /// What came, without waiting for it.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.get()?.read(buffer)
    }

    /// Sends what there is room for.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get()?.write(bytes)
    }

    /// Tells the client that nothing more comes.
    pub(super) fn finish(&self) -> io::Result<()> {
        self.0.get()?.shutdown(Shutdown::Write)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A child that was made past the C library may have a copy: the client is told all the same.
        if let Ok(stream) = self.0.get() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// How other threads end the poller's wait.
#[derive(Debug)]
pub(super) struct Bell {
    ring: Noted<UnixStream>,
    hear: Noted<UnixStream>,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        let (ring, hear) = gate::within(|| {
            let (ring, hear) = UnixStream::pair()?;
            Ok::<_, io::Error>((Noted::open(|| Ok(ring))?, Noted::open(|| Ok(hear))?))
        })?;
        ring.get()?.set_nonblocking(true)?;
        hear.get()?.set_nonblocking(true)?;
        Ok(Self { ring, hear })
    }

    pub(super) fn ring(&self) {
        // A full socket rings already.
        let _ = self.ring.get().and_then(|mut ring| ring.write(&[1]));
    }

    /// Until it is rung again.
    pub(super) fn silence(&self) {
        let mut rings = [0; 256];
        while self.hear.get().and_then(|mut hear| hear.read(&mut rings)).is_ok_and(|read| read > 0)
        {
        }
    }

    pub(super) fn descriptor(&self) -> io::Result<BorrowedFd<'_>> {
        Ok(self.hear.get()?.as_fd())
    }
}
