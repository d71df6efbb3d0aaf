//! What a client is given of what there is: by `Accept`, and compressed or not by `Accept-Encoding`.
//!
//! As RFC 9110 says: of the ranges that an offer matches the most specific one has its weight, 0
//! excludes it, the heaviest offer wins. Of equals the one that the client named first, then the one
//! that is offered first. Nobody is refused for what it accepts: the first offer is the fallback.
//!
//! Two parameters of the Prometheus world count besides the type. `version` must be the offer's where
//! a client gives one. `escaping=allow-utf-8` is what an offer with quoted names asks a client for;
//! any other scheme is met by the offers that escape.

/// Something that can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What the site knows it by.
    pub selector: String,
    /// What it is: media type and parameters.
    pub content_type: String,
}

const QUOTED: &str = "allow-utf-8";

/// A media type or range with what counts of its parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Media {
    kind: String,
    subkind: String,
    version: Option<String>,
    escaping: Option<String>,
    /// Parameters that nothing here has.
    foreign: bool,
    /// Thousandths.
    weight: u16,
}

/// The parts of `text` between separators that stand outside of quotes.
fn parts(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return c == separator && !quoted,
        }
        false
    })
    .map(str::trim)
}

/// A weight in thousandths: `0`, `1`, `0.5`, three digits at most.
fn weight(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part: u16 = format!("{part:0<3}").parse().ok()?;
    match whole {
        "0" => Some(part),
        "1" if part == 0 => Some(1000),
        _ => None,
    }
}

fn media(text: &str) -> Option<Media> {
    let mut parts = parts(text, ';');
    let (kind, subkind) = parts.next()?.split_once('/')?;
    let (kind, subkind) = (kind.trim(), subkind.trim());
    if kind.is_empty() || subkind.is_empty() || (kind == "*" && subkind != "*") {
        return None;
    }
    let mut media = Media {
        kind: kind.to_ascii_lowercase(),
        subkind: subkind.to_ascii_lowercase(),
        weight: 1000,
        ..Media::default()
    };
    for part in parts.filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=')?;
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "q" => media.weight = weight(value)?,
            "version" => media.version = Some(value.to_owned()),
            "escaping" => media.escaping = Some(value.to_ascii_lowercase()),
            // All text is UTF-8, which contains what else is asked for.
            "charset" => {}
            _ => media.foreign = true,
        }
    }
    Some(media)
}

impl Media {
    /// How exactly a range means this offer; `None`: it does not.
    fn means(&self, offer: &Self) -> Option<u8> {
        let level = match (self.kind.as_str(), self.subkind.as_str()) {
            ("*", _) => 0,
            (kind, "*") if kind == offer.kind => 1,
            (kind, subkind) if kind == offer.kind && subkind == offer.subkind => 2,
            _ => return None,
        };
        let quotes = offer.escaping.as_deref() == Some(QUOTED);
        let may_quote = self.escaping.as_deref() == Some(QUOTED);
        let version = self.version.is_none() || self.version == offer.version;
        if self.foreign || !version || (quotes && !may_quote) {
            return None;
        }
        Some(level * 3 + u8::from(self.version.is_some()) + u8::from(self.escaping.is_some()))
    }
}

/// The offer for a client that sent this `Accept`.
pub(super) fn choose<'a>(offers: &'a [Offer], accept: Option<&str>) -> Option<&'a Offer> {
    let ranges: Vec<Media> = parts(accept.unwrap_or("*/*"), ',').filter_map(media).collect();
    let mut best: Option<((u16, usize, bool), &Offer)> = None;
    for offer in offers {
        let Some(own) = media(&offer.content_type) else { continue };
        let matching = ranges.iter().enumerate().filter_map(|(at, range)| {
            range.means(&own).map(|exact| (exact, usize::MAX - at, range))
        });
        let Some((_, order, range)) = matching.max_by_key(|(exact, order, _)| (*exact, *order))
        else {
            continue;
        };
        // Of two that one range means, the one that writes what it asks for.
        let rank = (range.weight, order, range.escaping == own.escaping);
        if range.weight > 0 && best.as_ref().is_none_or(|(other, _)| rank > *other) {
            best = Some((rank, offer));
        }
    }
    best.map(|(_, offer)| offer).or(offers.first())
}

