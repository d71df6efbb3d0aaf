//! Threads that make answers, and nothing else: they never meet a client.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use arc_swap::ArcSwap;
use crossbeam::channel::{Receiver, Sender};

use super::{
    answer::{Account, Answer},
    desk::{self, Desk, Order},
    meter::Meter,
    socket::Bell,
};
use crate::model::Mutex;

/// Which connection, and which request of it: a late answer finds nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) place: usize,
    pub(super) number: u64,
}

/// What the threads of a server share.
pub(super) struct Shared {
    pub(super) desk: ArcSwap<Desk>,
    pub(super) account: Arc<Account>,
    pub(super) meter: Meter,
    pub(super) bell: Bell,
    /// Once it is to stop: by when.
    pub(super) stop: Mutex<Option<Instant>>,
}

/// Makes answers until nobody asks for any.
pub(super) fn run(
    shared: &Shared,
    orders: &Receiver<(Ticket, Order)>,
    answers: &Sender<(Ticket, Answer)>,
) {
    for (ticket, order) in orders {
        let start = Instant::now();
        let desk = shared.desk.load_full();
        let fill = AssertUnwindSafe(|| desk.fill(&order, &shared.account));
        let answer = catch_unwind(fill).unwrap_or_else(|_| {
            tracing::error!("a worker of the metrics endpoint panicked");
            desk::broken(order.manner)
        });
        drop(desk);
        shared.meter.took(start.elapsed());
        if answers.send((ticket, answer)).is_err() {
            return;
        }
        shared.bell.ring();
    }
}
