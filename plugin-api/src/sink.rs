//! Where an exporter writes: a buffer of our own in front of the host's sink.
//!
//! One call through the ABI per chunk, not per value; what is left when `export` returns is
//! handed over by the trampoline in `export.rs`.

use std::io;

use crate::Error;

/// Bytes that are gathered before the host's sink is called.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// The destination of one export.
pub struct Sink<'a> {
    out: &'a mut dyn FnMut(&[u8]) -> Result<(), Error>,
    buffer: Vec<u8>,
}

impl<'a> Sink<'a> {
    /// A sink that hands chunks to `out`; the SDK makes one per call, tests make their own.
    pub fn new(out: &'a mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Self {
        Self { out, buffer: Vec::with_capacity(CHUNK_BYTES + 1024) }
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// What the host's sink answers: CANCELLED, LIMIT or IO. Return it.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() >= CHUNK_BYTES {
            self.finish()?;
            return (self.out)(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        self.spill()
    }

    /// The bytes that were not handed over yet: format straight into it, then call `spill`.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Hands the buffer over when it holds a chunk or more.
    ///
    /// # Errors
    /// As `write`.
    pub fn spill(&mut self) -> Result<(), Error> {
        if self.buffer.len() >= CHUNK_BYTES { self.finish() } else { Ok(()) }
    }

    /// Hands over what is left.
    ///
    /// # Errors
    /// As `write`.
    pub fn finish(&mut self) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let result = (self.out)(&self.buffer);
        self.buffer.clear();
        result
    }
}

impl io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Sink::write(self, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
