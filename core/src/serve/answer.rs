//! Answers: a head and a body, ready to be sent, and the bytes that all of them may take.

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::AcqRel},
    },
    time::SystemTime,
};

use serde_json::json;

use crate::model::{Error, ErrorKind};

/// Whether a client wants the body, and the connection afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manner {
    /// It asked with HEAD.
    pub(super) head_only: bool,
    pub(super) keep_alive: bool,
}

impl Manner {
    /// Of a client that broke the rules, or is to go.
    pub(super) const LAST: Self = Self { head_only: false, keep_alive: false };
}

/// What is sent.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) keep_alive: bool,
    /// The head, and a small body behind it: one segment.
    head: Vec<u8>,
    /// A larger body, which is not copied.
    body: Vec<u8>,
    /// Where it lies is accounted for until it is sent.
    _share: Option<Share>,
}

/// Up to this a body is sent with its head.
const SMALL: usize = 16 << 10;

impl Answer {
    /// What is to be sent after so many bytes.
    pub(super) fn rest(&self, sent: usize) -> &[u8] {
        let part = match sent.checked_sub(self.head.len()) {
            None => self.head.get(sent..),
            Some(of_body) => self.body.get(of_body..),
        };
        part.unwrap_or_default()
    }
}

/// An answer that is being written.
#[derive(Debug)]
pub(super) struct Draft {
    code: u16,
    fields: String,
    body: Vec<u8>,
    share: Option<Share>,
}

fn reason(code: u16) -> &'static str {
    match code {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

impl Draft {
    /// An answer with a body of that type.
    pub(super) fn new(code: u16, content_type: &str, body: Vec<u8>) -> Self {
        let draft = Self { code, fields: String::new(), body, share: None };
        draft.field("Content-Type", content_type)
    }

    /// Why a request is not answered as it wants, for programs and people.
    pub(super) fn error(code: u16, kind: &str, message: &str) -> Self {
        let body = json!({ "status": code, "kind": kind, "error": message });
        let draft = Self::new(code, "application/json", format!("{body}\n").into_bytes());
        // A scraper comes again anyway; others are told when it is worth it.
        if code == 503 { draft.field("Retry-After", "1") } else { draft }
    }

    /// Adds a header; the value is ours or an exporter's.
    pub(super) fn field(mut self, name: &str, value: &str) -> Self {
        // Whatever an exporter calls its content, it adds no line.
        let value: String = value.chars().filter(|c| !c.is_control()).collect();
        // Writing to a String does not fail.
        let _ = write!(self.fields, "{name}: {value}\r\n");
        self
    }

    /// Keeps the account of the body with it.
    pub(super) fn accounted(mut self, share: Share) -> Self {
        self.share = Some(share);
        self
    }

    /// As it is sent.
    pub(super) fn finish(self, manner: Manner) -> Answer {
        let Self { code, fields, body, share } = self;
        let date = httpdate::fmt_http_date(SystemTime::now());
        let connection = if manner.keep_alive { "keep-alive" } else { "close" };
        let head = format!(
            "HTTP/1.1 {code} {}\r\nDate: {date}\r\n{fields}Content-Length: {}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
             Connection: {connection}\r\n\r\n",
            reason(code),
            body.len()
        );
        let mut head = head.into_bytes();
        let mut body = if manner.head_only { Vec::new() } else { body };
        if body.len() <= SMALL {
            head.append(&mut body);
        }
        Answer { code, keep_alive: manner.keep_alive, head, body, _share: share }
    }
}

/// The bytes that answers take together.
#[derive(Debug, Default)]
pub(super) struct Account(AtomicU64);

impl Account {
    pub(super) fn open(self: &Arc<Self>, most: u64) -> Share {
        Share { account: Arc::clone(self), most, bytes: 0 }
    }
}

/// What one answer takes of the account; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    account: Arc<Account>,
    most: u64,
    bytes: u64,
}

impl Share {
    /// Takes as much as `bytes` are.
    ///
    /// # Errors
    /// Limit when all answers would take too much.
    pub(super) fn grow_to(&mut self, bytes: usize) -> Result<(), Error> {
        let more = (bytes as u64).saturating_sub(self.bytes);
        let before = self.account.0.fetch_add(more, AcqRel);
        self.bytes += more;
        if before.saturating_add(more) <= self.most {
            return Ok(());
        }
        let message = format!(
            "answers would take more than the {} bytes of `serve.max_answer_bytes` together",
            self.most
        );
        Err(Error::new(ErrorKind::Limit, message).with_field("serve.max_answer_bytes"))
    }

    #[cfg(test)]
    pub(super) fn taken(account: &Account) -> u64 {
        account.0.load(std::sync::atomic::Ordering::Acquire)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.account.0.fetch_sub(self.bytes, AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_take_is_given_back_also_by_one_that_took_too_much() {
        let account = Arc::new(Account::default());
        let (mut one, mut other) = (account.open(100), account.open(100));
        one.grow_to(60).unwrap();
        one.grow_to(50).unwrap();
        assert_eq!(other.grow_to(41).unwrap_err().kind(), ErrorKind::Limit);
        assert_eq!(Share::taken(&account), 101);
        drop(other);
        drop(one);
        assert_eq!(Share::taken(&account), 0);
    }

    #[test]
    fn a_large_body_follows_its_head() {
        for size in [0, 1, SMALL, SMALL + 1] {
            let answer = Draft::new(200, "a/b", vec![b'x'; size]).finish(Manner::LAST);
            let (mut sent, mut whole) = (0, Vec::new());
            while let [first, ..] = answer.rest(sent) {
                whole.push(*first);
                sent += 1;
            }
            assert!(whole.ends_with(&[b"\r\n\r\n", &*vec![b'x'; size]].concat()), "{size}");
        }
    }

    #[test]
    fn an_exporter_adds_no_header() {
        let draft = Draft::new(200, "text/plain\r\nSet-Cookie: a", b"x".to_vec());
        let answer = draft.finish(Manner::LAST);
        let text = String::from_utf8(answer.rest(0).to_vec()).unwrap();
        assert!(text.contains("\r\nContent-Type: text/plainSet-Cookie: a\r\n"), "{text}");
        assert!(text.ends_with("\r\nConnection: close\r\n\r\nx"), "{text}");
    }
}
