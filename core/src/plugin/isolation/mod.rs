//! `isolation = "process"`: an exporter runs in a helper process, `tallyport-plugin-host`.
//!
//! The same file, the same table, the same calls; what crashes, hangs, exits or eats memory there
//! costs one export. docs/ISOLATION.md says it for people.
//!
//! ```text
//! host: remote (a Source and Backend of run/) → client (one helper), call → child, spawn (the process)
//!                   │ channel: messages over a socket pair; memory: columns in, slots out
//! helper: serve (the conversation) → exporter.rs, with confine (limits), ears (what comes at any
//!         time), outbox (output), voice (what is said, logs), map (columns and slots by address)
//! ```
//!
//! Each side takes what it receives for hostile: `wire` bounds it, `messages` knows its fields. The
//! host maps no memory that the helper has, and runs none of the plugin's code, not even at load.

mod call;
mod channel;
mod child;
mod client;
mod confine;
mod ears;
mod map;
mod memory;
mod messages;
mod outbox;
mod remote;
mod serve;
mod spawn;
mod voice;
mod wire;

pub(crate) use client::Launch;
pub(crate) use remote::RemoteFile;
pub use serve::serve;

/// The number under which a helper finds its control socket.
const CONTROL_DESCRIPTOR: i32 = 3;

/// How a helper ends that can no longer talk to a host that may be there: no exit code of its own.
const LOST_SOCKET: i32 = 76;
