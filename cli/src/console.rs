//! What people read: messages on stderr, and the log of the engine and its plugins.
//!
//! The log is a subscriber of our own, fifty lines that write one line per event: of
//! tracing-subscriber only this would be used, and it brings six more crates.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    io::{self, Write as _},
};

use tallyport_core::plugin::LOG_TARGET;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};

use crate::exit::{Exit, Failure};

/// The way to stderr.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Console {
    quiet: bool,
}

impl Console {
    /// Sets the log up: `-v` info, `-vv` debug, `-vvv` trace. `warns`: the engine's warnings are
    /// heard without it.
    pub(crate) fn open(quiet: bool, verbose: u8, warns: bool) -> Self {
        let level = match verbose {
            0 => LevelFilter::WARN,
            1 => LevelFilter::INFO,
            2 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        if !quiet {
            let log = Log { level, everything: warns || verbose > 0 };
            // It fails only if there is one already, which then serves.
            let _ = tracing::subscriber::set_global_default(log);
        }
        Self { quiet }
    }

    /// Says what went well; not with `--quiet`.
    pub(crate) fn note(self, message: impl fmt::Display) {
        if !self.quiet {
            say(&format!("tallyport: {message}"));
        }
    }

    /// Says what went wrong and does not matter to the result; not with `--quiet`.
    pub(crate) fn warn(self, message: impl fmt::Display) {
        self.note(format_args!("warning: {message}"));
    }

    /// Prints a result that was asked for and has no room on stdout.
    pub(crate) fn data(self, text: &str) {
        say(text);
    }

    /// Says why the command fails, and how it ends.
    pub(crate) fn fail(self, failure: &Failure) -> Exit {
        if !failure.message.is_empty() {
            say(&format!("tallyport: {}", failure.message));
        }
        failure.details.iter().for_each(|line| say(line));
        if let Some(hint) = failure.hint.as_ref().filter(|_| !self.quiet) {
            say(&format!("hint: {hint}"));
        }
        failure.exit
    }
}

/// Writes a line to stderr. Should that be gone, there is nobody to tell.
fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(line, true));
}

/// Text from files and plugins, its control characters escaped, so that it cannot steer a terminal.
pub(crate) fn printable(text: &str, lines: bool) -> Cow<'_, str> {
    let steers = |c: char| {
        // Besides controls: marks that reverse the direction of what follows.
        let reverses = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        (c.is_control() && !(lines && c == '\n')) || reverses
    };
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// One line on stderr per event; spans are not used by the engine.
struct Log {
    level: LevelFilter,
    /// False: only what plugins say.
    everything: bool,
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // What plugins log is heard without `-v` too.
        let speaks = self.everything || metadata.target() == LOG_TARGET;
        speaks && *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        say(&format!("tallyport: {level}: {}{}", line.fields, line.message));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        // Writing to a String does not fail.
        let _ = match field.name() {
            "plugin" => write!(self.fields, "plugin `{value}`: "),
            name => write!(self.fields, "{name} `{value}`: "),
        };
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, "{name} {value:?}: "),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_steer_a_terminal() {
        assert_eq!(printable("über `x`", false), "über `x`");
        assert_eq!(printable("a\u{1b}[31mred", true), "a\\u{1b}[31mred");
        assert_eq!(printable("one\ntwo\r", true), "one\ntwo\\r");
        assert_eq!(printable("one\ntwo", false), "one\\ntwo");
        assert_eq!(printable("\u{202e}gpj.exe", false), "\\u{202e}gpj.exe");
    }
}
