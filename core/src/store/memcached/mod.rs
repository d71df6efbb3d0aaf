//! memcached, by its text protocol, over one connection.
//!
//! It is a [`KeyValue`]: what a store is made of is in `keyed`. Requests of one call are sent in one
//! piece and their replies read in order. After any error the connection is closed: what comes on it
//! later belongs to nothing.

mod wire;

use std::{
    io::{self, BufReader, Write},
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use self::wire::{Reply, read_reply, read_stats, read_values};
use super::{
    Deadline,
    keyed::{Item, KeyValue, LEAST_ITEM_BYTES},
    socket::{Address, Repeat, Socket, failed},
};
use crate::model::{Error, ErrorKind};

const DEFAULT_PORT: u16 = 11211;
/// Longer times to live are taken for points in time.
const LONGEST_TTL_S: u64 = 60 * 60 * 24 * 30;
/// Of the largest item, what the server keeps beside the value, key included.
const OVERHEAD: usize = 512;
/// Larger items are not written, whatever the server allows.
const MOST: usize = 1 << 20;
/// Keys of one `gets`.
const KEYS_AT_ONCE: usize = 32;
/// Bytes of requests that are sent before their replies are read: less than both sides' buffers hold
/// would wait for each other for ever.
const SENT_AT_ONCE: usize = 1 << 20;

/// One memcached server.
pub struct Memcached {
    address: Address,
    deadline: Deadline,
    /// Of the step that runs.
    until: Instant,
    most: usize,
    open: Option<Open>,
}

/// A connection.
#[derive(Debug)]
struct Open {
    /// The process that made it.
    owner: u32,
    incoming: BufReader<SocketIn>,
    /// Whether it has answered before.
    proven: bool,
}

impl Open {
    /// Whether it is this process's own, and still its server's.
    fn is_usable(&self) -> bool {
        // Closing our descriptor of a parent's tells the server nothing.
        self.owner == std::process::id()
            && self.incoming.buffer().is_empty()
            && self.incoming.get_ref().socket.is_idle()
    }
}

/// The reading side of a connection, whose calls end before a deadline.
#[derive(Debug)]
struct SocketIn {
    socket: Socket,
    until: Instant,
    /// Whether anything came in this exchange.
    heard: bool,
}

impl io::Read for SocketIn {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.socket.timed(self.until).read(buffer)?;
        self.heard |= read > 0;
        Ok(read)
    }
}

impl std::fmt::Debug for Memcached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memcached").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Where a server is: a host, `host:port`, `[v6]:port`, the path of a socket.
fn read_address(text: &str) -> Result<Address, Error> {
    if text.starts_with('/') {
        return Ok(Address::Unix(PathBuf::from(text)));
    }
    let wrong = || {
        let message = format!(
            "{text:?} is no address of a memcached server: that is `host`, `host:port` or the path of \
             a socket"
        );
        Error::invalid("address", message)
    };
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().map_err(|_| wrong())?)
        }
        _ => (text, DEFAULT_PORT),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/') {
        return Err(wrong());
    }
    Ok(Address::Tcp(host.to_owned(), port))
}

