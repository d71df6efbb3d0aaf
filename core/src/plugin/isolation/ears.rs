//! The helper's second thread: it hears what comes while the first one is inside the plugin.
//!
//! Cancellation goes to the running call, slots that are free again to the outbox, everything else
//! waits for its turn. When the host is gone, or talks nonsense, the helper ends at once, whatever
//! the plugin is doing: a helper never outlives its host.

use std::{os::fd::OwnedFd, sync::Arc};

use crossbeam::channel::Sender;
use rustix::process::{Pid, PidfdFlags, getppid, pidfd_open};

use super::{
    channel::{Received, Receiver},
    confine::{end_with_the_host, end_without_socket},
    messages::{Failure, FromHelper, ToHelper},
    outbox::Credit,
    voice::Voice,
};
use crate::{
    model::{Error, ErrorKind, LongMutex},
    plugin::{exporter::Exporter, host::Control},
};

/// Something for the first thread to do.
pub(super) type Order = (ToHelper, Option<OwnedFd>);

/// The call that runs, and whether it was withdrawn before it did.
#[derive(Debug, Default)]
pub(super) struct Current(LongMutex<State>);

#[derive(Debug, Default)]
struct State {
    running: Option<Running>,
    cancelled: Option<u64>,
}

#[derive(Debug)]
struct Running {
    call_id: u64,
    control: Arc<Control>,
    exporter: Arc<Exporter>,
}

impl Current {
    pub(super) fn begin(&self, call_id: u64, control: &Arc<Control>, exporter: &Arc<Exporter>) {
        let mut state = self.0.lock();
        if state.cancelled == Some(call_id) {
            control.cancel();
        }
        let (control, exporter) = (Arc::clone(control), Arc::clone(exporter));
        state.running = Some(Running { call_id, control, exporter });
    }

    pub(super) fn end(&self) {
        self.0.lock().running = None;
    }

    fn cancel(&self, call_id: u64) {
        let mut state = self.0.lock();
        state.cancelled = Some(call_id);
        // Under the lock: the call does not end while it is cancelled.
        if let Some(running) = state.running.as_ref().filter(|call| call.call_id == call_id) {
            running.control.cancel();
            running.exporter.cancel();
        }
    }
}

/// What the second thread works with.
pub(super) struct Ears {
    pub(super) receiver: Receiver,
    pub(super) voice: Arc<Voice>,
    pub(super) current: Arc<Current>,
    pub(super) orders: Sender<Order>,
    pub(super) credits: Sender<Credit>,
}

/// The host's process, if it is still there and the one that started this helper.
pub(super) fn watch(host_pid: u32) -> Option<OwnedFd> {
    let host = Pid::from_raw(i32::try_from(host_pid).ok()?)?;
    let pidfd = pidfd_open(host, PidfdFlags::empty()).ok()?;
    // Asked for afterwards: then the number was the host's when it was opened.
    (getppid() == Some(host)).then_some(pidfd)
}

impl Ears {
    /// Listens until the host is gone.
    pub(super) fn listen(mut self) -> ! {
        loop {
            match self.receiver.receive(None) {
                Received::Message(frame, descriptor) => match ToHelper::read(&frame) {
                    Ok(message) => self.take(message, descriptor),
                    Err(bad) => self.give_up(ErrorKind::Damaged, bad.0),
                },
                Received::Bad(bad) => self.give_up(ErrorKind::Limit, bad.0),
                Received::Closed => end_with_the_host(),
                Received::Late | Received::Other(_) => end_without_socket(),
            }
        }
    }

    fn take(&self, message: ToHelper, descriptor: Option<OwnedFd>) {
        match message {
            ToHelper::Credit { slot, status } => {
                // Bounded by the slots: a host that sends more is none.
                if self.credits.try_send(Credit { slot, status }).is_err() {
                    self.give_up(ErrorKind::Damaged, "more slots than there are".into());
                }
            }
            ToHelper::Cancel { call_id } => self.current.cancel(call_id),
            order => {
                if self.orders.try_send((order, descriptor)).is_err() {
                    self.give_up(ErrorKind::Damaged, "orders that nobody waits for".into());
                }
            }
        }
    }

    /// Says why, and ends.
    fn give_up(&self, kind: ErrorKind, reason: String) -> ! {
        let error = Error::new(kind, format!("the helper process received {reason}"));
        let _ = self.voice.answer(&FromHelper::Failed(Failure::of(&error)));
        end_with_the_host()
    }
}
