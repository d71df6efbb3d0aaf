//! Bytes of messages: packets with a header, and the fields inside.
//!
//! A message is one or more packets of one kind; all but the last have [`MORE`] set.
//!
//! ```text
//! 0 4 magic "TLYI"    6 2 kind       12 4 bytes that follow
//! 4 2 version         8 4 flags      16 … the payload's next part, at most MAX_PART bytes
//! ```
//!
//! Integers are little-endian, text and lists have a length before them. Whoever receives trusts
//! nothing: lengths, versions, counts and the end are checked, and no count makes memory.

use std::fmt;

/// Version of the protocol. Host and helper are of one release; another version is refused.
pub(super) const VERSION: u16 = 1;
/// Bytes of a packet's header.
pub(super) const HEADER: usize = 16;
/// Most payload bytes of one packet.
pub(super) const MAX_PART: usize = 48 * 1024;
/// Most payload bytes of one message: options, schemas of options and texts are far below.
pub(super) const MAX_PAYLOAD: usize = 4 << 20;

const MAGIC: [u8; 4] = *b"TLYI";
/// Another packet of the same message follows.
const MORE: u32 = 1;

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bad(pub(super) String);

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn bad<T>(what: impl Into<String>) -> Result<T, Bad> {
    Err(Bad(what.into()))
}

/// A whole message before its fields are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u16,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// The packets of this message, in order.
    pub(super) fn packets(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        let empty = self.payload.is_empty().then_some(&[][..]);
        let parts = empty.into_iter().chain(self.payload.chunks(MAX_PART));
        let count = self.payload.len().div_ceil(MAX_PART).max(1);
        parts.enumerate().map(move |(index, part)| {
            let flags = if index + 1 < count { MORE } else { 0 };
            let mut packet = Vec::with_capacity(HEADER + part.len());
            packet.extend_from_slice(&MAGIC);
            packet.extend_from_slice(&VERSION.to_le_bytes());
            packet.extend_from_slice(&self.kind.to_le_bytes());
            packet.extend_from_slice(&flags.to_le_bytes());
            packet.extend_from_slice(&(part.len() as u32).to_le_bytes());
            packet.extend_from_slice(part);
            packet
        })
    }
}

/// Puts packets together.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    begun: Option<Frame>,
}

impl Assembly {
    /// Takes a packet; answers a message when it was the last one of it.
    pub(super) fn push(&mut self, packet: &[u8]) -> Result<Option<Frame>, Bad> {
        let mut header = Reader::new(packet.get(..HEADER).unwrap_or(packet));
        if header.take(4)? != MAGIC {
            return bad("a packet does not begin as one");
        }
        let version = header.u16()?;
        if version != VERSION {
            return bad(format!(
                "the other side speaks version {version} of the protocol, this one {VERSION}: \
                 install library and helper of one release"
            ));
        }
        let (kind, flags, len) = (header.u16()?, header.u32()?, header.u32()?);
        let part = packet.get(HEADER..).unwrap_or(&[]);
        if part.len() != len as usize || part.len() > MAX_PART {
            return bad(format!("a packet says {len} bytes and has {}", part.len()));
        }
        let more = match flags {
            0 => false,
            MORE if part.is_empty() => return bad("an empty packet that goes on"),
            MORE => true,
            _ => return bad(format!("a packet has unknown flags {flags:#x}")),
        };
        let mut frame = match self.begun.take() {
            Some(begun) if begun.kind != kind => {
                return bad(format!("message {} is cut by message {kind}", begun.kind));
            }
            Some(begun) => begun,
            None => Frame { kind, payload: Vec::new() },
        };
        if frame.payload.len() + part.len() > MAX_PAYLOAD {
            return bad(format!("message {kind} is longer than {MAX_PAYLOAD} bytes"));
        }
        frame.payload.extend_from_slice(part);
        if more {
            self.begun = Some(frame);
            return Ok(None);
        }
        Ok(Some(frame))
    }
}

/// Writes fields.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        // A longer one does not fit into a message either: the receiver refuses it by its end.
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A list: its length, then each item.
    pub(super) fn list<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        self.u32(u32::try_from(items.len()).unwrap_or(u32::MAX));
        for one in items {
            item(self, one);
        }
    }

    /// Whether something is there, then it.
    pub(super) fn option<T>(&mut self, value: Option<T>, item: impl FnOnce(&mut Self, T)) {
        self.u32(u32::from(value.is_some()));
        if let Some(value) = value {
            item(self, value);
        }
    }

    pub(super) fn frame(self, kind: u16) -> Frame {
        Frame { kind, payload: self.0 }
    }
}

