//! Log lines of exporters that run on threads of ours.
//!
//! A host's log function belongs to the host's threads: lines wait here, bounded, until a thread
//! that calls the exporter takes them along.

use std::collections::VecDeque;

use tallyport_plugin_api::abi::{
    TALLYPORT_LOG_DEBUG, TALLYPORT_LOG_ERROR, TALLYPORT_LOG_INFO, TALLYPORT_LOG_WARN,
};

use crate::model::Mutex;

/// Target of the messages that exporters log, and of those about what became of one.
pub const LOG_TARGET: &str = "tallyport::plugin";

/// Most lines that wait; the rest is counted.
const MAX_LINES: usize = 256;

/// Lines that wait for a thread of the host.
#[derive(Debug, Default)]
pub(in crate::plugin) struct Mailbox(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    waiting: VecDeque<(i32, String)>,
    dropped: usize,
    /// Nobody will come for them any more.
    closed: bool,
}

impl Mailbox {
    /// Leaves a line.
    pub(in crate::plugin) fn put(&self, level: i32, line: String) {
        let mut lines = self.0.lock();
        if lines.closed {
            return;
        }
        if lines.waiting.len() < MAX_LINES {
            lines.waiting.push_back((level, line));
        } else {
            lines.dropped += 1;
        }
    }

    /// Logs what waits, on this thread.
    pub(in crate::plugin) fn deliver(&self, plugin: &str) {
        let (waiting, dropped) = {
            let mut lines = self.0.lock();
            (std::mem::take(&mut lines.waiting), std::mem::take(&mut lines.dropped))
        };
        for (level, line) in waiting {
            emit(plugin, level, &line);
        }
        if dropped > 0 {
            emit(plugin, TALLYPORT_LOG_WARN, &format!("{dropped} further messages were dropped"));
        }
    }

    /// Takes no further line: the host may be gone when one comes.
    pub(in crate::plugin) fn close(&self) {
        let mut lines = self.0.lock();
        lines.closed = true;
        lines.waiting.clear();
    }
}

/// Logs one line of a plugin to where this thread logs.
pub(in crate::plugin) fn emit(plugin: &str, level: i32, line: &str) {
    match level {
        TALLYPORT_LOG_ERROR => tracing::error!(target: LOG_TARGET, plugin, "{line}"),
        TALLYPORT_LOG_WARN => tracing::warn!(target: LOG_TARGET, plugin, "{line}"),
        TALLYPORT_LOG_INFO => tracing::info!(target: LOG_TARGET, plugin, "{line}"),
        TALLYPORT_LOG_DEBUG => tracing::debug!(target: LOG_TARGET, plugin, "{line}"),
        _ => tracing::trace!(target: LOG_TARGET, plugin, "{line}"),
    }
}
