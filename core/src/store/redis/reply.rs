//! Replies of a server, read from a buffer of our own: what instances published comes in hundreds of
//! thousands of strings. Anything may come instead.

use std::io::{self, Read};

use redis::Value;

use super::super::Pairs;

/// Bytes that are asked for at once.
const CHUNK: usize = 128 << 10;
/// Longest line: of an error.
const LINE: usize = 64 << 10;
/// How deep arrays lie in arrays.
const DEPTH: usize = 16;
/// Room that is made for a string or an array before any of it has come.
const ROOM: usize = 64 << 10;

/// What a command is answered with, as its caller wants it.
pub(super) trait Reply: Sized {
    /// Reads one; an error of the server is one too.
    fn read(replies: &mut Replies, from: &mut impl Read) -> io::Result<Self>;

    /// What may be an error of the server.
    fn value(&self) -> Option<&Value>;
}

impl Reply for Value {
    fn read(replies: &mut Replies, from: &mut impl Read) -> io::Result<Self> {
        replies.value(from, 0)
    }

    fn value(&self) -> Option<&Value> {
        Some(self)
    }
}

/// A hash, which may have hundreds of thousands of fields.
#[derive(Debug, PartialEq)]
pub(super) enum Hash {
    /// Its fields and their values.
    Fields(Pairs),
    /// None.
    Other(Value),
}

impl Reply for Hash {
    fn read(replies: &mut Replies, from: &mut impl Read) -> io::Result<Self> {
        let end = replies.line(from)?;
        match replies.buffer.get(replies.at..end).unwrap_or_default().split_first() {
            Some((b'*', rest)) => {
                let Some(count) = count(rest)? else {
                    replies.at = end;
                    return Ok(Self::Other(Value::Nil));
                };
                replies.at = end;
                replies.fields(from, count).map(Self::Fields)
            }
            _ => replies.value(from, 0).map(Self::Other),
        }
    }

    fn value(&self) -> Option<&Value> {
        match self {
            Self::Fields(_) => None,
            Self::Other(value) => Some(value),
        }
    }
}

/// Bytes that have come and were not read yet.
#[derive(Debug, Default)]
pub(super) struct Replies {
    buffer: Vec<u8>,
    at: usize,
}

fn nonsense(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("what came is no reply of Redis: {what}"))
}

impl Replies {
    /// Whether more has come than was read.
    pub(super) fn is_empty(&self) -> bool {
        self.at == self.buffer.len()
    }

    fn value(&mut self, from: &mut impl Read, depth: usize) -> io::Result<Value> {
        let end = self.line(from)?;
        let line = self.buffer.get(self.at..end).unwrap_or_default();
        let (sort, rest) = line.split_first().ok_or_else(|| nonsense("an empty line"))?;
        match *sort {
            sort @ (b'$' | b'*') => {
                let count = count(rest)?;
                self.at = end;
                match (sort, count) {
                    (_, None) => Ok(Value::Nil),
                    (b'$', Some(len)) => {
                        let mut bytes = Vec::new();
                        self.string(from, len, &mut bytes)?;
                        Ok(Value::BulkString(bytes))
                    }
                    (_, Some(_)) if depth >= DEPTH => Err(nonsense("arrays in arrays")),
                    (_, Some(count)) => {
                        let mut values = Vec::with_capacity(count.min(ROOM));
                        for _ in 0..count {
                            values.push(self.value(from, depth + 1)?);
                        }
                        Ok(Value::Array(values))
                    }
                }
            }
            b'+' | b'-' | b':' => {
                let value = redis::parse_redis_value(line);
                self.at = end;
                value.map_err(|error| nonsense(&error.to_string()))
            }
            _ => {
                let begin = line.get(..16).unwrap_or(line);
                Err(nonsense(&begin.escape_ascii().to_string()))
            }
        }
    }

    /// Where the line that begins here ends, behind its end.
    fn line(&mut self, from: &mut impl Read) -> io::Result<usize> {
        let mut looked = self.at;
        loop {
            let new = self.buffer.get(looked..).unwrap_or_default();
            if let Some(end) = new.iter().position(|byte| *byte == b'\n') {
                return Ok(looked + end + 1);
            }
            let begun = self.buffer.len() - self.at;
            if begun > LINE {
                return Err(nonsense("a line without an end"));
            }
            self.more(from)?;
            looked = self.at + begun;
        }
    }

    /// The strings of an array, two by two.
    fn fields(&mut self, from: &mut impl Read, count: usize) -> io::Result<Pairs> {
        if !count.is_multiple_of(2) {
            return Err(nonsense("a field without a value"));
        }
        let mut pairs = Pairs::with_capacity((count / 2).min(ROOM), 0);
        for _ in 0..count / 2 {
            pairs.push_with(|bytes| {
                let end = self.line(from)?;
                let line = self.buffer.get(self.at..end).unwrap_or_default();
                let len = match line.split_first() {
                    Some((b'$', rest)) => self::count(rest)?,
                    _ => None,
                };
                self.at = end;
                let len = len.ok_or_else(|| nonsense("a hash of something else than strings"))?;
                self.string(from, len, bytes)
            })?;
        }
        Ok(pairs)
    }

    /// The bytes of a string, appended, and its end.
    fn string(&mut self, from: &mut impl Read, len: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.reserve(len.min(ROOM));
        let mut left = len;
        while left > 0 {
            if self.is_empty() {
                self.more(from)?;
            }
            let here = self.buffer.get(self.at..).unwrap_or_default();
            let part = here.get(..left).unwrap_or(here);
            bytes.extend_from_slice(part);
            self.at += part.len();
            left -= part.len();
        }
        while self.buffer.len() - self.at < 2 {
            self.more(from)?;
        }
        if self.buffer.get(self.at..self.at + 2) != Some(b"\r\n") {
            return Err(nonsense("a string that does not end where it should"));
        }
        self.at += 2;
        Ok(())
    }

