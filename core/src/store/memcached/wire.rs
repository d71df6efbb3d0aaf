//! What memcached answers, read with care: anything may come.

use std::io::{self, BufRead, Read};

use crate::{model::ErrorKind, store::Item};

/// Longest line of a reply.
const MAX_LINE: u64 = 2048;
/// Most bytes of a value; the server's own limit is 1 GiB.
const MAX_VALUE: usize = 64 << 20;
/// Most lines of statistics.
const MAX_STATS: usize = 4096;

/// The answer to a command that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    Stored,
    NotStored,
    Exists,
    NotFound,
    Deleted,
}

/// What the server refused, as an error of the connection: it is not used further.
#[derive(Debug)]
struct Refusal {
    kind: ErrorKind,
    line: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for Refusal {}

/// The kind of what the server refused; `None` for an error of the connection itself.
pub(super) fn refused(error: &io::Error) -> Option<ErrorKind> {
    error.get_ref()?.downcast_ref::<Refusal>().map(|refusal| refusal.kind)
}

fn refusal(line: &str) -> io::Error {
    let kind = match line {
        _ if line.contains("too large") || line.contains("out of memory") => ErrorKind::Limit,
        _ if line.starts_with("SERVER_ERROR") => ErrorKind::Unavailable,
        _ if line.starts_with("CLIENT_ERROR") || line.starts_with("ERROR") => ErrorKind::Io,
        _ => ErrorKind::Damaged,
    };
    let known = ["SERVER_ERROR", "CLIENT_ERROR", "ERROR"].iter().any(|word| line.starts_with(word));
    let line = if known { line.to_owned() } else { format!("{line:?} is no answer of memcached") };
    io::Error::other(Refusal { kind, line })
}

fn read_line(incoming: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    incoming.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match line.strip_suffix(b"\r\n") {
        Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
        None if (line.len() as u64) < MAX_LINE && line.last() != Some(&b'\n') => {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
        None => {
            line.truncate(64);
            Err(refusal(&String::from_utf8_lossy(&line)))
        }
    }
}

/// Reads one word.
pub(super) fn read_reply(incoming: &mut impl BufRead) -> io::Result<Reply> {
    let line = read_line(incoming)?;
    Ok(match line.as_str() {
        "STORED" => Reply::Stored,
        "NOT_STORED" => Reply::NotStored,
        "EXISTS" => Reply::Exists,
        "NOT_FOUND" => Reply::NotFound,
        "DELETED" => Reply::Deleted,
        line => return Err(refusal(line)),
    })
}

/// Reads the values of some keys, in their order; `None` for those that are not there.
pub(super) fn read_values(
    incoming: &mut impl BufRead,
    keys: &[String],
) -> io::Result<Vec<Option<Item>>> {
    let mut items: Vec<Option<Item>> = vec![None; keys.len()];
    loop {
        let line = read_line(incoming)?;
        if line == "END" {
            return Ok(items);
        }
        let mut words = line.split(' ');
        let (verb, key) = (words.next(), words.next());
        let (_, len, token) = (words.next(), words.next(), words.next());
        let len = len.and_then(|len| len.parse::<usize>().ok()).filter(|len| *len <= MAX_VALUE);
        let token = token.and_then(|token| token.parse::<u64>().ok());
        let place = keys
            .iter()
            .zip(&mut items)
            .find(|(known, item)| key == Some(known.as_str()) && item.is_none());
        let (Some("VALUE"), Some((_, place)), Some(len), Some(token)) = (verb, place, len, token)
        else {
            return Err(refusal(&line));
        };
        let mut bytes = Vec::new();
        incoming.by_ref().take(len as u64 + 2).read_to_end(&mut bytes)?;
        if bytes.len() < len + 2 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if bytes.get(len..) != Some(b"\r\n") {
            return Err(refusal(&format!("{line} without its end")));
        }
        bytes.truncate(len);
        *place = Some(Item { bytes, token });
    }
}

/// Reads lines of statistics: names and values.
pub(super) fn read_stats(incoming: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    loop {
        let line = read_line(incoming)?;
        if line == "END" {
            return Ok(all);
        }
        let pair = line.strip_prefix("STAT ").and_then(|rest| rest.split_once(' '));
        match pair {
            Some((name, value)) if all.len() < MAX_STATS => {
                all.push((name.to_owned(), value.to_owned()));
            }
            // A setting without a value.
            None if line.starts_with("STAT ") && all.len() < MAX_STATS => {}
            _ => return Err(refusal(&line)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_come_in_any_order_and_others_are_not_there() {
        let keys = ["a", "b", "c"].map(String::from);
        let mut bytes: &[u8] = b"VALUE c 0 2 9\r\n\r\n\r\nVALUE a 7 0 1\r\n\r\nEND\r\nMORE";
        let items = read_values(&mut bytes, &keys).unwrap();
        let item = |bytes: &[u8], token| Some(Item { bytes: bytes.to_vec(), token });
        assert_eq!(items, [item(b"", 1), None, item(b"\r\n", 9)]);
        assert_eq!(bytes, b"MORE");
    }

    #[test]
    fn what_the_server_refuses_has_a_kind() {
        let kind = |mut line: &[u8]| refused(&read_reply(&mut line).unwrap_err());
        let too_large = b"SERVER_ERROR object too large for cache\r\n";
        assert_eq!(kind(too_large), Some(ErrorKind::Limit));
        let full = b"SERVER_ERROR out of memory storing object\r\n";
        assert_eq!(kind(full), Some(ErrorKind::Limit));
        assert_eq!(kind(b"ERROR\r\n"), Some(ErrorKind::Io));
        assert_eq!(kind(b"HTTP/1.1 400 Bad Request\r\n"), Some(ErrorKind::Damaged));
        assert_eq!(kind(b"STORED"), None, "it is cut, not refused");
        assert_eq!(kind(b""), None);
        assert_eq!(kind(&[b'x'; 5000]), Some(ErrorKind::Damaged));
    }

    #[test]
    fn values_that_nobody_asked_for_are_refused() {
        let keys = ["a".to_owned()];
        for bytes in [
            &b"VALUE b 0 0 1\r\n\r\nEND\r\n"[..],
            b"VALUE a 0 0 1\r\n\r\nVALUE a 0 0 1\r\n\r\nEND\r\n",
            b"VALUE a 0 -1 1\r\n\r\nEND\r\n",
            b"VALUE a 0 99999999999 1\r\n\r\nEND\r\n",
            b"VALUE a 0 1 1\r\nxyz\r\nEND\r\n",
            b"VALUE a 0 0\r\n\r\nEND\r\n",
            b"STORED\r\n",
        ] {
            let mut incoming = bytes;
            assert!(read_values(&mut incoming, &keys).is_err(), "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let keys = ["a".to_owned()];
            let _ = read_reply(&mut bytes.as_slice());
            let _ = read_values(&mut bytes.as_slice(), &keys);
            let _ = read_stats(&mut bytes.as_slice());
        }
    }
}
