//! The one error of the engine: a kind, a sentence, and where it applies to one, the field that is
//! wrong and the operating system's number.

use std::{fmt, io};

use tallyport_plugin_api::abi;

/// What went wrong, coarsely; the C API's status numbers mirror it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is outside its domain; [`Error::field`] names it.
    InvalidArgument,
    /// Text is not valid UTF-8.
    InvalidUtf8,
    /// A required pointer is NULL (C API).
    NullArgument,
    /// A handle is stale or of another type (C API).
    BadHandle,
    /// The same name exists with another kind, number type, bounds or help.
    Conflict,
    /// A configured limit would be exceeded.
    Limit,
    /// Nothing has that name.
    NotFound,
    /// Something has that name already.
    AlreadyExists,
    /// The configuration is invalid.
    Config,
    /// The operating system refused.
    Io,
    /// A plugin file could not be found, opened, trusted or loaded.
    PluginRefused,
    /// A plugin speaks another ABI, or breaks this one.
    PluginAbi,
    /// A plugin reported a failure of its own.
    PluginFailed,
    /// Code panicked; the panic was contained.
    Panic,
    /// An earlier panic left the object unusable.
    Poisoned,
    /// The caller withdrew the call.
    Cancelled,
    /// The deadline passed.
    Timeout,
    /// The operation or format is not available here.
    Unsupported,
    /// Data that was read is damaged.
    Damaged,
    /// The object was shut down.
    Closed,
    /// A bug in Tallyport.
    Internal,
    /// It is left alone for a while after earlier failures; try again later.
    Unavailable,
}

impl ErrorKind {
    const STATUSES: [(Self, abi::tallyport_status); 22] = [
        (Self::InvalidArgument, abi::TALLYPORT_INVALID_ARGUMENT),
        (Self::InvalidUtf8, abi::TALLYPORT_INVALID_UTF8),
        (Self::NullArgument, abi::TALLYPORT_NULL_ARGUMENT),
        (Self::BadHandle, abi::TALLYPORT_BAD_HANDLE),
        (Self::Conflict, abi::TALLYPORT_CONFLICT),
        (Self::Limit, abi::TALLYPORT_LIMIT),
        (Self::NotFound, abi::TALLYPORT_NOT_FOUND),
        (Self::AlreadyExists, abi::TALLYPORT_ALREADY_EXISTS),
        (Self::Config, abi::TALLYPORT_CONFIG),
        (Self::Io, abi::TALLYPORT_IO),
        (Self::PluginRefused, abi::TALLYPORT_PLUGIN_REFUSED),
        (Self::PluginAbi, abi::TALLYPORT_PLUGIN_ABI_MISMATCH),
        (Self::PluginFailed, abi::TALLYPORT_PLUGIN_FAILED),
        (Self::Panic, abi::TALLYPORT_PANIC),
        (Self::Poisoned, abi::TALLYPORT_POISONED),
        (Self::Cancelled, abi::TALLYPORT_CANCELLED),
        (Self::Timeout, abi::TALLYPORT_TIMEOUT),
        (Self::Unsupported, abi::TALLYPORT_UNSUPPORTED),
        (Self::Damaged, abi::TALLYPORT_DAMAGED),
        (Self::Closed, abi::TALLYPORT_CLOSED),
        (Self::Internal, abi::TALLYPORT_INTERNAL),
        (Self::Unavailable, abi::TALLYPORT_UNAVAILABLE),
    ];

    /// The status number of the C interfaces.
    #[must_use]
    pub fn status(self) -> abi::tallyport_status {
        let found = Self::STATUSES.iter().find(|(kind, _)| *kind == self);
        found.map_or(abi::TALLYPORT_INTERNAL, |(_, status)| *status)
    }

    /// Its name in metrics and reports: that of the status, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::NullArgument => "null_argument",
            Self::BadHandle => "bad_handle",
            Self::Conflict => "conflict",
            Self::Limit => "limit",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Config => "config",
            Self::Io => "io",
            Self::PluginRefused => "plugin_refused",
            Self::PluginAbi => "plugin_abi_mismatch",
            Self::PluginFailed => "plugin_failed",
            Self::Panic => "panic",
            Self::Poisoned => "poisoned",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
            Self::Unsupported => "unsupported",
            Self::Damaged => "damaged",
            Self::Closed => "closed",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
        }
    }

    /// The kind of a status that a plugin returned; an unknown number is its own failure.
    #[must_use]
    pub fn from_status(status: abi::tallyport_status) -> Self {
        let found = Self::STATUSES.iter().find(|(_, number)| *number == status);
        found.map_or(Self::PluginFailed, |(kind, _)| *kind)
    }
}

/// What went wrong: a sentence that names the object and what to do.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    field: Option<String>,
    os_error: Option<i32>,
    contended: bool,
}

impl Error {
    /// An error of a kind, with its sentence.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let (field, os_error, contended) = (None, None, false);
        Self(Box::new(Inner { kind, message: message.into(), field, os_error, contended }))
    }

    /// The argument or configuration key `field` is invalid.
    #[must_use]
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message).with_field(field)
    }

    /// The operating system refused `what` (an action and its object).
    #[must_use]
    pub fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        let mut own = Self::new(ErrorKind::Io, format!("{what}: {error}"));
        own.0.os_error = error.raw_os_error();
        own
    }

    /// Names the argument or key that is wrong.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Gives the operating system's number, of an error that comes from another process.
    #[must_use]
    pub(crate) fn with_os_error(mut self, number: Option<i32>) -> Self {
        self.0.os_error = number;
        self
    }

    /// Marks that others came first each time: nothing is broken, and a later try may go through.
    #[must_use]
    pub(crate) fn with_contention(mut self) -> Self {
        self.0.contended = true;
        self
    }

    /// Whether others came first each time.
    #[must_use]
    pub(crate) fn is_contended(&self) -> bool {
        self.0.contended
    }

    /// The same error under another kind.
    #[must_use]
    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Puts `context` and a colon before the sentence.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    /// What went wrong, coarsely.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The argument or key that is wrong.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// The operating system's error number.
    #[must_use]
    pub fn os_error(&self) -> Option<i32> {
        self.0.os_error
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, message, field, os_error, .. } = &*self.0;
        write!(f, "{kind:?}: {message}")?;
        if let Some(field) = field {
            write!(f, " [field {field}]")?;
        }
        if let Some(os_error) = os_error {
            write!(f, " [os error {os_error}]")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<tallyport_plugin_api::Error> for Error {
    fn from(error: tallyport_plugin_api::Error) -> Self {
        Self::new(ErrorKind::from_status(error.status()), error.message())
    }
}
