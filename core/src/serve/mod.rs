//! Floor 6: metrics over HTTP, for scrapers.
//!
//! One thread waits for all connections (`poller`), reads heads and writes answers, and never waits
//! for a client: each step has a deadline, each buffer a limit. A few others (`workers`) make the
//! answers. So a client that is slow or hostile costs its own connection, and an exporter that hangs
//! costs a worker while `/healthz` goes on answering.
//!
//! It knows no format and no engine: [`Site`] says what can be written, by content types, and writes
//! it. HTTP/1.1 heads are parsed by `httparse`. tiny_http was tried on paper and has neither a time for
//! a head nor a bound on connections, threads or headers; the others bring an async runtime, which
//! a process that forks cannot have.
//!
//! A forked child serves nothing: its copies of the sockets are closed, and its copy of a [`Server`]
//! is let go. Start at `server.rs`.

mod access;
mod answer;
mod connection;
mod desk;
mod meter;
mod negotiate;
mod poller;
mod request;
mod server;
mod settings;
mod socket;
mod workers;

pub use access::Access;
pub use meter::Counts;
pub use negotiate::Offer;
pub use server::{Server, Stopped};
pub use settings::{Bounds, Paths, Settings};

use crate::model::Error;

/// What is served. Called on the threads of the server.
pub trait Site: Send + Sync {
    /// What can be written, the one for clients without a preference first.
    fn offers(&self) -> Vec<Offer>;

    /// Writes it as that offer says.
    ///
    /// # Errors
    /// What the exporter answers; what `out` answers stops it.
    fn write(
        &self,
        offer: &Offer,
        out: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error>;
}
