//! hello.rs: the shortest host in Rust. It counts, observes, and prints what Prometheus scrapes.
//!
//!     cargo run -p tallyport-tests --example hello

use std::{
    io::{self, Write},
    process::ExitCode,
};

use tallyport_core::{engine::Engine, model::Error};

fn main() -> ExitCode {
    let text = match hello() {
        Ok(text) => text,
        Err(error) => {
            let _ = writeln!(io::stderr(), "hello: {error}");
            return ExitCode::FAILURE;
        }
    };
    match io::stdout().write_all(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn hello() -> Result<Vec<u8>, Error> {
    // `.config(Config::load(path)?)` would load the exporters of a file.
    let engine = Engine::builder().linked(&tallyport_builtin_exporters::EXPORTERS).build()?;
    let hits = engine.metrics().counter("http_requests_total", &[("method", "GET")])?;
    let took = engine.metrics().histogram("http_request_seconds", &[], &[])?;
    hits.inc(); // any thread, async-signal-safe, cannot fail
    took.observe(0.042);
    engine.export_to_vec("prometheus")
}
