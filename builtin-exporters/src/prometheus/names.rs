//! How a name is spelled, and that no two families end up with the same one.
//!
//! A legal name stands as it is. Any other one is escaped as Prometheus does it under
//! `escaping=values` (`U__`, `_` doubled, `_2e_` for a character), or quoted. Escaped names must
//! not collide: a legal name that begins with `U__` is escaped as well (Prometheus leaves it), so
//! that every `U__…` in the output has exactly one origin, which unescaping gives back.

use std::{borrow::Cow, collections::HashMap};

use tallyport_plugin_api::{Error, Family, Kind, abi::TALLYPORT_CONFLICT};

use super::{Dialect, Utf8Names, escape};

/// A name as it goes into the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name<'a> {
    text: Cow<'a, str>,
    quoted: bool,
}

fn is_legal(name: &str, colon: bool) -> bool {
    let mut bytes = name.bytes();
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || (colon && byte == b':');
    bytes.next().is_some_and(letter) && bytes.all(|byte| letter(byte) || byte.is_ascii_digit())
}

fn escaped(name: &str, colon: bool) -> String {
    let mut out = String::with_capacity(name.len() + 16);
    out.push_str("U__");
    for (at, letter) in name.char_indices() {
        match letter {
            '_' => out.push_str("__"),
            ':' if colon => out.push(':'),
            'a'..='z' | 'A'..='Z' => out.push(letter),
            '0'..='9' if at > 0 => out.push(letter),
            _ => out.push_str(&format!("_{:x}_", u32::from(letter))),
        }
    }
    out
}

fn spell(name: &str, colon: bool, utf8_names: Utf8Names) -> Name<'_> {
    let legal = is_legal(name, colon);
    match utf8_names {
        Utf8Names::Escape if legal && !name.starts_with("U__") => {
            Name { text: name.into(), quoted: false }
        }
        Utf8Names::Escape => Name { text: escaped(name, colon).into(), quoted: false },
        Utf8Names::Quote => Name { text: name.into(), quoted: !legal },
    }
}

impl<'a> Name<'a> {
    /// The name of a family, as TYPE and HELP have it.
    pub(super) fn family(dialect: Dialect, family: &Family<'a>) -> Self {
        let mut name = spell(family.name(), true, dialect.utf8_names);
        if dialect.open_metrics && family.kind() == Kind::Counter {
            let base = name.text.strip_suffix("_total").filter(|base| !base.is_empty());
            if let Some(length) = base.map(str::len) {
                match &mut name.text {
                    Cow::Borrowed(text) => *text = text.get(..length).unwrap_or(text),
                    Cow::Owned(text) => text.truncate(length),
                }
                // What is left of a quoted name may be legal, and has one spelling then.
                name.quoted &= !is_legal(&name.text, true);
            }
        }
        name
    }

    /// The name of a label.
    pub(super) fn label(dialect: Dialect, name: &'a str) -> Self {
        spell(name, false, dialect.utf8_names)
    }

    /// Appends the name as TYPE, HELP and labels have it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if self.quoted {
            out.push(b'"');
            escape::quoted(out, &self.text);
            out.push(b'"');
        } else {
            out.extend_from_slice(self.text.as_bytes());
        }
    }

    /// Appends what stands before the labels of a sample: `name_sum{` or `{"na.me_sum",`.
    pub(super) fn open(&self, out: &mut Vec<u8>, suffix: &str) {
        if self.quoted {
            self.open_quoted(out, suffix);
            out.push(b',');
        } else {
            out.extend_from_slice(self.text.as_bytes());
            out.extend_from_slice(suffix.as_bytes());
            out.push(b'{');
        }
    }

    /// Appends what stands before the value of a sample without labels.
    pub(super) fn bare(&self, out: &mut Vec<u8>, suffix: &str) {
        if self.quoted {
            self.open_quoted(out, suffix);
            out.extend_from_slice(b"} ");
        } else {
            out.extend_from_slice(self.text.as_bytes());
            out.extend_from_slice(suffix.as_bytes());
            out.push(b' ');
        }
    }

    fn open_quoted(&self, out: &mut Vec<u8>, suffix: &str) {
        out.extend_from_slice(b"{\"");
        escape::quoted(out, &self.text);
        out.extend_from_slice(suffix.as_bytes());
        out.push(b'"');
    }

    /// The unit, where the name ends with it as OpenMetrics asks for.
    pub(super) fn unit<'u>(&self, unit: &'u str) -> Option<&'u str> {
        let legal = !unit.is_empty() && is_legal(&format!("_{unit}"), true);
        let rest = self.text.strip_suffix(unit).filter(|_| legal)?;
        rest.strip_suffix('_').filter(|rest| !rest.is_empty()).map(|_| unit)
    }
}

