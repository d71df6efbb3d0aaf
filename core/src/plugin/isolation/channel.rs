//! Messages over a Unix socket pair that keeps packets apart (SOCK_SEQPACKET).
//!
//! Nothing here blocks past the time it is given, raises SIGPIPE, or leaves a descriptor open over
//! exec. A descriptor travels with the last packet of a message, from the host to the helper only.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Instant,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
        sendmsg, socketpair,
    },
};

use super::wire::{Assembly, Bad, Frame, HEADER, MAX_PART};

/// By when something has to happen; `None`: it may take for ever.
pub(super) type Until = Option<Instant>;

/// Both ends of a new pair.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let kind = (AddressFamily::UNIX, SocketType::SEQPACKET);
    Ok(socketpair(kind.0, kind.1, SocketFlags::CLOEXEC, None)?)
}

/// The sending half of an end.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    socket: Arc<OwnedFd>,
    peer: Option<Arc<OwnedFd>>,
}

/// The receiving half of an end.
#[derive(Debug)]
pub(super) struct Receiver {
    socket: Arc<OwnedFd>,
    peer: Option<Arc<OwnedFd>>,
    assembly: Assembly,
    packet: Vec<u8>,
    /// Whether descriptors are taken; where not, the kernel drops them.
    takes_descriptors: bool,
}

/// Why nothing was sent.
#[derive(Debug)]
pub(super) enum NotSent {
    /// The other side is gone.
    Closed,
    /// The other side takes nothing in.
    Late,
    Other(io::Error),
}

/// What came, or why nothing did.
#[derive(Debug)]
pub(super) enum Received {
    Message(Frame, Option<OwnedFd>),
    /// The other side is gone.
    Closed,
    /// Nothing came in time.
    Late,
    /// What came is no message.
    Bad(Bad),
    Other(io::Error),
}

/// Splits an end of a pair.
///
/// `peer` is readable when the process at the other end is gone (a pidfd): a copy of its socket may
/// live on in a process that it forked, and then the socket alone does not tell.
pub(super) fn split(
    socket: OwnedFd,
    peer: Option<OwnedFd>,
    takes_descriptors: bool,
) -> (Sender, Receiver) {
    let (socket, peer) = (Arc::new(socket), peer.map(Arc::new));
    let receiver = Receiver {
        socket: Arc::clone(&socket),
        peer: peer.clone(),
        assembly: Assembly::default(),
        packet: vec![0; HEADER + MAX_PART + 1],
        takes_descriptors,
    };
    (Sender { socket, peer }, receiver)
}

impl Sender {
    /// Sends a message, whole. A failure in its middle leaves the other side with a torn one, so
    /// the conversation is over then.
    pub(super) fn send(
        &self,
        frame: &Frame,
        mut descriptor: Option<BorrowedFd<'_>>,
        until: Until,
    ) -> Result<(), NotSent> {
        let mut packets = frame.packets().peekable();
        while let Some(packet) = packets.next() {
            let last = packets.peek().is_none();
            let descriptor = if last { descriptor.take() } else { None };
            self.send_packet(&packet, descriptor, until)?;
        }
        Ok(())
    }

    /// Sends a message of one packet if there is room for it at once; answers whether there was.
    pub(super) fn send_now(&self, frame: &Frame) -> Result<bool, NotSent> {
        let mut packets = frame.packets();
        let (Some(packet), None) = (packets.next(), packets.next()) else { return Ok(false) };
        match self.try_packet(&packet, None) {
            Err(Errno::AGAIN) => Ok(false),
            other => other.map(|()| true).map_err(not_sent),
        }
    }

    fn send_packet(
        &self,
        packet: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
        until: Until,
    ) -> Result<(), NotSent> {
        loop {
            match self.try_packet(packet, descriptor) {
                Ok(()) => return Ok(()),
                Err(Errno::AGAIN) => {
                    match wait(&self.socket, self.peer.as_deref(), PollFlags::OUT, until) {
                        Ok(Ready::Socket) => {}
                        Ok(Ready::PeerIsGone) => return Err(NotSent::Closed),
                        Ok(Ready::Nothing) => return Err(NotSent::Late),
                        Err(error) => return Err(NotSent::Other(error.into())),
                    }
                }
                Err(error) => return Err(not_sent(error)),
            }
        }
    }

    fn try_packet(&self, packet: &[u8], descriptor: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
        let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            match sendmsg(&*self.socket, &[IoSlice::new(packet)], &mut control, flags) {
                Err(Errno::INTR) => {}
                other => return other.map(|_| ()),
            }
        }
    }
}

