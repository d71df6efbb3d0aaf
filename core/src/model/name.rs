//! What a metric and a label may be called: the Prometheus data model with UTF-8 names.
//!
//! Exporters quote or escape what their format cannot spell; here only what no format could
//! carry is refused.

use super::Error;

/// Longest metric or label name in bytes.
pub const MAX_NAME_BYTES: usize = 1024;
/// Longest label value, help text or unit in bytes.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

/// Checks a metric name: not empty, at most [`MAX_NAME_BYTES`], no NUL.
///
/// # Errors
/// InvalidArgument with the field `name`.
pub fn check_metric_name(name: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::invalid("name", "a metric name is empty"));
    }
    check_text("name", "metric name", name)
}

/// Checks a label name: as a metric name, and not reserved (`__…`).
///
/// # Errors
/// InvalidArgument with the field `labels`.
pub fn check_label_name(name: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::invalid("labels", "a label name is empty"));
    }
    if name.starts_with("__") {
        let message = format!("label name `{name}` is reserved: it begins with `__`");
        return Err(Error::invalid("labels", message));
    }
    check_text("labels", "label name", name)
}

fn check_text(field: &str, what: &str, text: &str) -> Result<(), Error> {
    if text.len() > MAX_NAME_BYTES {
        let message = format!("a {what} has {} bytes; at most {MAX_NAME_BYTES}", text.len());
        return Err(Error::invalid(field, message));
    }
    if let Some(at) = text.find('\0') {
        let message = format!("{what} {text:?} holds a NUL character at byte {at}");
        return Err(Error::invalid(field, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_data_model_are_accepted() {
        for name in ["a", "http_requests_total", "böse.name", "job:rate5m", "with space", "1"] {
            check_metric_name(name).unwrap();
            check_label_name(name).unwrap();
        }
    }

    #[test]
    fn names_that_no_format_can_carry_are_refused_with_their_field() {
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        for name in ["", "a\0b", long.as_str()] {
            assert_eq!(check_metric_name(name).unwrap_err().field(), Some("name"));
            assert_eq!(check_label_name(name).unwrap_err().field(), Some("labels"));
        }
        assert_eq!(check_label_name("__name__").unwrap_err().field(), Some("labels"));
    }
}
