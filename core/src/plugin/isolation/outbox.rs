//! A helper's output: bytes are gathered in slots of shared memory, and full slots handed to the
//! host, which gives each back when its bytes reached their destination.
//!
//! No free slot means that the destination is slower than the plugin: the plugin waits. That is all
//! the memory that an export of any size takes.

use std::sync::Arc;

use crossbeam::channel::Receiver;
use tallyport_plugin_api::abi::TALLYPORT_OK;

use super::{
    channel::NotSent, confine::end_without_socket, map, messages::FromHelper, voice::Voice,
};
use crate::model::{Error, ErrorKind};

/// A slot that the host gave back, and what its destination said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Credit {
    pub(super) slot: u32,
    pub(super) status: i32,
}

#[derive(Debug)]
pub(super) struct Outbox {
    voice: Arc<Voice>,
    memory: map::Output,
    credits: Receiver<Credit>,
    call_id: u64,
    /// Slots that are free; the others are the host's, but for the one that is filled.
    free: Vec<u32>,
    filling: Option<(u32, usize)>,
    /// What the destination refused with.
    refused: Option<i32>,
}

impl Outbox {
    pub(super) fn new(voice: Arc<Voice>, memory: map::Output, credits: Receiver<Credit>) -> Self {
        let free = (0..memory.slots().count).collect();
        Self { voice, memory, credits, call_id: 0, free, filling: None, refused: None }
    }

    pub(super) fn begin(&mut self, call_id: u64) {
        self.call_id = call_id;
        self.refused = None;
    }

    /// Takes bytes; returns when all of them have their place.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let (slot, filled) = match self.filling {
                Some(filling) => filling,
                None => (self.free_slot()?, 0),
            };
            let taken = self.memory.fill(slot, filled, bytes);
            bytes = bytes.get(taken..).unwrap_or(&[]);
            self.filling = Some((slot, filled + taken));
            if filled + taken == self.memory.slots().bytes as usize {
                self.hand_over()?;
            }
        }
        Ok(())
    }

    /// Hands over what is left, and waits until the destination took or refused everything.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        if self.refused.is_none() {
            self.hand_over()?;
        } else if let Some((slot, _)) = self.filling.take() {
            self.free.push(slot);
        }
        while self.free.len() < self.memory.slots().count as usize {
            self.take_credit()?;
        }
        self.refused()
    }

    fn free_slot(&mut self) -> Result<u32, Error> {
        loop {
            self.refused()?;
            // What came back meanwhile may say that there is no need for more.
            while let Ok(credit) = self.credits.try_recv() {
                self.credit(credit)?;
            }
            self.refused()?;
            if let Some(slot) = self.free.pop() {
                return Ok(slot);
            }
            self.take_credit()?;
        }
    }

    fn hand_over(&mut self) -> Result<(), Error> {
        let Some((slot, len)) = self.filling.take() else { return Ok(()) };
        let chunk = FromHelper::Chunk { call_id: self.call_id, slot, len: len as u32 };
        self.voice.say(&chunk).map_err(|error| match error {
            NotSent::Other(_) => end_without_socket(),
            _ => Error::new(ErrorKind::Closed, "the host is gone"),
        })
    }

    fn take_credit(&mut self) -> Result<(), Error> {
        // Nobody holds the other end only while this process ends.
        let gone = |_| Error::new(ErrorKind::Closed, "the host is gone");
        let credit = self.credits.recv().map_err(gone)?;
        self.credit(credit)
    }

    fn credit(&mut self, credit: Credit) -> Result<(), Error> {
        let Credit { slot, status } = credit;
        let filling = self.filling.is_some_and(|(filling, _)| filling == slot);
        if slot >= self.memory.slots().count || filling || self.free.contains(&slot) {
            let message = format!("the host gave back slot {slot}, which it did not have");
            return Err(Error::new(ErrorKind::Internal, message));
        }
        self.free.push(slot);
        if status != TALLYPORT_OK {
            self.refused = Some(status);
        }
        Ok(())
    }

    fn refused(&self) -> Result<(), Error> {
        match self.refused {
            None => Ok(()),
            Some(status) => {
                let kind = ErrorKind::from_status(status);
                Err(Error::new(kind, "the destination of the export refused"))
            }
        }
    }
}
