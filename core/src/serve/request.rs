//! From bytes to a request, or to the status that refuses it.
//!
//! Strict where two readers could understand two things: a request with two lengths, without a host,
//! or with anything after a header's name is refused. A body is never read: no path takes one.

use std::fmt;

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: u16,
    pub(super) reason: &'static str,
}

const fn bad(reason: &'static str) -> Fault {
    Fault { code: 400, reason }
}

/// The head does not end within its limit.
pub(super) const TOO_LARGE: Fault = Fault { code: 431, reason: "the request's head is too large" };
/// It does not end within its time.
pub(super) const TOO_SLOW: Fault = Fault { code: 408, reason: "the request's head took too long" };

/// What a client asks for.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    /// Without its query.
    pub(super) path: String,
    /// Whether the client wants to ask more on this connection.
    pub(super) keep_alive: bool,
    /// Whether a body follows.
    pub(super) body: bool,
    pub(super) accept: Option<String>,
    pub(super) accept_encoding: Option<String>,
    pub(super) authorization: Option<String>,
}

// Credentials are not for logs.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Where the head ends in `bytes`; `scanned` of them were looked at before.
pub(super) fn end_of_head(bytes: &[u8], scanned: usize) -> Option<usize> {
    // Empty lines before the request are skipped, as the standard asks.
    let begin = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let from = begin.max(scanned.saturating_sub(3));
    let tail = bytes.get(from..)?;
    let mut newlines = tail.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    newlines.find_map(|(at, _)| match tail.get(at + 1..)? {
        [b'\n', ..] => Some(from + at + 2),
        [b'\r', b'\n', ..] => Some(from + at + 3),
        _ => None,
    })
}

/// Whether the first line has an HTTP version where one belongs.
fn names_a_version(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|byte| matches!(byte, b'\r' | b'\n'));
    let first = lines.find(|line| !line.is_empty()).unwrap_or_default();
    first.split(|byte| *byte == b' ').nth(2).is_some_and(|version| version.starts_with(b"HTTP/"))
}

/// Reads a head of at most `headers` headers. `None`: it goes on.
///
/// # Errors
/// Why it is refused.
pub(super) fn parse(bytes: &[u8], headers: usize) -> Result<Option<Request>, Fault> {
    let mut places = vec![httparse::EMPTY_HEADER; headers];
    let mut head = httparse::Request::new(&mut places);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Fault { code: 431, reason: "the request has too many headers" });
        }
        Err(httparse::Error::Version) if names_a_version(bytes) => {
            return Err(Fault { code: 505, reason: "HTTP/1.1 and HTTP/1.0 are spoken here" });
        }
        Err(_) => return Err(bad("this is no HTTP request")),
    }
    let (Some(method), Some(target), Some(minor)) = (head.method, head.path, head.version) else {
        return Err(bad("this is no HTTP request"));
    };
    let fields = Fields(head.headers);
    let hosts = fields.all("host").count();
    if hosts > 1 || (hosts == 0 && minor == 1) {
        return Err(bad("a request has one Host"));
    }
    Ok(Some(Request {
        method: method.to_owned(),
        path: path(target)?.to_owned(),
        keep_alive: fields.keep_alive(minor)?,
        body: fields.body()?,
        accept: fields.list("accept")?,
        accept_encoding: fields.list("accept-encoding")?,
        authorization: fields.one("authorization")?.map(str::to_owned),
    }))
}

/// The path of a target, as it was sent: nothing is decoded and nothing is made shorter, so only what
/// was meant literally is found.
fn path(target: &str) -> Result<&str, Fault> {
    let target = match target.split_once("://") {
        // What proxies send: http://host/path.
        Some((scheme, rest)) if !scheme.contains('/') => {
            if !scheme.eq_ignore_ascii_case("http") {
                return Err(bad("the request's target is none of this server's"));
            }
            rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or("/")
        }
        _ => target,
    };
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    Ok(if path.is_empty() { "/" } else { path })
}