fn not_sent(error: Errno) -> NotSent {
    match error {
        Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => NotSent::Closed,
        other => NotSent::Other(other.into()),
    }
}

impl Receiver {
    /// The next message.
    pub(super) fn receive(&mut self, until: Until) -> Received {
        loop {
            let (len, descriptor) = match self.packet(until) {
                Ok(packet) => packet,
                Err(other) => return other,
            };
            let packet = self.packet.get(..len).unwrap_or(&[]);
            match self.assembly.push(packet) {
                Ok(Some(frame)) => return Received::Message(frame, descriptor),
                Ok(None) if descriptor.is_none() => {}
                Ok(None) => {
                    return Received::Bad(Bad("a descriptor before the last packet".into()));
                }
                Err(bad) => return Received::Bad(bad),
            }
        }
    }

    /// From now on the end of this process is the end of the conversation.
    pub(super) fn watch(&mut self, peer: Option<OwnedFd>) {
        self.peer = peer.map(Arc::new);
    }

    /// Whether nothing can be received: no message waits, and the other side is there.
    pub(super) fn is_quiet(&self) -> bool {
        matches!(self.wait(Some(Instant::now())), Ok(Ready::Nothing))
    }

    fn wait(&self, until: Until) -> Result<Ready, Errno> {
        wait(&self.socket, self.peer.as_deref(), PollFlags::IN, until)
    }

    fn packet(&mut self, until: Until) -> Result<(usize, Option<OwnedFd>), Received> {
        let (mut last, mut reset) = (false, false);
        loop {
            match self.try_packet() {
                Ok(packet) => return packet,
                // What it said before it ended has been read.
                Err(Errno::AGAIN) if last => return Err(Received::Closed),
                Err(Errno::AGAIN) => match self.wait(until) {
                    Ok(Ready::Socket) => {}
                    Ok(Ready::PeerIsGone) => last = true,
                    Ok(Ready::Nothing) => return Err(Received::Late),
                    Err(error) => return Err(Received::Other(error.into())),
                },
                Err(Errno::INTR) => {}
                // Once, when the peer closed without having read all: what it said comes after it.
                Err(Errno::CONNRESET) if !reset => reset = true,
                Err(Errno::CONNRESET) => return Err(Received::Closed),
                Err(error) => return Err(Received::Other(error.into())),
            }
        }
    }

    fn try_packet(&mut self) -> Result<Result<(usize, Option<OwnedFd>), Received>, Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let room = if self.takes_descriptors { &mut space[..] } else { &mut [] };
        let mut control = RecvAncillaryBuffer::new(room);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let mut into = [IoSliceMut::new(&mut self.packet)];
        let got = recvmsg(&*self.socket, &mut into, &mut control, flags)?;
        let mut descriptor = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                // Dropping one closes it: what nobody asked for does not stay open.
                descriptor = descriptors.last();
            }
        }
        Ok(if got.bytes == 0 {
            // Nobody sends an empty packet: it is the end.
            Err(Received::Closed)
        } else if got.flags.contains(ReturnFlags::TRUNC) {
            Err(Received::Bad(Bad("a packet that is too long".into())))
        } else if got.flags.contains(ReturnFlags::CTRUNC) && self.takes_descriptors {
            Err(Received::Bad(Bad("a descriptor that found no room: too many are open".into())))
        } else {
            Ok((got.bytes, descriptor))
        })
    }
}

/// What is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ready {
    Socket,
    PeerIsGone,
    /// The time was over first.
    Nothing,
}

fn wait(
    socket: &OwnedFd,
    peer: Option<&OwnedFd>,
    what: PollFlags,
    until: Until,
) -> Result<Ready, Errno> {
    let socket = PollFd::from_borrowed_fd(socket.as_fd(), what);
    // The same twice is as good as once.
    let peer = peer.map(|peer| PollFd::from_borrowed_fd(peer.as_fd(), PollFlags::IN));
    let mut both = [socket.clone(), peer.unwrap_or(socket)];
    let ready = poll_until(&mut both, until)?;
    let [socket, _] = both;
    Ok(match ready {
        false => Ready::Nothing,
        true if socket.revents().is_empty() => Ready::PeerIsGone,
        true => Ready::Socket,
    })
}

/// Waits for one descriptor; `false`: the time was over first.
pub(super) fn wait_for(descriptor: BorrowedFd<'_>, until: Until) -> Result<bool, Errno> {
    poll_until(&mut [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)], until)
}

