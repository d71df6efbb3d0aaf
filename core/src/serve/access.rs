//! Who may read: everybody, who has a token, or who has a name and a password.
//!
//! Credentials are kept as SHA-256, and compared as that, all of them, in constant time: what a wrong
//! one has in common with a right one, its length too, does not show in the time.

use std::fmt;

use base64::{Engine as _, alphabet, engine};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::model::{Error, ErrorKind};

type Hash = [u8; 32];

/// Who may read.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Access(Rule);

#[derive(Clone, Default, PartialEq, Eq)]
enum Rule {
    #[default]
    Everybody,
    Bearer(Vec<Hash>),
    Basic(Vec<Hash>),
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Rule::Everybody => "Everybody",
            Rule::Bearer(_) => "Bearer",
            Rule::Basic(_) => "Basic",
        })
    }
}

/// As senders write it, with or without the padding at its end.
const BASE64: engine::GeneralPurpose = engine::GeneralPurpose::new(
    &alphabet::STANDARD,
    engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(engine::DecodePaddingMode::Indifferent),
);

fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// The hashes of the lines of a text, each of which must be right.
fn hashes(text: &str, is_right: impl Fn(&str) -> bool, rule: &str) -> Result<Vec<Hash>, Error> {
    let wrong = |message: String| Err(Error::new(ErrorKind::Config, message));
    let mut hashes = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_end_matches('\r');
        if line.is_empty() {
            continue;
        }
        if !is_right(line) {
            return wrong(format!("line {number} of the credentials {rule}"));
        }
        hashes.push(hash(line.as_bytes()));
    }
    if hashes.is_empty() {
        return wrong("there are no credentials in it, so nobody could read".to_owned());
    }
    Ok(hashes)
}

impl Access {
    /// Who has one of the tokens, one a line.
    ///
    /// # Errors
    /// Config for a line that is no token, and without one.
    pub fn bearer(text: &str) -> Result<Self, Error> {
        // b64token of RFC 6750.
        let is_token = |line: &str| {
            let body = line.trim_end_matches('=');
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
            !body.is_empty() && body.bytes().all(known)
        };
        let rule = "is no token: letters, digits and -._~+/ it may have, and = at its end";
        hashes(text, is_token, rule).map(|hashes| Self(Rule::Bearer(hashes)))
    }

    /// Who has one of the names with its password, `name:password` a line.
    ///
    /// # Errors
    /// Config for a line that is not that, and without one.
    pub fn basic(text: &str) -> Result<Self, Error> {
        let is_pair = |line: &str| {
            let pair = line.split_once(':');
            pair.is_some_and(|(name, password)| !name.is_empty() && !password.is_empty())
                && !line.contains(|c: char| c.is_control())
        };
        let rule = "is not name:password";
        hashes(text, is_pair, rule).map(|hashes| Self(Rule::Basic(hashes)))
    }

    /// What a client is told that may not read: the value of `WWW-Authenticate`. `None`: all may.
    pub(super) fn challenge(&self) -> Option<&'static str> {
        match &self.0 {
            Rule::Everybody => None,
            Rule::Bearer(_) => Some("Bearer realm=\"tallyport\""),
            Rule::Basic(_) => Some("Basic realm=\"tallyport\", charset=\"UTF-8\""),
        }
    }

    /// Whether a client that sent this `Authorization` may read.
    pub(super) fn admits(&self, authorization: Option<&str>) -> bool {
        let (scheme, known) = match &self.0 {
            Rule::Everybody => return true,
            Rule::Bearer(known) => ("bearer", known),
            Rule::Basic(known) => ("basic", known),
        };
        let given = authorization.unwrap_or_default().trim();
        let (said, given) = given.split_once(' ').unwrap_or((given, ""));
        if !said.eq_ignore_ascii_case(scheme) {
            return false;
        }
        let given = given.trim_start();
        let given = match &self.0 {
            Rule::Basic(_) => BASE64.decode(given).map_or([0; 32], |pair| hash(&pair)),
            _ => hash(given.as_bytes()),
        };
        let no = Choice::from(0);
        known.iter().fold(no, |found, known| found | known.ct_eq(&given)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_admits_whole_and_alone() {
        let access = Access::bearer("first-token==\r\n\nsecond.token\n").unwrap();
        for admitted in ["Bearer first-token==", "bearer   second.token", "BEARER second.token"] {
            assert!(access.admits(Some(admitted)), "{admitted}");
        }
        for refused in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer second",
            "Bearer second.token2",
            "Bearer second.token, Bearer second.token",
            "Bearer Second.token",
            "second.token",
            "Basic second.token",
            "Bearer\tsecond.token",
        ] {
            assert!(!access.admits(Some(refused)), "{refused}");
        }
        assert!(!access.admits(None));
        assert!(Access::default().admits(None));
    }

    #[test]
    fn a_name_admits_with_its_password() {
        let access = Access::basic("scraper:open sesame:!\nä:ö").unwrap();
        let with = |pair: &str| format!("Basic {}", BASE64.encode(pair));
        assert!(access.admits(Some(&with("scraper:open sesame:!"))));
        assert!(access.admits(Some(with("ä:ö").trim_end_matches('='))));
        for refused in
            ["", "scraper", "scraper:", ":open sesame:!", "scraper:open sesame:!\n", "ä:o"]
        {
            assert!(!access.admits(Some(&with(refused))), "{refused}");
        }
        assert!(!access.admits(Some("Basic scraper:open sesame:!")));
        assert!(!access.admits(Some("Basic")));
        assert!(!access.admits(Some("Bearer x")));
    }

    #[test]
    fn files_that_would_admit_nobody_or_anybody_are_refused_without_being_shown() {
        let said = |access: Result<Access, Error>| access.unwrap_err().to_string();
        assert!(said(Access::bearer("")).contains("no credentials"));
        assert!(said(Access::bearer("\n\r\n")).contains("no credentials"));
        let wrong = said(Access::bearer("good\nhunter2 hunter3\n"));
        assert!(wrong.contains("line 2") && !wrong.contains("hunter"), "{wrong}");
        for line in ["name", "name:", ":password", "a:b\u{7f}"] {
            assert!(said(Access::basic(line)).contains("line 1"), "{line}");
        }
        assert_eq!(format!("{:?}", Access::bearer("hunter2").unwrap()), "Bearer");
    }
}
