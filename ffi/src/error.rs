//! Errors that calls hand out: code, message, field, the operating system's number.

use tallyport_core::model::Error;
use tallyport_plugin_api::abi::{
    TALLYPORT_BAD_HANDLE, tallyport_error, tallyport_status, tallyport_str,
};

use crate::{
    boundary::plain,
    handles::{self, Object},
};

/// An error with its texts as C reads them.
pub(crate) struct ErrorState {
    code: tallyport_status,
    os_error: i32,
    message: Text,
    field: Text,
}

/// Text that a NUL follows, so that it also prints with `%s`.
struct Text(Box<str>);

impl Text {
    fn new(text: &str) -> Self {
        Self(format!("{text}\0").into())
    }

    fn as_str(&self) -> tallyport_str {
        tallyport_str { ptr: self.0.as_ptr().cast(), len: self.0.len() - 1 }
    }
}

impl ErrorState {
    pub(crate) fn new(error: Error) -> Self {
        Self {
            code: error.kind().status(),
            os_error: error.os_error().unwrap_or(0),
            message: Text::new(&error.to_string()),
            field: Text::new(error.field().unwrap_or("")),
        }
    }
}

const EMPTY: tallyport_str = tallyport_str { ptr: c"".as_ptr(), len: 0 };

fn read<R>(error: *const tallyport_error, part: impl FnOnce(&ErrorState) -> R) -> Option<R> {
    handles::with(error, |object| match object {
        Object::Error(state) => Some(part(state)),
        _ => None,
    })
}

/// Status that the failed call returned; BAD_HANDLE when `error` is no live error.
///
/// Threads: any thread. Ownership: borrows. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_error_code(error: *const tallyport_error) -> tallyport_status {
    plain!(TALLYPORT_BAD_HANDLE, read(error, |state| state.code).unwrap_or(TALLYPORT_BAD_HANDLE))
}

/// What went wrong, which object, what to do: one sentence or a line per problem.
///
/// Threads: any thread. Ownership: the text is the error's, until tallyport_error_free; a NUL
/// follows it. Errors: empty when `error` is no live error. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_error_message(error: *const tallyport_error) -> tallyport_str {
    plain!(EMPTY, read(error, |state| state.message.as_str()).unwrap_or(EMPTY))
}

/// Argument or configuration key that is wrong (`labels[2].name`); empty where none is.
///
/// Threads: any thread. Ownership: the text is the error's, until tallyport_error_free; a NUL
/// follows it. Errors: empty when `error` is no live error. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_error_field(error: *const tallyport_error) -> tallyport_str {
    plain!(EMPTY, read(error, |state| state.field.as_str()).unwrap_or(EMPTY))
}

/// The operating system's error number; 0 where it was not asked.
///
/// Threads: any thread. Ownership: borrows. Errors: 0 when `error` is no live error. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_error_os_error(error: *const tallyport_error) -> i32 {
    plain!(0, read(error, |state| state.os_error).unwrap_or(0))
}

/// Frees an error.
///
/// Threads: any thread. Ownership: takes `error`; NULL and a stale handle are no-ops. Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_error_free(error: *mut tallyport_error) {
    plain!((), {
        handles::remove(error, |object| matches!(object, Object::Error(_)));
    });
}