    /// Takes in more, in the place of what was read.
    fn more(&mut self, from: &mut impl Read) -> io::Result<()> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let begun = self.buffer.len();
        self.buffer.resize(begun + CHUNK, 0);
        let read = from.read(self.buffer.get_mut(begun..).unwrap_or_default());
        self.buffer.truncate(begun + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            done => done.map(drop),
        }
    }
}

/// A length; `None`: there is nothing.
fn count(digits: &[u8]) -> io::Result<Option<usize>> {
    let digits = digits.strip_suffix(b"\r\n").ok_or_else(|| nonsense("a line without its end"))?;
    if digits == b"-1" {
        return Ok(None);
    }
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_number);
    let number = text.and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| nonsense("a length that is no number"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that come some at a time.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = self.1.min(buffer.len());
            self.0.read(&mut buffer[..most])
        }
    }

    fn read_all(bytes: &[u8], piece: usize) -> (Vec<Value>, io::Error) {
        let (mut replies, mut from) = (Replies::default(), Pieces(bytes, piece));
        let mut values = Vec::new();
        loop {
            match Value::read(&mut replies, &mut from) {
                Ok(value) => values.push(value),
                Err(error) => return (values, error),
            }
        }
    }

    #[test]
    fn replies_are_read_however_they_are_cut() {
        let bytes = b"+OK\r\n:-7\r\n$3\r\na\nb\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n*3\r\n:1\r\n*1\r\n$1\r\nx\r\n$-1\r\n\
                      -OOM no memory\r\n";
        let string = |bytes: &[u8]| Value::BulkString(bytes.to_vec());
        for piece in [1, 2, 3, 7, 1000] {
            let (values, error) = read_all(bytes, piece);
            let nested =
                Value::Array(vec![Value::Int(1), Value::Array(vec![string(b"x")]), Value::Nil]);
            let expected = [
                Value::Okay,
                Value::Int(-7),
                string(b"a\nb"),
                string(b""),
                Value::Nil,
                Value::Nil,
                Value::Array(Vec::new()),
                nested,
            ];
            assert_eq!(values[..8], expected, "{piece}");
            assert!(matches!(&values[8..], [Value::ServerError(error)] if error.code() == "OOM"));
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        for end in 0..bytes.len() {
            assert_eq!(read_all(&bytes[..end], 5).1.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn what_is_no_reply_is_refused_without_room_for_what_it_promises() {
        for bytes in [
            &b"hello\r\n"[..],
            b"\r\n",
            b"\n",
            b"$-2\r\n",
            b"*-9\r\n",
            b"$+1\r\nx\r\n",
            b"$1\r\nxyz",
            b"$\r\n",
            b"$1\nx\r\n",
            b":\r\n",
            b":99999999999999999999999999\r\n",
            b"$99999999999999999999999999\r\n",
            b"%1\r\n+a\r\n+b\r\n",
        ] {
            let (values, error) = read_all(bytes, 1000);
            let what = bytes.escape_ascii();
            assert_eq!((values.len(), error.kind()), (0, io::ErrorKind::InvalidData), "{what}");
        }
        for bytes in
            [&b"*1000000000\r\n"[..], b"$9000000000000000000\r\n", b"*9000000000000000000\r\n"]
        {
            assert_eq!(read_all(bytes, 1000).1.kind(), io::ErrorKind::UnexpectedEof);
        }
        assert_eq!(read_all(&b"*1\r\n".repeat(100_000), 1000).1.kind(), io::ErrorKind::InvalidData);
        assert_eq!(read_all(&[b'+'; 200_000], 1000).1.kind(), io::ErrorKind::InvalidData);
    }

    fn hash(bytes: &[u8], piece: usize) -> io::Result<Hash> {
        Hash::read(&mut Replies::default(), &mut Pieces(bytes, piece))
    }

    #[test]
    fn hashes_are_read_however_they_are_cut() {
        let bytes = b"*4\r\n$1\r\na\r\n$3\r\nb\nc\r\n$0\r\n\r\n$1\r\nd\r\n";
        let fields: Pairs = [("a", "b\nc"), ("", "d")].into_iter().collect();
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(hash(bytes, piece).unwrap(), Hash::Fields(fields.clone()));
        }
        for end in 0..bytes.len() {
            let error = hash(&bytes[..end], 5).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        assert_eq!(hash(b"*0\r\n", 9).unwrap(), Hash::Fields(Pairs::default()));
        assert_eq!(hash(b"*-1\r\n", 9).unwrap(), Hash::Other(Value::Nil));
        let refused = hash(b"-WRONGTYPE no hash\r\n", 9).unwrap();
        assert!(matches!(refused.value(), Some(Value::ServerError(e)) if e.code() == "WRONGTYPE"));
        for wrong in [
            &b"*1\r\n$1\r\na\r\n"[..],
            b"*2\r\n$1\r\na\r\n:1\r\n",
            b"*2\r\n$1\r\na\r\n$-1\r\n",
            b"*2\r\n*0\r\n*0\r\n",
        ] {
            let error = hash(wrong, 9).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{}", wrong.escape_ascii());
        }
        let promised = hash(b"*9000000000000000000\r\n", 9).unwrap_err();
        assert_eq!(promised.kind(), io::ErrorKind::UnexpectedEof);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            read_all(&bytes, 7);
            let _ = hash(&bytes, 7);
        }
    }
}
