//! Words and strings that JSON and CSV share.

use tallyport_plugin_api::Kind;

/// What a kind is called.
pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::UpDownCounter => "up_down_counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

/// Appends `text` as a JSON string, with its quotes.
pub(crate) fn json_string(out: &mut Vec<u8>, text: &str) {
    let before = out.len();
    // Writing to memory cannot fail; were it to, an empty string keeps the document well-formed.
    if serde_json::to_writer(&mut *out, text).is_err() {
        out.truncate(before);
        out.extend_from_slice(b"\"\"");
    }
}

/// `text` as a JSON string, with its quotes.
pub(crate) fn json_quoted(text: &str) -> String {
    let mut out = Vec::new();
    json_string(&mut out, text);
    String::from_utf8(out).unwrap_or_default()
}
