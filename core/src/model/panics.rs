//! Panics of code that is not ours: caught, and told as text.

use std::any::Any;

/// What a panic said. Its payload is not dropped: that may panic again.
pub(crate) fn panic_text(payload: Box<dyn Any + Send>) -> String {
    let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => format!("it panicked: {text}"),
        (_, Some(text)) => format!("it panicked: {text}"),
        _ => "it panicked".to_owned(),
    };
    std::mem::forget(payload);
    text
}
