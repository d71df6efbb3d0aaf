//! The error of the SDK: a status, a message, and details that the host logs and returns.

use std::{fmt, io};

use crate::abi::{
    TALLYPORT_DAMAGED, TALLYPORT_INVALID_ARGUMENT, TALLYPORT_IO, TALLYPORT_PLUGIN_FAILED,
    tallyport_status,
};

/// Why a plugin could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    status: tallyport_status,
    message: String,
    details: Vec<(String, String)>,
}

impl Error {
    /// An error with one of the `TALLYPORT_*` status numbers.
    #[must_use]
    pub fn new(status: tallyport_status, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), details: Vec::new() }
    }

    /// The exporter failed for a reason of its own.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(TALLYPORT_PLUGIN_FAILED, message)
    }

    /// The option at `path` (for example `columns[2]`) is invalid.
    #[must_use]
    pub fn option(path: &str, message: impl fmt::Display) -> Self {
        Self::new(TALLYPORT_INVALID_ARGUMENT, format!("option `{path}`: {message}"))
            .with("option", path)
    }

    /// What was read breaks the ABI or its own table.
    #[must_use]
    pub fn damaged(message: impl Into<String>) -> Self {
        Self::new(TALLYPORT_DAMAGED, message)
    }

    /// Adds a key and a value that the host keeps beside the message.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.details.push((key.into(), value.into()));
        self
    }

    /// The status number.
    #[must_use]
    pub fn status(&self) -> tallyport_status {
        self.status
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Keys and values added by [`Error::with`].
    #[must_use]
    pub fn details(&self) -> &[(String, String)] {
        &self.details
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// An error that travelled through `io::Write` comes back as it was.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.downcast::<Error>() {
            Ok(own) => own,
            Err(other) => Error::new(TALLYPORT_IO, other.to_string()),
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}