fn seconds(ttl: Duration) -> u64 {
    let seconds = ttl.as_secs().max(1);
    if seconds <= LONGEST_TTL_S {
        return seconds;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs().saturating_add(seconds)
}

impl Memcached {
    /// Connects, and asks how large items may be.
    ///
    /// # Errors
    /// InvalidArgument for an address that is none, Io or Timeout naming the server.
    pub fn connect(address: &str, deadline: impl Into<Deadline>) -> Result<Self, Error> {
        let (address, deadline) = (read_address(address)?, deadline.into());
        let until = deadline.of_step();
        let mut server = Self { address, deadline, until, most: MOST, open: None };
        server.begin();
        let stats = server.exchange(&[b"stats settings\r\n".to_vec()], Repeat::Safe, read_stats)?;
        let stats = stats.into_iter().next().unwrap_or_default();
        let most = stats.iter().find(|(name, _)| name == "item_size_max");
        let most = most.and_then(|(_, value)| value.parse::<usize>().ok());
        server.most = most.unwrap_or(MOST).min(MOST).saturating_sub(OVERHEAD);
        let evicts = stats.iter().any(|(name, value)| name == "evictions" && value == "off");
        if evicts {
            tracing::info!(server = %server.address, "memcached refuses items when it is full");
        }
        Ok(server)
    }

    /// Asks the server for its counters, such as `evictions`.
    ///
    /// # Errors
    /// Io, Timeout.
    pub fn statistics(&mut self) -> Result<Vec<(String, String)>, Error> {
        self.begin();
        let stats = self.exchange(&[b"stats\r\n".to_vec()], Repeat::Safe, read_stats)?;
        Ok(stats.into_iter().next().unwrap_or_default())
    }

    /// The connection, made when it is needed, and anew after a fork or when the server closed it.
    fn connection(&mut self) -> io::Result<&mut Open> {
        let (owner, until) = (std::process::id(), self.until);
        if !self.open.as_ref().is_some_and(Open::is_usable) {
            let socket = Socket::connect(&self.address, until)?;
            let incoming = BufReader::new(SocketIn { socket, until, heard: false });
            self.open = Some(Open { owner, incoming, proven: false });
        }
        let open = self.open.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let incoming = open.incoming.get_mut();
        (incoming.until, incoming.heard) = (until, false);
        Ok(open)
    }

    /// Sends requests, some at a time, and reads a reply to each. A connection that turns out to be
    /// gone is made anew once, where the requests may be sent twice.
    fn exchange<R>(
        &mut self,
        requests: &[Vec<u8>],
        repeat: Repeat,
        read: impl Fn(&mut BufReader<SocketIn>) -> io::Result<R>,
    ) -> Result<Vec<R>, Error> {
        let mut result = self.try_exchange(requests, &read);
        if result.is_err() {
            let gone = |open: Open| open.proven && !open.incoming.get_ref().heard;
            let gone = self.open.take().is_some_and(gone) && Instant::now() < self.until;
            if gone && repeat == Repeat::Safe {
                result = self.try_exchange(requests, &read);
            }
        }
        result.map_err(|error| {
            self.open = None;
            let what = format!("memcached store: talk to {}", self.address);
            match wire::refused(&error) {
                Some(kind) => Error::new(kind, format!("{what}: {error}")),
                None => failed(what, &error, self.until),
            }
        })
    }

    fn try_exchange<R>(
        &mut self,
        requests: &[Vec<u8>],
        read: impl Fn(&mut BufReader<SocketIn>) -> io::Result<R>,
    ) -> io::Result<Vec<R>> {
        let open = self.connection()?;
        let mut replies = Vec::with_capacity(requests.len());
        let mut rest = requests;
        while !rest.is_empty() {
            let (mut bytes, mut count) = (Vec::new(), 0);
            for request in rest {
                if count > 0 && bytes.len() + request.len() > SENT_AT_ONCE {
                    break;
                }
                bytes.extend_from_slice(request);
                count += 1;
            }
            let incoming = open.incoming.get_mut();
            incoming.socket.timed(incoming.until).write_all(&bytes)?;
            for _ in 0..count {
                replies.push(read(&mut open.incoming)?);
            }
            rest = rest.get(count..).unwrap_or_default();
        }
        open.proven = true;
        Ok(replies)
    }

    /// Commands each of which is answered by a word.
    ///
    /// Never twice: of a swap that took place the second one would say that it did not.
    fn words(&mut self, requests: &[Vec<u8>]) -> Result<Vec<Reply>, Error> {
        self.exchange(requests, Repeat::Never, read_reply)
    }

    fn word(&mut self, request: Vec<u8>) -> Result<Reply, Error> {
        let replies = self.words(&[request])?;
        replies.into_iter().next().ok_or_else(|| Error::new(ErrorKind::Internal, "no reply"))
    }

    fn unexpected(&mut self, what: &str, reply: Reply) -> Error {
        self.open = None;
        let message = format!("memcached store: {} answered {reply:?} to `{what}`", self.address);
        Error::new(ErrorKind::Damaged, message)
    }
}

/// One command that stores a value.
fn storing(verb: &str, key: &str, bytes: &[u8], ttl: Duration, token: Option<u64>) -> Vec<u8> {
    let token = token.map_or(String::new(), |token| format!(" {token}"));
    let line = format!("{verb} {key} 0 {} {}{token}\r\n", seconds(ttl), bytes.len());
    let mut request = Vec::with_capacity(line.len() + bytes.len() + 2);
    request.extend_from_slice(line.as_bytes());
    request.extend_from_slice(bytes);
    request.extend_from_slice(b"\r\n");
    request
}

impl KeyValue for Memcached {
    fn name(&self) -> &str {
        "memcached"
    }

    fn max_item_bytes(&self) -> usize {
        self.most.max(LEAST_ITEM_BYTES)
    }

    fn has_cas(&self) -> bool {
        true
    }

    fn begin(&mut self) {
        self.until = self.deadline.of_step();
    }

    fn end_by(&mut self, end: Option<Instant>) {
        self.deadline = self.deadline.by(end);
    }

    fn get(&mut self, key: &str) -> Result<Option<Item>, Error> {
        Ok(self.get_many(&[key.to_owned()])?.into_iter().next().flatten())
    }

    fn get_many(&mut self, keys: &[String]) -> Result<Vec<Option<Item>>, Error> {
        let groups: Vec<&[String]> = keys.chunks(KEYS_AT_ONCE).collect();
        let mut items = Vec::with_capacity(keys.len());
        for group in groups {
            let request = format!("gets {}\r\n", group.join(" ")).into_bytes();
            let values =
                self.exchange(&[request], Repeat::Safe, |incoming| read_values(incoming, group))?;
            items.extend(values.into_iter().flatten());
        }
        Ok(items)
    }

    fn set(&mut self, key: &str, bytes: &[u8], ttl: Duration) -> Result<(), Error> {
        self.set_many(&[(key.to_owned(), bytes.to_vec())], ttl)
    }

    fn set_many(&mut self, items: &[(String, Vec<u8>)], ttl: Duration) -> Result<(), Error> {
        let request = |(key, bytes): &(String, Vec<u8>)| storing("set", key, bytes, ttl, None);
        let requests: Vec<Vec<u8>> = items.iter().map(request).collect();
        for reply in self.words(&requests)? {
            if reply != Reply::Stored {
                return Err(self.unexpected("set", reply));
            }
        }
        Ok(())
    }

    fn add(&mut self, key: &str, bytes: &[u8], ttl: Duration) -> Result<bool, Error> {
        match self.word(storing("add", key, bytes, ttl, None))? {
            Reply::Stored => Ok(true),
            Reply::NotStored => Ok(false),
            reply => Err(self.unexpected("add", reply)),
        }
    }

    fn cas(&mut self, key: &str, bytes: &[u8], ttl: Duration, token: u64) -> Result<bool, Error> {
        match self.word(storing("cas", key, bytes, ttl, Some(token)))? {
            Reply::Stored => Ok(true),
            Reply::Exists | Reply::NotFound => Ok(false),
            reply => Err(self.unexpected("cas", reply)),
        }
    }

    fn delete(&mut self, key: &str) -> Result<(), Error> {
        self.delete_many(&[key.to_owned()])
    }

    fn delete_many(&mut self, keys: &[String]) -> Result<(), Error> {
        let request = |key: &String| format!("delete {key}\r\n").into_bytes();
        let requests: Vec<Vec<u8>> = keys.iter().map(request).collect();
        for reply in self.words(&requests)? {
            if !matches!(reply, Reply::Deleted | Reply::NotFound) {
                return Err(self.unexpected("delete", reply));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_named() {
        let tcp = |host: &str, port| Address::Tcp(host.into(), port);
        for (text, address) in [
            ("cache", tcp("cache", 11211)),
            ("cache:1", tcp("cache", 1)),
            ("[::1]:7", tcp("::1", 7)),
            ("::1", tcp("::1", 11211)),
            ("/run/m.sock", Address::Unix("/run/m.sock".into())),
        ] {
            assert_eq!(read_address(text).unwrap(), address, "{text}");
        }
        for text in ["", ":1", "a b", "host:port", "host:99999", "memcached://h"] {
            let error = read_address(text).unwrap_err();
            assert_eq!(error.field(), Some("address"), "{text}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn long_times_are_points_in_time() {
        assert_eq!(seconds(Duration::from_millis(5)), 1);
        assert_eq!(seconds(Duration::from_secs(LONGEST_TTL_S)), LONGEST_TTL_S);
        assert!(seconds(Duration::from_secs(LONGEST_TTL_S + 1)) > 1_700_000_000);
    }
}
