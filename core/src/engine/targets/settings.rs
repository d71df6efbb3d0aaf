//! From a target's table to where it goes. Secrets are read when they are used: they may be renewed.

use std::{collections::BTreeMap, path::Path, time::Duration};

use super::super::config::{
    Config, HttpConfig, HttpMethodConfig, TargetConfig, TargetDestination, TargetStrategy, is_http,
    mode_of,
};
use crate::{
    export::{Destination, HttpMethod, HttpSettings, Strategy, shown_url},
    model::{Error, ErrorKind},
    plugin::{Trust, remember},
};

impl TargetStrategy {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Threshold => "threshold",
            Self::Event => "event",
        }
    }
}

impl TargetDestination {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Http => "http",
            Self::Stdout => "stdout",
            Self::Plugin => "plugin",
        }
    }
}

impl Config {
    /// When a target is exported.
    pub(in crate::engine) fn strategy_of(&self, target: &TargetConfig) -> Strategy {
        match target.strategy {
            TargetStrategy::Scheduled => Strategy::Scheduled { interval: self.interval(target) },
            TargetStrategy::Threshold => Strategy::Threshold {
                changes: target.changes.unwrap_or(1),
                check: Duration::from_millis(target.check_ms),
            },
            TargetStrategy::Event => {
                Strategy::Event { name: target.event.clone().unwrap_or_default() }
            }
        }
    }

    /// Where a target goes, for people.
    pub(super) fn place_of(&self, target: &TargetConfig) -> Option<String> {
        match target.destination {
            TargetDestination::File => {
                let path = target.path.as_ref()?;
                Some(self.base_dir.join(path).display().to_string())
            }
            TargetDestination::Http => target.http.url.as_deref().map(shown_url),
            TargetDestination::Stdout | TargetDestination::Plugin => None,
        }
    }

    /// Where a target goes.
    ///
    /// # Errors
    /// Config, naming the file of a secret that cannot be read or is none.
    pub(super) fn destination(&self, target: &TargetConfig) -> Result<Destination, Error> {
        Ok(match target.destination {
            TargetDestination::File => Destination::File {
                path: self.base_dir.join(target.path.clone().unwrap_or_default()),
                mode: target.mode.as_deref().and_then(mode_of),
            },
            TargetDestination::Stdout => Destination::Stdout,
            TargetDestination::Plugin => Destination::Plugin,
            TargetDestination::Http => {
                let trust = self.policy().trust;
                let secrets = Secrets { base_dir: &self.base_dir, trust: &trust };
                Destination::Http(secrets.settings(&target.http)?)
            }
        })
    }
}

struct Secrets<'a> {
    base_dir: &'a Path,
    trust: &'a Trust,
}

impl Secrets<'_> {
    fn settings(&self, http: &HttpConfig) -> Result<HttpSettings, Error> {
        let url = match (&http.url, &http.url_file) {
            (Some(url), _) => url.clone(),
            (None, file) => self.read("url_file", file.as_deref())?,
        };
        if !is_http(&url) {
            let message = "the URL in `http.url_file` must begin with http:// or https://";
            return Err(Error::new(ErrorKind::Config, message).with_field("http.url_file"));
        }
        if let Some(end) = url.split_once("://").and_then(|(_, rest)| rest.split_once('@')) {
            remember(end.0);
        }
        let mut headers: BTreeMap<String, String> = http.headers.clone();
        for (name, file) in &http.headers_file {
            headers.insert(name.clone(), self.read("headers_file", Some(file))?);
        }
        if let Some(file) = &http.bearer_token_file {
            let token = self.read("bearer_token_file", Some(file))?;
            headers.insert("Authorization".into(), format!("Bearer {token}"));
        }
        if let Some(name) = &http.username {
            let password = self.read("password_file", http.password_file.as_deref())?;
            let login = login_of(name, &password);
            remember(&login);
            headers.insert("Authorization".into(), format!("Basic {login}"));
        }
        let method = match http.method {
            HttpMethodConfig::Post => HttpMethod::Post,
            HttpMethodConfig::Put => HttpMethod::Put,
        };
        let (gzip, timeout) = (http.gzip, Duration::from_millis(http.timeout_ms));
        let headers = headers.into_iter().collect();
        let ca_file = http.ca_file.as_ref().map(|file| self.base_dir.join(file));
        Ok(HttpSettings { url, method, gzip, headers, ca_file, timeout })
    }

    fn read(&self, key: &str, file: Option<&Path>) -> Result<String, Error> {
        let path = self.base_dir.join(file.unwrap_or(Path::new("")));
        let text = self.trust.read_secret(&path).map_err(|reason| {
            let message = format!("`http.{key}` `{}`: {reason}", path.display());
            Error::new(ErrorKind::Config, message).with_field(format!("http.{key}"))
        })?;
        remember(&text);
        Ok(text)
    }
}

#[cfg(feature = "export-http")]
fn login_of(name: &str, password: &str) -> String {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    BASE64_STANDARD.encode(format!("{name}:{password}"))
}

/// A build without requests sends none.
#[cfg(not(feature = "export-http"))]
fn login_of(_: &str, _: &str) -> String {
    String::new()
}