/// Whether the client would rather have gzip than nothing.
pub(super) fn takes_gzip(accept_encoding: Option<&str>) -> bool {
    let mut gzip = None;
    let mut identity = 0;
    let mut any = None;
    for part in parts(accept_encoding.unwrap_or_default(), ',') {
        let (coding, parameters) = part.split_once(';').unwrap_or((part, "q=1"));
        let wanted = parameters.trim().strip_prefix(['q', 'Q']).map(str::trim_start);
        let wanted = wanted.and_then(|rest| rest.strip_prefix('=')).map(str::trim);
        let Some(wanted) = wanted.and_then(weight) else { continue };
        match coding.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => gzip = Some(wanted),
            "identity" => identity = wanted,
            "*" => any = Some(wanted),
            _ => {}
        }
    }
    let gzip = gzip.or(any).unwrap_or(0);
    gzip > 0 && gzip >= identity
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers() -> Vec<Offer> {
        [
            ("text", "text/plain; version=0.0.4; charset=utf-8"),
            ("om", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
            ("text8", "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8"),
            (
                "om8",
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            ),
        ]
        .map(|(selector, content_type)| Offer {
            selector: selector.to_owned(),
            content_type: content_type.to_owned(),
        })
        .to_vec()
    }

    #[test]
    fn every_kind_of_accept_has_its_format() {
        for (accept, wanted) in [
            // Prometheus 2.42.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=\
                 0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                "om",
            ),
            // Prometheus 3, with UTF-8 names and with legacy ones.
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=\
                 delimited;q=0.7,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;\
                 q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;\
                 escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                "om8",
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.5,*/*;q=0.2",
                "om",
            ),
            (
                "text/plain;version=1.0.0;escaping=allow-utf-8,text/plain;version=0.0.4;q=0.3",
                "text8",
            ),
            ("text/plain;version=0.0.4;escaping=values", "text"),
            ("*/*", "text"),
            ("", "text"),
            ("text/*", "text"),
            ("application/*", "om"),
            ("text/plain", "text"),
            ("TEXT/PLAIN ; Version=0.0.4 ; Q=1.0", "text"),
            ("application/openmetrics-text", "om"),
            ("application/openmetrics-text; version=\"1.0.0\"", "om"),
            // A version that there is not, and the fallback.
            ("application/openmetrics-text;version=0.0.1", "text"),
            ("application/json", "text"),
            // Never 406.
            ("text/plain;q=0,application/openmetrics-text;q=0", "text"),
            ("*/*;q=0", "text"),
            // The most specific range has the weight.
            ("text/plain;q=0.1,*/*;q=0.9", "om"),
            ("application/openmetrics-text;q=0,*/*", "text"),
            ("text/plain;q=0.2,application/openmetrics-text;version=1.0.0;q=0.1", "text"),
            // Of equals the first that was named.
            ("application/openmetrics-text,text/plain", "om"),
            ("text/plain,application/openmetrics-text", "text"),
            // What is no range is passed over.
            (";;,/,a/b;q=x,text/plain;q=2,*/text,application/openmetrics-text", "om"),
            ("a/\"b,application/openmetrics-text", "text"),
        ] {
            let offers = offers();
            let chosen = choose(&offers, Some(accept)).map(|offer| offer.selector.as_str());
            assert_eq!(chosen, Some(wanted), "{accept}");
        }
        assert_eq!(choose(&offers(), None), offers().first());
        assert_eq!(choose(&[], None), None);
    }

    #[test]
    fn without_quoting_offers_who_may_quote_gets_what_escapes() {
        let offers: Vec<_> = offers().into_iter().take(2).collect();
        let accept =
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,*/*;q=0.2";
        assert_eq!(choose(&offers, Some(accept)).map(|one| one.selector.as_str()), Some("om"));
    }

    #[test]
    fn gzip_is_sent_to_those_that_ask_for_it() {
        for (accept, wanted) in [
            ("gzip", true),
            ("GZIP;q=0.5", true),
            ("x-gzip", true),
            ("br, gzip;q=0.001", true),
            ("*", true),
            ("gzip;q=0", false),
            ("gzip;q=0.000", false),
            ("gzip;q=0, *", false),
            ("*;q=0", false),
            ("gzip;q=0.1, identity", false),
            ("gzip, identity;q=0", true),
            ("gzip;q=nonsense", false),
            ("gzipped", false),
            ("", false),
        ] {
            assert_eq!(takes_gzip(Some(accept)), wanted, "{accept}");
        }
        assert!(!takes_gzip(None));
    }
}