struct Fields<'a>(&'a [httparse::Header<'a>]);

impl<'a> Fields<'a> {
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// The values of a header that is a list, as one list.
    fn list(&self, name: &'static str) -> Result<Option<String>, Fault> {
        let mut whole: Option<String> = None;
        for value in self.all(name) {
            let value = str::from_utf8(value).map_err(|_| bad("a header is not text"))?;
            match &mut whole {
                None => whole = Some(value.to_owned()),
                Some(list) => {
                    list.push(',');
                    list.push_str(value);
                }
            }
        }
        Ok(whole)
    }

    /// The value of a header that there is one of.
    fn one(&self, name: &'static str) -> Result<Option<&'a str>, Fault> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(bad("a header that there is one of stands there twice"));
        }
        first
            .map(|value| str::from_utf8(value).map_err(|_| bad("a header is not text")))
            .transpose()
    }

    fn keep_alive(&self, minor: u8) -> Result<bool, Fault> {
        let list = self.list("connection")?.unwrap_or_default();
        let says = |word: &str| list.split(',').any(|one| one.trim().eq_ignore_ascii_case(word));
        Ok(!says("close") && (minor == 1 || says("keep-alive")))
    }

    fn body(&self) -> Result<bool, Fault> {
        let length = self.one("content-length")?;
        if self.all("transfer-encoding").next().is_some() {
            return match length {
                Some(_) => Err(bad("a request has one length")),
                None => Ok(true),
            };
        }
        let Some(length) = length.map(str::trim) else { return Ok(false) };
        if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad("the request's Content-Length is no number"));
        }
        Ok(length.bytes().any(|byte| byte != b'0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Request>, Fault> {
        parse(text.as_bytes(), 8)
    }

    fn code(text: &str) -> u16 {
        read(text).unwrap_err().code
    }

    #[test]
    fn a_head_ends_with_an_empty_line_wherever_it_was_cut() {
        let head = b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET";
        for scanned in 0..head.len() - 3 {
            assert_eq!(end_of_head(head, scanned), Some(head.len() - 3), "{scanned}");
        }
        assert_eq!(end_of_head(b"GET / HTTP/1.0\n\n", 0), Some(16));
        assert_eq!(end_of_head(b"GET / HTTP/1.0\r\nA: b\r\n", 0), None);
        assert_eq!(end_of_head(b"\r\n\r\n\r\n", 0), None);
    }

    #[test]
    fn a_path_is_what_was_sent_and_nothing_that_could_be_made_of_it() {
        for (target, wanted) in [
            ("/metrics", "/metrics"),
            ("/metrics?name[]=a", "/metrics"),
            ("http://host:1/metrics?x", "/metrics"),
            ("http://host", "/"),
            ("HTTP://host?x", "/"),
            ("//metrics", "//metrics"),
            ("/%6detrics", "/%6detrics"),
            ("/x/../metrics", "/x/../metrics"),
            ("/a://b", "/a://b"),
            ("*", "*"),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(read(&head).unwrap().unwrap().path, wanted);
        }
        assert_eq!(code("GET ftp://host/metrics HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    }

    #[test]
    fn what_two_readers_could_understand_differently_is_refused() {
        for fields in [
            "",
            "Host: a\r\nHost: a\r\n",
            "Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Host: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
            "Host: a\r\nContent-Length: +1\r\n",
            "Host: a\r\nContent-Length: 1, 1\r\n",
            "Host: a\r\nContent-Length:\r\n",
            "Host : a\r\n",
            "Host: a\r\n folded: b\r\n",
            "Host: a\r\nAuthorization: x\r\nAuthorization: x\r\n",
            "Host: a\r\nAccept: \u{ff}\0\r\n",
            "Host: a\r\n: b\r\n",
        ] {
            assert_eq!(code(&format!("GET / HTTP/1.1\r\n{fields}\r\n")), 400, "{fields:?}");
        }
        assert_eq!(code("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), 505);
        assert_eq!(code("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
        assert_eq!(code("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
        assert_eq!(code("\u{16}\u{3}\u{1}"), 400);
        assert_eq!(code(&format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(9))), 431);
    }

    #[test]
    fn connections_are_kept_as_the_version_and_the_client_say() {
        let keeps = |version: &str, fields: &str| {
            let head = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
            read(&head).unwrap().unwrap().keep_alive
        };
        assert!(keeps("1.1", ""));
        assert!(!keeps("1.1", "Connection: te, Close\r\n"));
        assert!(!keeps("1.0", ""));
        assert!(keeps("1.0", "Connection: keep-alive\r\n"));
        assert!(read("GET / HTTP/1.0\r\n\r\n").unwrap().is_some());
    }

    #[test]
    fn a_body_is_noticed() {
        let has = |fields: &str| {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            read(&head).unwrap().unwrap().body
        };
        assert!(!has("") && !has("Content-Length: 00\r\n"));
        assert!(has("Content-Length: 99999999999999999999999\r\n"));
        assert!(has("Transfer-Encoding: chunked\r\n"));
    }
}