/// Reads fields.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Bad> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return bad(format!("{len} bytes are missing; {} are left", self.rest.len()));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Bad> {
        self.take(N)?.try_into().map_err(|_| Bad("a field is cut".into()))
    }

    fn u16(&mut self) -> Result<u16, Bad> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Bad> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Bad> {
        self.array().map(i32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Bad> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Bad> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    pub(super) fn text(&mut self) -> Result<String, Bad> {
        match str::from_utf8(self.bytes()?) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => bad(format!("text is not UTF-8 at byte {}", error.valid_up_to())),
        }
    }

    /// A list of at most `most` items.
    pub(super) fn list<T>(
        &mut self,
        most: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, Bad>,
    ) -> Result<Vec<T>, Bad> {
        let count = self.u32()? as usize;
        if count > most {
            return bad(format!("a list of {count} items; at most {most}"));
        }
        // Grown as items come: a count alone takes no memory.
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    pub(super) fn option<T>(
        &mut self,
        item: impl FnOnce(&mut Self) -> Result<T, Bad>,
    ) -> Result<Option<T>, Bad> {
        match self.u32()? {
            0 => Ok(None),
            1 => item(self).map(Some),
            other => bad(format!("{other} is neither there nor absent")),
        }
    }

    /// What is left is nothing.
    pub(super) fn end(self) -> Result<(), Bad> {
        if self.rest.is_empty() {
            return Ok(());
        }
        bad(format!("{} bytes are left over", self.rest.len()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assemble(packets: impl Iterator<Item = Vec<u8>>) -> Result<Option<Frame>, Bad> {
        let mut assembly = Assembly::default();
        let mut last = Ok(None);
        for packet in packets {
            assert_eq!(last, Ok(None), "a message ended before its last packet");
            last = assembly.push(&packet);
        }
        last
    }

    #[test]
    fn a_message_of_any_length_is_put_together_again() {
        for len in [0, 1, MAX_PART - 1, MAX_PART, MAX_PART + 1, 3 * MAX_PART, MAX_PAYLOAD] {
            let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let frame = Frame { kind: 7, payload };
            assert_eq!(assemble(frame.packets()), Ok(Some(frame.clone())), "{len}");
        }
    }

    #[test]
    fn a_message_that_grows_without_end_is_refused() {
        let part = Frame { kind: 7, payload: vec![0; 2 * MAX_PART] }.packets().next().unwrap();
        let mut assembly = Assembly::default();
        let mut pushed = 0;
        let refused = loop {
            match assembly.push(&part) {
                Ok(None) => pushed += 1,
                Ok(Some(_)) => panic!("a message without an end came to one"),
                Err(refused) => break refused,
            }
        };
        assert!(pushed <= MAX_PAYLOAD / MAX_PART, "{pushed}");
        assert!(refused.0.contains("longer than"), "{refused}");
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let good = Frame { kind: 3, payload: b"abc".to_vec() }.packets().next().unwrap();
        let says = |at: usize, byte: u8, what: &str| {
            let mut packet = good.clone();
            packet[at] = byte;
            let refused = Assembly::default().push(&packet).unwrap_err();
            assert!(refused.0.contains(what), "{what}: {refused}");
        };
        says(0, b'X', "does not begin");
        says(4, 2, "version 2");
        says(8, 2, "unknown flags");
        says(12, 4, "says 4 bytes and has 3");
        says(15, 0xff, "says 4278190083 bytes");
        let mut empty = Frame { kind: 3, payload: vec![] }.packets().next().unwrap();
        empty[8] = 1;
        let refused = Assembly::default().push(&empty).unwrap_err();
        assert!(refused.0.contains("empty packet"), "{refused}");
        let mut assembly = Assembly::default();
        let begin = Frame { kind: 1, payload: vec![0; MAX_PART + 1] }.packets().next().unwrap();
        assert_eq!(assembly.push(&begin), Ok(None));
        assert!(assembly.push(&good).unwrap_err().0.contains("is cut by"));
    }

    proptest! {
        #[test]
        fn garbage_makes_no_panic_and_no_memory(packets in prop::collection::vec(
            prop::collection::vec(any::<u8>(), 0..64), 0..8))
        {
            let mut assembly = Assembly::default();
            for packet in packets {
                if let Ok(Some(frame)) = assembly.push(&packet) {
                    prop_assert!(frame.payload.len() <= packet.len());
                }
            }
        }

        #[test]
        fn a_list_that_says_more_than_it_has_is_refused(count in 1_u32.., tail in 0_usize..3) {
            let mut bytes = count.to_le_bytes().to_vec();
            bytes.resize(4 + tail, 0);
            let mut reader = Reader::new(&bytes);
            prop_assert!(reader.list(usize::MAX, Reader::u64).is_err());
        }
    }
}
