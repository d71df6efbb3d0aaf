//! Escapes of the text formats: label values, quoted names, HELP texts.
//!
//! Text is copied in runs between the characters that need an escape; everything else (control
//! characters, NUL, bidirectional marks) stands as it is, as the formats say.

/// Appends a label value or a quoted name, without its quotes: `\\`, `\"` and `\n`.
pub(super) fn quoted(out: &mut Vec<u8>, text: &str) {
    escape(out, text, |byte| matches!(byte, b'\\' | b'"' | b'\n'));
}

/// Appends a HELP text: `\\` and `\n`, and in OpenMetrics `\"`.
pub(super) fn help(out: &mut Vec<u8>, text: &str, open_metrics: bool) {
    if open_metrics {
        quoted(out, text);
    } else {
        escape(out, text, |byte| matches!(byte, b'\\' | b'\n'));
    }
}

fn escape(out: &mut Vec<u8>, text: &str, special: impl Fn(u8) -> bool) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| special(byte)) {
        let (run, tail) = rest.split_at(at);
        out.extend_from_slice(run);
        let Some((&byte, tail)) = tail.split_first() else { return };
        out.extend_from_slice(&[b'\\', if byte == b'\n' { b'n' } else { byte }]);
        rest = tail;
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_its_escapes() {
        let text = "a\\b\"c\nd\te\0\u{202e}\\";
        let written = |write: fn(&mut Vec<u8>, &str)| {
            let mut out = Vec::new();
            write(&mut out, text);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(quoted), "a\\\\b\\\"c\\nd\te\0\u{202e}\\\\");
        assert_eq!(written(|out, text| help(out, text, true)), "a\\\\b\\\"c\\nd\te\0\u{202e}\\\\");
        assert_eq!(written(|out, text| help(out, text, false)), "a\\\\b\"c\\nd\te\0\u{202e}\\\\");
    }
}