/// The names that the families seen so far take, with the family that takes each.
#[derive(Debug, Default)]
pub(super) struct Claims<'a>(HashMap<String, &'a str>);

impl<'a> Claims<'a> {
    /// Takes the names of a family's samples.
    ///
    /// # Errors
    /// CONFLICT, naming both families. The engine refuses such a pair at registration; a snapshot
    /// may come from elsewhere.
    pub(super) fn claim(
        &mut self,
        dialect: Dialect,
        family: &Family<'a>,
        name: &Name<'_>,
    ) -> Result<(), Error> {
        let suffixes: &[&str] = match (family.kind(), dialect.open_metrics) {
            (Kind::Counter, true) => &["", "_total", "_created"],
            (Kind::Histogram, true) => &["", "_bucket", "_count", "_sum", "_created"],
            (Kind::Histogram, false) => &["", "_bucket", "_count", "_sum"],
            _ => &[""],
        };
        for suffix in suffixes {
            let taken = format!("{}{suffix}", name.text);
            if let Some(other) = self.0.insert(taken.clone(), family.name()) {
                let message = format!(
                    "the families `{other}` and `{}` would both be written as `{taken}`",
                    family.name()
                );
                return Err(Error::new(TALLYPORT_CONFLICT, message).with("family", family.name()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(name: &str, colon: bool, utf8_names: Utf8Names) -> String {
        let mut out = Vec::new();
        spell(name, colon, utf8_names).write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn names_are_spelled_as_prometheus_spells_them() {
        // From the tests of prometheus/common, model/metric_test.go.
        for (name, expected) in [
            ("no:escaping_required", "no:escaping_required"),
            ("mysystem.prod.west.cpu.load", "U__mysystem_2e_prod_2e_west_2e_cpu_2e_load"),
            ("http.status:sum", "U__http_2e_status:sum"),
            ("label with 😱", "U__label_20_with_20__1f631_"),
            ("花火", "U___82b1__706b_"),
            ("label with 0x_fffd", "U__label_20_with_20_0x__fffd"),
            // Ours: see the module's text.
            ("U__a_2e_b", "U__U____a__2e__b"),
            ("1st", "U___31_st"),
            ("", "U__"),
        ] {
            assert_eq!(text(name, true, Utf8Names::Escape), expected);
        }
        assert_eq!(text("a:b", false, Utf8Names::Escape), "U__a_3a_b");
        assert_eq!(text("a.\"b", true, Utf8Names::Quote), r#""a.\"b""#);
        assert_eq!(text("U__a", true, Utf8Names::Quote), "U__a");
    }

    #[test]
    fn a_unit_stands_only_behind_a_name_that_ends_with_it() {
        let unit = |name, unit| spell(name, true, Utf8Names::Escape).unit(unit).map(str::to_owned);
        assert_eq!(unit("wait_seconds", "seconds").as_deref(), Some("seconds"));
        assert_eq!(unit("wait", "seconds"), None);
        assert_eq!(unit("waitseconds", "seconds"), None);
        assert_eq!(unit("_seconds", "seconds"), None);
        assert_eq!(unit("wait_", ""), None);
        assert_eq!(unit("rate_m.s", "m.s"), None);
        assert_eq!(unit("a.b_seconds", "seconds").as_deref(), Some("seconds"));
    }

    /// As `UnescapeName` in prometheus/common does it.
    fn unescape(name: &str) -> String {
        let Some(body) = name.strip_prefix("U__") else { return name.to_owned() };
        let (mut out, mut rest) = (String::new(), body);
        while let Some(at) = rest.find('_') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(tail) = rest.strip_prefix('_') {
                out.push('_');
                rest = tail;
            } else {
                let end = rest.find('_').unwrap();
                let code = u32::from_str_radix(&rest[..end], 16).unwrap();
                out.push(char::from_u32(code).unwrap());
                rest = &rest[end + 1..];
            }
        }
        out + rest
    }

    proptest! {
        #[test]
        fn an_escaped_name_is_legal_and_gives_its_origin_back(name in "\\PC{0,12}|[U_a:.0-9]{0,12}") {
            for colon in [true, false] {
                let written = text(&name, colon, Utf8Names::Escape);
                prop_assert!(is_legal(&written, colon), "{written}");
                prop_assert_eq!(unescape(&written), &*name);
            }
        }
    }
}