fn poll_until(descriptors: &mut [PollFd<'_>], until: Until) -> Result<bool, Errno> {
    loop {
        let left = until.map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        match poll(descriptors, left.as_ref()) {
            Err(Errno::INTR) => {}
            other => return other.map(|ready| ready > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read, time::Duration};

    use proptest::prelude::*;

    use super::*;
    use crate::plugin::isolation::wire::MAX_PAYLOAD;

    fn soon() -> Until {
        Some(Instant::now() + Duration::from_secs(20))
    }

    fn ends() -> (Sender, Receiver, Sender, Receiver) {
        let (host, helper) = pair().unwrap();
        let (host, helper) = (split(host, None, false), split(helper, None, true));
        (host.0, host.1, helper.0, helper.1)
    }

    #[test]
    fn a_long_message_arrives_whole_with_its_descriptor() {
        let (sender, _host, _helper, mut receiver) = ends();
        let frame = Frame { kind: 9, payload: vec![7; MAX_PAYLOAD] };
        let sent = frame.clone();
        let thread = std::thread::spawn(move || {
            let file = File::open("/proc/self/stat").unwrap();
            // More than the socket holds: it waits for the receiver, not for ever.
            sender.send(&sent, Some(file.as_fd()), soon()).map_err(|e| format!("{e:?}"))
        });
        let Received::Message(got, Some(descriptor)) = receiver.receive(soon()) else {
            panic!("no message with a descriptor");
        };
        thread.join().unwrap().unwrap();
        assert!(got == frame);
        let mut text = String::new();
        File::from(descriptor).read_to_string(&mut text).unwrap();
        assert!(text.starts_with(&std::process::id().to_string()), "{text}");
    }

    #[test]
    fn a_side_that_takes_no_descriptors_gets_none_and_keeps_none_open() {
        let (_sender, mut receiver, helper, _receiver) = ends();
        let (read, write) = std::io::pipe().unwrap();
        let frame = Frame { kind: 1, payload: vec![] };
        helper.send(&frame, Some(write.as_fd()), soon()).unwrap();
        drop(write);
        assert!(matches!(receiver.receive(soon()), Received::Message(_, None)));
        // The end of the pipe is only seen when no writer is left.
        let mut read = read;
        assert_eq!(read.read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn a_peer_that_is_gone_or_silent_is_told_apart() {
        let (sender, mut receiver, helper, other) = ends();
        assert!(receiver.is_quiet());
        let soon = Some(Instant::now() + Duration::from_millis(10));
        assert!(matches!(receiver.receive(soon), Received::Late));
        let frame = Frame { kind: 1, payload: vec![0; MAX_PART] };
        let full = loop {
            match sender.send_now(&frame) {
                Ok(true) => {}
                other => break other,
            }
        };
        assert!(matches!(full, Ok(false)));
        let late = sender.send(&frame, None, Some(Instant::now() + Duration::from_millis(10)));
        assert!(matches!(late, Err(NotSent::Late)));
        drop((helper, other));
        assert!(!receiver.is_quiet());
        assert!(matches!(receiver.receive(None), Received::Closed));
        assert!(matches!(sender.send(&frame, None, None), Err(NotSent::Closed)));
    }

    #[test]
    fn last_words_are_heard_though_the_peer_did_not_listen() {
        let (sender, mut receiver, helper, other) = ends();
        let (unread, last) =
            (Frame { kind: 1, payload: vec![1] }, Frame { kind: 2, payload: vec![] });
        sender.send(&unread, None, soon()).unwrap();
        helper.send(&last, None, soon()).unwrap();
        drop((helper, other));
        assert!(
            matches!(receiver.receive(soon()), Received::Message(frame, None) if frame == last)
        );
        assert!(matches!(receiver.receive(soon()), Received::Closed));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn packets_of_garbage_are_bad_and_the_end_is_the_end(
            packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 0..8))
        {
            let (host, helper) = pair().unwrap();
            let (_sender, mut receiver) = split(host, None, false);
            for packet in &packets {
                rustix::net::send(&helper, packet, SendFlags::NOSIGNAL).unwrap();
            }
            drop(helper);
            for _ in &packets {
                prop_assert!(matches!(
                    receiver.receive(soon()),
                    Received::Bad(_) | Received::Message(..)
                ));
            }
            prop_assert!(matches!(receiver.receive(soon()), Received::Closed));
        }
    }
}
