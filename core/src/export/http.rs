//! Pushing an export over HTTP: one request per attempt, nothing kept between them.
//!
//! A connection lives as long as its request, so a forked child inherits none. Redirects are not
//! followed: credentials go where the configuration says. The environment's proxies are not used. No
//! thread is started: names are looked up on the one that exports, for as long as the system takes.

use std::{
    fmt, fs,
    io::{self, Read, Write},
    net::ToSocketAddrs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use flate2::{Compression, write::GzEncoder};
use ureq::{
    Agent, RequestBuilder,
    http::{Response, Uri},
    tls::{PemItem, RootCerts, TlsConfig, parse_pem},
    typestate::WithBody,
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};

use super::{Failure, HttpMethod, HttpSettings, destination::Parcel};
use crate::{
    model::{Error, ErrorKind},
    plugin::filtered,
};

/// The most of an answer that is read, for the error's text.
const ANSWER_BYTES: u64 = 300;

/// Sends a parcel.
///
/// # Errors
/// For now: 429, 502, 503, 504, a connection that was not made or was lost, a deadline. For good:
/// every other answer that is no success, an URL or header that is none, a certificate that is not
/// trusted.
pub(super) fn send(
    settings: &HttpSettings,
    parcel: &Parcel<'_>,
    unix_ns: u64,
) -> Result<(), Failure> {
    let body = if settings.gzip { packed(parcel.bytes)? } else { Vec::new() };
    let body = if settings.gzip { body.as_slice() } else { parcel.bytes };
    let roots = settings.ca_file.as_deref().map(|file| authorities(settings, file)).transpose()?;
    let tls = TlsConfig::builder().root_certs(roots.unwrap_or(RootCerts::WebPki)).build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(settings.timeout.min(parcel.timeout)))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(concat!("tallyport/", env!("CARGO_PKG_VERSION")))
        .build();
    let agent = Agent::with_parts(config, DefaultConnector::default(), OnThisThread);
    let request = match settings.method {
        HttpMethod::Post => agent.post(&settings.url),
        HttpMethod::Put => agent.put(&settings.url),
    };
    let answer = with_headers(request, settings, parcel).send(body);
    match answer {
        Ok(answer) => judge(settings, answer, unix_ns),
        Err(error) => Err(lost(settings, &error)),
    }
}

/// Looks names up on the thread that asks: ureq's own resolver starts one where there is a deadline.
#[derive(Debug)]
struct OnThisThread;

impl Resolver for OnThisThread {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        // An IPv6 address stands in brackets in a URL only.
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let mut found = self.empty();
        for address in (bare, uri.port_u16().unwrap_or(usual)).to_socket_addrs()? {
            if found.try_push(address).is_err() {
                break;
            }
        }
        if found.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(found) }
    }
}

/// The authorities of a PEM file.
fn authorities(settings: &HttpSettings, file: &Path) -> Result<RootCerts, Failure> {
    let wrong = |what: &dyn fmt::Display| {
        let what = format!("`http.ca_file` `{}`: {what}", file.display());
        let error = failed(settings, ErrorKind::Config, what).with_field("http.ca_file");
        Failure::for_good(error)
    };
    let pem = fs::read(file).map_err(|error| wrong(&error))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        // A key has no place there, and does no harm.
        if let PemItem::Certificate(one) = item.map_err(|error| wrong(&error))? {
            found.push(one);
        }
    }
    if found.is_empty() {
        return Err(wrong(&"it has no certificate (`-----BEGIN CERTIFICATE-----`)"));
    }
    Ok(RootCerts::new_with_certs(&found))
}

fn with_headers(
    request: RequestBuilder<WithBody>,
    settings: &HttpSettings,
    parcel: &Parcel<'_>,
) -> RequestBuilder<WithBody> {
    let mut request = request
        .header("Content-Type", parcel.content_type)
        .header("Idempotency-Key", &parcel.idempotency_key);
    if settings.gzip {
        request = request.header("Content-Encoding", "gzip");
    }
    settings.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
}

