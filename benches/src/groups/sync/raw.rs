//! A client that knows nothing: it sends bytes of commands in one piece and takes as many replies.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
};

/// A connection to a server on this host.
pub(super) struct Raw {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Raw {
    pub(super) fn connect(port: u16) -> Result<Self, String> {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|e| e.to_string())?;
        socket.set_nodelay(true).map_err(|e| e.to_string())?;
        Ok(Self { socket, buffer: vec![0; 256 << 10] })
    }

    /// Sends commands and takes their replies; the number of bytes of these.
    pub(super) fn exchange(&mut self, commands: &[u8]) -> Result<usize, String> {
        let mut replies = Replies { wanted: count(commands)?, ..Replies::default() };
        // Redis keeps replies until they are taken, so neither side waits for the other.
        self.socket.write_all(commands).map_err(|e| e.to_string())?;
        while replies.wanted > 0 {
            match self.socket.read(&mut self.buffer) {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(read) => replies.take(&self.buffer[..read])?,
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(replies.bytes)
    }
}

/// Replies that are on their way.
#[derive(Default)]
struct Replies {
    /// Values that are still to come.
    wanted: usize,
    /// Of a string: what is still to come of it.
    skip: usize,
    /// The line that has begun.
    line: Vec<u8>,
    bytes: usize,
}

impl Replies {
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        self.bytes += bytes.len();
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let (line, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
            self.line.extend_from_slice(line);
            bytes = rest;
            if end.is_some() {
                self.line()?;
                self.line.clear();
            }
        }
        Ok(())
    }

    fn line(&mut self) -> Result<(), String> {
        let text = String::from_utf8_lossy(&self.line);
        let (sort, number) = text.trim_end().split_at_checked(1).ok_or("an empty reply")?;
        self.wanted = self.wanted.checked_sub(1).ok_or("more replies than commands")?;
        match (sort, number.parse::<i64>()) {
            ("*", Ok(values)) => self.wanted += values.max(0) as usize,
            ("$", Ok(len)) if len >= 0 => self.skip = len as usize + 2,
            ("-", _) => return Err(format!("the server refused: {text}")),
            _ => {}
        }
        Ok(())
    }
}

/// The bytes of a command.
pub(super) fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// As many values as a sync sends, of the same size, each by a command of its own.
pub(super) fn one_by_one(series: usize) -> Vec<u8> {
    let one = |index: usize| {
        let field = [b"c".as_slice(), &(index as u32).to_be_bytes()].concat();
        command(&[b"HSET", b"plain", &field, b"\x01\x80\x80\x80\x01"])
    };
    (0..series).flat_map(one).collect()
}

/// The words of the first command, and what follows it.
pub(super) fn request(bytes: &[u8]) -> Option<(Vec<&[u8]>, &[u8])> {
    let (words, mut rest) = number(bytes, b'*')?;
    let mut all = Vec::with_capacity(words);
    for _ in 0..words {
        let (len, word) = number(rest, b'$')?;
        all.push(word.get(..len)?);
        rest = word.get(len + 2..)?;
    }
    Some((all, rest))
}

/// The number of a line that begins with `sort`, and what follows the line.
fn number(bytes: &[u8], sort: u8) -> Option<(usize, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\r')?;
    let line = bytes.get(..end)?.strip_prefix(&[sort])?;
    Some((std::str::from_utf8(line).ok()?.parse().ok()?, bytes.get(end + 2..)?))
}

/// How many commands there are.
fn count(mut bytes: &[u8]) -> Result<usize, String> {
    let mut commands = 0;
    while !bytes.is_empty() {
        let (_, rest) = request(bytes).ok_or("a command is cut")?;
        bytes = rest;
        commands += 1;
    }
    Ok(commands)
}
