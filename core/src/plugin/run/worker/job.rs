//! One call: what is asked, how far it is, and the bytes on their way to the caller.

use std::{collections::VecDeque, time::Instant};

use super::super::{Failed, Syncs};
use crate::{
    model::{Condvar, Error, ErrorKind, Mutex},
    plugin::host::Control,
    snapshot::Snapshot,
};

/// Bytes that are handed to the caller at once, unless the call is over.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes that wait for the caller before the exporter has to.
const MAX_WAITING_BYTES: usize = 1 << 20;

/// What is asked of an exporter.
#[derive(Debug)]
pub(super) enum Task {
    Create,
    Export {
        snapshot: Snapshot,
        format: String,
    },
    Flush,
    /// Its number is 1 where the exporter was told.
    Synced(Syncs),
}

impl Task {
    /// Its name in messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Export { .. } => "export",
            Self::Flush => "flush",
            Self::Synced(_) => "on_sync",
        }
    }
}

/// A call, shared by the thread that asked for it and the one that makes it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) task: Task,
    pub(super) deadline: Instant,
    pub(super) control: Control,
    state: Mutex<State>,
    /// There are bytes, or the call is over.
    for_caller: Condvar,
    /// There is room for bytes, or nobody wants them.
    for_worker: Condvar,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    chunks: VecDeque<Vec<u8>>,
    waiting: usize,
    /// Nobody takes bytes any more.
    closed: bool,
    /// Bytes were refused or thrown away.
    lost_bytes: bool,
}

#[derive(Debug)]
enum Stage {
    Queued,
    Running,
    Over(Result<u64, Failed>),
    /// The caller has the result, or went away before the call began.
    Gone,
}

/// What a caller waits for.
pub(super) enum Next {
    Bytes(Vec<u8>),
    Over(Result<u64, Failed>),
    /// The time is over, the call is not.
    Late,
}

impl Job {
    pub(super) fn new(task: Task, deadline: Instant, control: Control) -> Self {
        // Creating begins with the thread; the others wait in the queue.
        let stage = if matches!(task, Task::Create) { Stage::Running } else { Stage::Queued };
        let state =
            State { stage, chunks: VecDeque::new(), waiting: 0, closed: false, lost_bytes: false };
        let (for_caller, for_worker) = (Condvar::new(), Condvar::new());
        Self { task, deadline, control, state: Mutex::new(state), for_caller, for_worker }
    }

    /// Waits for bytes or the end. What a call wrote comes before its end.
    pub(super) fn next(&self, until: Instant) -> Next {
        let mut state = self.state.lock();
        loop {
            let over = !matches!(state.stage, Stage::Queued | Stage::Running);
            let full = state.chunks.len() > 1
                || state.chunks.front().is_some_and(|chunk| chunk.len() >= CHUNK_BYTES);
            if (over || full)
                && let Some(chunk) = state.chunks.pop_front()
            {
                state.waiting -= chunk.len();
                drop(state);
                self.for_worker.notify_one();
                return Next::Bytes(chunk);
            }
            if over {
                return match std::mem::replace(&mut state.stage, Stage::Gone) {
                    Stage::Over(done) => Next::Over(done),
                    _ => Next::Late,
                };
            }
            if self.for_caller.wait_until(&mut state, until) {
                // The end may have come with the time.
                if matches!(state.stage, Stage::Queued | Stage::Running) {
                    return Next::Late;
                }
            }
        }
    }

    /// Takes no more bytes, and forgets those that wait.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.lost_bytes |= state.waiting > 0;
        state.chunks.clear();
        state.waiting = 0;
        drop(state);
        self.for_worker.notify_all();
    }

    /// Whether everything that was written reached the caller.
    pub(super) fn is_whole(&self) -> bool {
        !self.state.lock().lost_bytes
    }

    /// Takes the call back if it has not begun.
    pub(super) fn withdraw(&self) -> bool {
        let mut state = self.state.lock();
        let queued = matches!(state.stage, Stage::Queued);
        if queued {
            state.stage = Stage::Gone;
        }
        queued
    }

    /// Begins the call, unless it was withdrawn.
    pub(super) fn begin(&self) -> bool {
        let mut state = self.state.lock();
        let queued = matches!(state.stage, Stage::Queued);
        if queued {
            state.stage = Stage::Running;
        }
        queued
    }

    /// Ends the call.
    pub(super) fn finish(&self, done: Result<u64, Failed>) {
        let mut state = self.state.lock();
        if !matches!(state.stage, Stage::Gone) {
            state.stage = Stage::Over(done);
        }
        drop(state);
        self.for_caller.notify_all();
    }

    pub(super) fn is_over(&self) -> bool {
        !matches!(self.state.lock().stage, Stage::Queued | Stage::Running)
    }

    /// Hands bytes to the caller; waits while too many wait for it already.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut state = self.state.lock();
        while !state.closed && state.waiting >= MAX_WAITING_BYTES {
            // The caller may be busy with its output for longer than the call may take.
            if self.for_worker.wait_until(&mut state, self.deadline) {
                state.closed = true;
            }
        }
        if state.closed {
            state.lost_bytes = true;
            return Err(Error::new(ErrorKind::Cancelled, "the export was withdrawn"));
        }
        match state.chunks.back_mut() {
            Some(last) if last.len() + bytes.len() <= CHUNK_BYTES => last.extend_from_slice(bytes),
            _ => state.chunks.push_back(bytes.to_vec()),
        }
        state.waiting += bytes.len();
        let full = state.waiting >= CHUNK_BYTES;
        drop(state);
        if full {
            self.for_caller.notify_one();
        }
        Ok(())
    }
}