fn packed(bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::default());
    let done = encoder.write_all(bytes).and_then(|()| encoder.finish());
    done.map_err(|error| Failure::for_good(Error::io("compress the export", &error)))
}

fn failed(settings: &HttpSettings, kind: ErrorKind, what: impl fmt::Display) -> Error {
    // What a server answers may repeat what it was sent.
    let message = format!("{} {}: {what}", settings.method.name(), settings.shown_url());
    Error::new(kind, filtered(message))
}

/// What an answer means.
fn judge(
    settings: &HttpSettings,
    mut answer: Response<ureq::Body>,
    unix_ns: u64,
) -> Result<(), Failure> {
    let status = answer.status().as_u16();
    if (200..300).contains(&status) {
        return Ok(());
    }
    let header = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let demanded = header.and_then(|text| retry_after(text, unix_ns));
    let mut text = Vec::new();
    // Only to explain; where it cannot be read the status says enough.
    let _ = answer.body_mut().as_reader().take(ANSWER_BYTES).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    let said = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let what = if said.is_empty() {
        format!("answered {status}")
    } else {
        format!("answered {status}: {said}")
    };
    Err(match status {
        429 | 502 | 503 | 504 => {
            Failure { demanded, ..Failure::for_now(failed(settings, ErrorKind::Unavailable, what)) }
        }
        _ => Failure::for_good(failed(settings, ErrorKind::PluginFailed, what)),
    })
}

/// What it means that there is no answer.
fn lost(settings: &HttpSettings, error: &ureq::Error) -> Failure {
    use ureq::Error as E;
    match error {
        E::Timeout(_) => {
            Failure::for_now(failed(settings, ErrorKind::Timeout, "the deadline passed"))
        }
        // What rustls says comes as this: a certificate that is not trusted, no TLS at all.
        E::Io(said) if said.kind() == io::ErrorKind::InvalidData => no_tls(settings, said),
        E::Rustls(said) => no_tls(settings, said),
        E::Tls(said) => no_tls(settings, said),
        E::Io(_) | E::ConnectionFailed | E::HostNotFound | E::Protocol(_) => {
            Failure::for_now(failed(settings, ErrorKind::Io, error))
        }
        E::BadUri(_) | E::Http(_) => Failure::for_good(failed(settings, ErrorKind::Config, error)),
        _ => Failure::for_good(failed(settings, ErrorKind::Io, error)),
    }
}

/// A connection that was made, and is not to be trusted: that lasts until somebody changes something.
fn no_tls(settings: &HttpSettings, said: &dyn fmt::Display) -> Failure {
    let said = said.to_string();
    let hint = match () {
        () if !said.contains("UnknownIssuer") => "",
        () if settings.ca_file.is_some() => "; `http.ca_file` does not have its authority",
        () => "; `http.ca_file` names authorities that are not public",
    };
    let host = settings.host();
    let what = format!("no TLS connection to `{host}` that can be trusted: {said}{hint}");
    Failure::for_good(failed(settings, ErrorKind::Io, what))
}

/// How long a receiver wants to be left alone: seconds, or an HTTP date.
fn retry_after(text: &str, unix_ns: u64) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let at: SystemTime = httpdate::parse_http_date(text).ok()?;
    let at = at.duration_since(UNIX_EPOCH).ok()?;
    Some(at.saturating_sub(Duration::from_nanos(unix_ns)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        // Sun, 06 Nov 1994 08:49:37 GMT, a second earlier.
        let now = 784_111_776_000_000_000;
        let of = |text| retry_after(text, now);
        assert_eq!(of("120"), Some(Duration::from_secs(120)));
        assert_eq!(of(" 0 "), Some(Duration::ZERO));
        for date in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(of(date), Some(Duration::from_secs(1)), "{date}");
        }
        assert_eq!(of("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO), "it is over");
        for nothing in ["", "-1", "soon", "1.5", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(of(nothing), None, "{nothing:?}");
        }
        assert!(
            of("99999999999999999999999").is_some_and(|long| long > Duration::from_secs(1 << 60))
        );
    }
}
