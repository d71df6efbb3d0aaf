//! Where an export goes, and what keeps a former holder of the lease from committing there.

use std::{
    fmt,
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use super::{Failure, file::AtomicFile};
use crate::{
    model::{Error, ErrorKind},
    store::{FencingToken, Locking},
};

/// Where an export goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A file, replaced as a whole.
    File {
        /// Its path.
        path: PathBuf,
        /// Its mode; `None`: that of the old one, or what the umask leaves.
        mode: Option<u32>,
    },
    /// Standard output, in one piece.
    Stdout,
    /// A request.
    Http(HttpSettings),
    /// The exporter delivers by itself; what it writes is counted only.
    Plugin,
}

/// What keeps a former holder of the lease from committing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fencing {
    /// The destination compares tokens: it cannot.
    Fenced,
    /// The lease is asked for right before the commit: a holder that is paused between the two can.
    Advisory,
    /// Nothing is asked: there is no lease.
    Absent,
}

impl Fencing {
    /// That of leases that are worth so much, at a destination that compares tokens or does not.
    pub(crate) fn of(locking: Locking, compares: bool) -> Self {
        match locking {
            Locking::Absent => Self::Absent,
            Locking::Fenced if compares => Self::Fenced,
            _ => Self::Advisory,
        }
    }

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fenced => "fenced",
            Self::Advisory => "advisory",
            Self::Absent => "none",
        }
    }
}

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpMethod {
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
}

impl HttpMethod {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// How an export is pushed. Its Debug form shows no header and no query: either may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// Where to.
    pub url: String,
    /// How.
    pub method: HttpMethod,
    /// Whether the body is compressed.
    pub gzip: bool,
    /// Headers besides `Content-Type`, `Content-Encoding` and `Idempotency-Key`.
    pub headers: Vec<(String, String)>,
    /// A PEM file of the authorities that certificates are trusted from; `None`: the public ones.
    pub ca_file: Option<PathBuf>,
    /// How long a request may take, all in all.
    pub timeout: Duration,
}

impl HttpSettings {
    /// The URL without what may be secret in it.
    #[must_use]
    pub fn shown_url(&self) -> String {
        shown_url(&self.url)
    }

    /// The host of the URL, with its port if that has one.
    #[cfg_attr(not(feature = "export-http"), allow(dead_code))] // a request's
    pub(super) fn host(&self) -> String {
        let shown = self.shown_url();
        let rest = shown.split_once("://").map_or(&*shown, |(_, rest)| rest);
        rest.split('/').next().unwrap_or("").to_owned()
    }
}

/// A URL without what may be secret in it.
#[must_use]
pub fn shown_url(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or("");
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

impl fmt::Debug for HttpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSettings")
            .field("url", &self.shown_url())
            .field("method", &self.method)
            .field("gzip", &self.gzip)
            .field("ca_file", &self.ca_file)
            .field("headers", &self.headers.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// What is delivered, besides the bytes of a file.
#[derive(Debug)]
#[cfg_attr(not(feature = "export-http"), allow(dead_code))] // a request's
pub(crate) struct Parcel<'a> {
    pub(super) bytes: &'a [u8],
    pub(crate) content_type: &'a str,
    pub(crate) token: Option<FencingToken>,
    pub(crate) idempotency_key: String,
    /// What is left of the run's time.
    pub(crate) timeout: Duration,
}

impl<'a> Parcel<'a> {
    pub(crate) fn new(
        content_type: &'a str,
        token: Option<FencingToken>,
        idempotency_key: String,
        timeout: Duration,
    ) -> Self {
        Self { bytes: &[], content_type, token, idempotency_key, timeout }
    }
}

impl Destination {
    /// Its name in configurations and reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Stdout => "stdout",
            Self::Http(_) => "http",
            Self::Plugin => "plugin",
        }
    }

    /// What keeps a former holder from committing, with leases that are worth so much.
    #[must_use]
    pub fn fencing(&self, locking: Locking) -> Fencing {
        Fencing::of(locking, matches!(self, Self::File { .. }))
    }

    /// Makes ready to take an export. Nothing that was delivered before is touched.
    pub(crate) fn open(&self) -> Result<Delivery, Failure> {
        match self {
            Self::File { path, mode } => AtomicFile::begin(path, *mode)
                .map(Delivery::File)
                .map_err(|trouble| trouble.into_error(path).into()),
            Self::Http(_) | Self::Stdout => Ok(Delivery::Memory(Vec::new())),
            Self::Plugin => Ok(Delivery::Nowhere),
        }
    }

    /// Delivers what was taken.
    pub(crate) fn commit(
        &self,
        delivery: Delivery,
        parcel: &Parcel<'_>,
        unix_ns: u64,
    ) -> Result<(), Failure> {
        match (self, delivery) {
            (Self::File { path, .. }, Delivery::File(file)) => {
                file.commit(parcel.token).map_err(|trouble| trouble.into_error(path).into())
            }
            (Self::Stdout, Delivery::Memory(bytes)) => {
                let mut out = io::stdout().lock();
                let done = out.write_all(&bytes).and_then(|()| out.flush());
                done.map_err(|error| Error::io("write to stdout", &error).into())
            }
            (Self::Http(settings), Delivery::Memory(bytes)) => {
                let parcel = Parcel {
                    bytes: &bytes,
                    idempotency_key: parcel.idempotency_key.clone(),
                    ..*parcel
                };
                push(settings, &parcel, unix_ns)
            }
            (Self::Plugin, Delivery::Nowhere) => Ok(()),
            _ => {
                let message = "a delivery of another destination";
                Err(Failure::for_good(Error::new(ErrorKind::Internal, message)))
            }
        }
    }
}

#[cfg(feature = "export-http")]
fn push(settings: &HttpSettings, parcel: &Parcel<'_>, unix_ns: u64) -> Result<(), Failure> {
    super::http::send(settings, parcel, unix_ns)
}

#[cfg(not(feature = "export-http"))]
fn push(_: &HttpSettings, _: &Parcel<'_>, _: u64) -> Result<(), Failure> {
    let message = "this build cannot push over HTTP (cargo feature `export-http`)";
    Err(Failure::for_good(Error::new(ErrorKind::Unsupported, message)))
}

/// An export on its way. Dropped, nothing was delivered.
#[derive(Debug)]
pub(crate) enum Delivery {
    File(AtomicFile),
    Memory(Vec<u8>),
    Nowhere,
}

impl Delivery {
    /// The file that is written before it takes its place.
    pub(crate) fn temporary(&self) -> Option<PathBuf> {
        match self {
            Self::File(file) => Some(file.temporary().to_owned()),
            Self::Memory(_) | Self::Nowhere => None,
        }
    }

    /// Takes a piece.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match self {
            Self::File(file) => {
                file.write(bytes).map_err(|error| Error::io("write the export's file", &error))
            }
            Self::Memory(memory) => {
                memory.extend_from_slice(bytes);
                Ok(())
            }
            Self::Nowhere => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_url_has_no_secret() {
        for (url, shown) in [
            ("http://h:9/a?token=geheim#x", "http://h:9/a"),
            ("https://u:geheim@h/p@q", "https://h/p@q"),
            ("https://u:geheim@h", "https://h"),
            ("rubbish", "rubbish"),
        ] {
            let settings = HttpSettings {
                url: url.into(),
                method: HttpMethod::Put,
                gzip: false,
                headers: vec![("Authorization".into(), "geheim".into())],
                ca_file: None,
                timeout: Duration::ZERO,
            };
            assert_eq!(settings.shown_url(), shown);
            assert!(!format!("{settings:?}").contains("geheim"));
        }
    }
}
