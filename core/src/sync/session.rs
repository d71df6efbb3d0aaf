//! One arena and one store: publish, retire, aggregate.

mod everyone;

use std::{
    fmt, mem,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Mishaps, Publisher,
    columns::Columns,
    journal::Entry,
    pace::Pace,
    retire::{Retirement, expired, fold_each},
};
use crate::{
    metrics::{Ledger, Metrics, Turn, ledger_damaged},
    model::{Clock, Error, ErrorKind, SystemClock, random},
    snapshot::{GaugeModes, Snapshot},
    store::{Epoch, Identity, Lease, Roll, Store, Strategy},
};

/// Messages of one sync, before it is left to the next one.
const ROUNDS: usize = 8;
/// Bytes of texts and values of one step, unless one batch alone has more: with `store.deadline_ms` of 5 s
/// a link of 7 Mbit/s carries that.
const STEP_BYTES: u64 = 4 << 20;
/// How many of a shard's instances look for those that ended, on average, in the time that each syncs
/// once: if all did, what they read would grow with their square.
const LOOKS: usize = 8;
/// How often an instance that ends tries to fold itself, before it leaves it to others.
const TRIES: usize = 3;
/// Gone series that a publisher keeps at the least, before its record is retired for their sake.
const GONE: usize = 4096;

/// How an arena shares.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What it is called, for people and for `instance="…"`.
    pub name: String,
    /// How long it counts as alive after a sync, and how long its data stays.
    pub lease: Lease,
    /// How long retired series stay that nothing touches.
    pub retired_retention: Duration,
    /// How long a sync or an aggregate folds what others left; the rest is for the next one.
    pub patience: Duration,
    /// How gauges of several instances become one, where their families do not say.
    pub gauge_modes: GaugeModes,
    /// One series per instance in aggregates, always.
    pub include_instances: bool,
    /// What the store is called: an arena is published to one store, under one name.
    pub place: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: String::new(),
            lease: Lease { alive: Duration::from_secs(90), data: Duration::from_secs(86_400) },
            retired_retention: Duration::from_secs(86_400),
            patience: Duration::from_secs(5),
            gauge_modes: GaugeModes::default(),
            include_instances: false,
            place: String::new(),
        }
    }
}

/// What one sync did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Synced {
    /// Series whose values were sent and acknowledged.
    pub series: u64,
    /// Bytes of texts and values that were sent, again when they were sent again.
    pub bytes: u64,
    /// Messages to the store that published.
    pub messages: u64,
    /// Instances that ended, and were folded.
    pub retirement: Retirement,
    /// Nothing was sent: this process, which has the same arena, was publishing it, or does so.
    pub skipped_for: Option<u32>,
}

/// Shares one arena through one store.
pub struct Session {
    store: Box<dyn Store>,
    publisher: Publisher,
    columns: Columns,
    settings: Settings,
    journal: Option<Journal>,
    clock: Arc<dyn Clock>,
    pace: Pace,
    /// When the sync that runs began.
    began: Duration,
    /// When what runs has to end.
    end: Option<Instant>,
    /// Instances of its shard, when it last looked; 0: it is to look.
    neighbours: usize,
    /// What syncs and aggregates that failed later had done, and nobody was told of.
    untold: Retirement,
}

fn is_before(end: Option<Instant>) -> bool {
    end.is_none_or(|end| Instant::now() < end)
}

/// Where the publisher's state outlives this process.
#[derive(Debug)]
struct Journal {
    ledger: Ledger,
    /// The turn of the sync that runs.
    turn: Option<Turn>,
    /// What was written when the publisher was last of one state with it; `None`: never.
    writes: Option<u64>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("store", &self.store)
            .field("identity", &self.publisher.identity())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A session of an arena that was never shared.
    #[must_use]
    pub fn new(store: Box<dyn Store>, settings: Settings) -> Self {
        let publisher = Publisher::new(store.shards(), &mut random);
        let clock = Arc::new(SystemClock::default());
        Self {
            store,
            publisher,
            columns: Columns::default(),
            settings,
            journal: None,
            clock,
            pace: Pace::default(),
            began: Duration::ZERO,
            end: None,
            neighbours: 0,
            untold: Retirement::default(),
        }
    }

    /// A session of an arena that other processes may publish as well, one after the other: what each
    /// knows lies in the arena, and the next goes on there.
    #[must_use]
    pub fn of(metrics: &Metrics, store: Box<dyn Store>, settings: Settings) -> Self {
        let journal = metrics.ledger().map(|ledger| Journal { ledger, turn: None, writes: None });
        let clock = Arc::clone(metrics.clock());
        Self { journal, clock, ..Self::new(store, settings) }
    }

    /// Takes this process's turn to publish the arena, until [`Session::end`], and goes on where the
    /// last publisher was. The snapshot that is published is taken after it: an older one would take
    /// back what another process published.
    ///
    /// The number of the process whose turn it is, if it is another one's: nobody waits for it.
    ///
    /// # Errors
    /// Damaged, when the arena does not say how far it was published; Conflict, when it is published
    /// to another store.
    pub fn begin(&mut self) -> Result<Option<u32>, Error> {
        let Some(journal) = &mut self.journal else { return Ok(None) };
        // Of a sync that panicked.
        journal.turn = None;
        let turn = match journal.ledger.take_turn() {
            Ok(turn) => turn,
            Err(other) => return Ok(Some(other)),
        };
        if journal.writes != Some(turn.writes()) {
            let writes = turn.writes();
            let read = Publisher::read(self.store.shards(), &turn.read()?);
            let read = read.map_err(|_| ledger_damaged())?;
            let mishaps = self.publisher.mishaps();
            self.publisher =
                read.unwrap_or_else(|| Publisher::new(self.store.shards(), &mut random));
            // Of this process: the others count theirs.
            self.publisher.forgive(mishaps);
            self.columns = Columns::default();
            journal.writes = Some(writes);
        }
        journal.turn = Some(turn);
        let opened = self.open();
        if opened.is_err() {
            self.end();
        }
        opened.map(|()| None)
    }

    /// Makes sure that what is known is of this store.
    fn open(&mut self) -> Result<(), Error> {
        let (there, here) = (self.publisher.place(), self.settings.place.as_str());
        if there != here && self.publisher.is_registered() {
            let message = format!(
                "the arena is published to `{there}`, and here to `{here}`: name one store in one way, \
                 or leave the other one first"
            );
            return Err(Error::new(ErrorKind::Conflict, message).with_field("store"));
        }
        if there != here {
            self.publisher.move_to(here, self.store.shards());
        }
        // Of a process that ended while it registered, or one that failed to.
        self.publisher.identity_anew(&mut random);
        Ok(())
    }

    /// Ends this process's turn.
    pub fn end(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.turn = None;
        }
    }

    /// Another process of the arena that is there and published last, and how long ago.
    #[must_use]
    pub fn other_publisher(&self) -> Option<(u32, Duration)> {
        self.journal.as_ref().and_then(|journal| journal.ledger.other_publisher())
    }

    /// Writes down what the publisher knows, before anything follows from it.
    fn note(&mut self) -> Result<(), Error> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let turn = journal.turn.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a sync of a shared arena without its turn")
        })?;
        match self.publisher.entry() {
            None => return Ok(()),
            Some(Entry::More(bytes)) if turn.append(&bytes)? => {}
            Some(Entry::Whole(bytes)) => turn.replace(&bytes)?,
            Some(Entry::More(_)) => turn.replace(&self.publisher.whole())?,
        }
        self.publisher.written();
        journal.writes = Some(turn.writes());
        Ok(())
    }

    /// From now on calls end at this time, at the latest; `None`: whenever their steps do.
    ///
    /// A step that the store cannot interrupt is the last one.
    pub fn end_by(&mut self, end: Option<Instant>) {
        self.end = end;
        self.store.end_by(end);
    }

    /// Whether there is time for another step.
    fn has_time(&self) -> bool {
        is_before(self.end)
    }

    /// Refuses another step when the time is over.
    fn in_time(&self) -> Result<(), Error> {
        if self.has_time() {
            return Ok(());
        }
        let message = "the time for all of it is over (`sync.deadline_ms`); the next one goes on";
        Err(Error::new(ErrorKind::Timeout, message))
    }

    /// Tries with a real write what the store can.
    ///
    /// # Errors
    /// What the store refuses.
    pub fn probe(&mut self) -> Result<(), Error> {
        self.store.probe()
    }

    /// The store.
    pub(crate) fn store(&mut self) -> &mut dyn Store {
        &mut *self.store
    }

    /// What the store is used for.
    #[must_use]
    pub fn strategy(&self) -> Strategy {
        self.store.strategy()
    }

    /// Who publishes now.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.publisher.identity()
    }

    /// Series that it keeps something of: those of the arena, and those that are gone and not yet
    /// retired.
    #[must_use]
    pub fn series(&self) -> usize {
        self.publisher.series()
    }

    /// What happened to its records so far.
    #[must_use]
    pub fn mishaps(&self) -> Mishaps {
        self.publisher.mishaps()
    }

    /// Publishes what changed, and folds the expired instances that it meets.
    ///
    /// After Ok the store has every value of `snapshot`. What fails is sent by the next sync.
    ///
    /// The lease is as long as the settings say and three times what syncs take: one that is shorter
    /// than a sync would have it folded again and again.
    ///
    /// # Errors
    /// What the store answers; Timeout when the time is over; Unavailable when it kept changing under
    /// every message.
    pub fn sync(&mut self, snapshot: &Snapshot) -> Result<Synced, Error> {
        self.began = self.clock.monotonic();
        let mut done = Synced::default();
        let result = self.publish_and_retire(snapshot, &mut done);
        self.pace.took(self.so_far(), result.is_ok());
        self.told(result, &mut done.retirement)?;
        Ok(done)
    }

    fn publish_and_retire(&mut self, snapshot: &Snapshot, done: &mut Synced) -> Result<(), Error> {
        self.follow_shards()?;
        let before = self.publisher.mishaps();
        self.publish(snapshot, self.settings.lease, done)?;
        if self.publisher.mishaps() != before {
            // The store may not be what it was.
            self.neighbours = 0;
            if self.follow_shards()? {
                self.publish(snapshot, self.settings.lease, done)?;
            }
        }
        // All is acknowledged: what is left is for the next one.
        if self.has_time() {
            self.fold_others(done)?;
            self.renew(snapshot, done)?;
        }
        Ok(())
    }

    /// Hands over what was retired: after a failure with the next call that has none.
    fn told<T>(&mut self, result: Result<T, Error>, done: &mut Retirement) -> Result<T, Error> {
        self.untold.add(done);
        if result.is_ok() {
            *done = mem::take(&mut self.untold);
        }
        result
    }

    /// Follows a store that was created anew with another number of shards. True when it was.
    fn follow_shards(&mut self) -> Result<bool, Error> {
        let shards = self.store.recount()?;
        let other = self.publisher.reshard(shards, &mut random);
        if other {
            self.neighbours = 0;
        }
        Ok(other)
    }

    /// How long the sync that runs has taken.
    fn so_far(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.began)
    }

    /// Goes on under another identity when more series are gone than there are: those that are gone are
    /// kept, here and in the record, until it is retired.
    fn renew(&mut self, snapshot: &Snapshot, done: &mut Synced) -> Result<(), Error> {
        let gone = self.publisher.gone();
        if gone <= GONE.max(self.publisher.series() / 2) {
            return Ok(());
        }
        tracing::debug!(gone, "many series are gone: this instance goes on under another identity");
        if !self.store.strategy().folds() {
            // Nothing would keep their counts: totals fall there, as they do when an instance ends.
            self.publisher.forget(&mut random);
            return self.publish(snapshot, self.settings.lease, done);
        }
        self.publisher.is_renewed();
        let lease = Lease { alive: Duration::ZERO, ..self.settings.lease };
        self.publish(snapshot, lease, done)?;
        self.fold_own(done)?;
        self.publish(snapshot, self.settings.lease, done)
    }

    /// Folds the expired instances of this one's shard, where the store can. This one is alive.
    ///
    /// What it finds there that cannot be read is another one's, and keeps this one from nothing.
    fn fold_others(&mut self, done: &mut Synced) -> Result<(), Error> {
        let looks = self.neighbours <= LOOKS || random() as usize % self.neighbours < LOOKS;
        if !looks || !self.store.strategy().folds() {
            return Ok(());
        }
        let own = self.publisher.identity();
        let shard = own.shard(self.store.shards());
        let looked = self.store.roll(shard).and_then(|roll| {
            self.neighbours = roll.instances.len();
            self.fold(shard, &roll, Some(own), &mut done.retirement)
        });
        match looked {
            Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Conflict) => {
                tracing::warn!("instances that ended are not retired: {error}");
                done.retirement.unreadable += 1;
                Ok(())
            }
            looked => looked,
        }
    }

    /// Folds the expired instances of a shard but one, beginning with any: others are at it too.
    fn fold(
        &mut self,
        shard: u32,
        roll: &Roll,
        but: Option<Identity>,
        done: &mut Retirement,
    ) -> Result<(), Error> {
        done.lost += roll.lost;
        let mut ids = expired(roll);
        ids.retain(|id| Some(*id) != but);
        if ids.len() > 1 {
            let first = random() as usize % ids.len();
            ids.rotate_left(first);
        }
        let (clock, patience) = (&self.clock, self.settings.patience);
        let began = clock.monotonic();
        let end = self.end;
        let goes_on = || is_before(end) && clock.monotonic().saturating_sub(began) < patience;
        fold_each(&mut *self.store, shard, &ids, &goes_on, done)
    }

    /// Folds this instance, which has ended, where the store can.
    fn fold_own(&mut self, done: &mut Synced) -> Result<(), Error> {
        if !self.store.strategy().folds() {
            return Ok(());
        }
        let own = self.publisher.identity();
        let shard = own.shard(self.store.shards());
        let before = done.retirement.folded;
        for _ in 0..TRIES {
            fold_each(&mut *self.store, shard, &[own], &|| true, &mut done.retirement)?;
            if done.retirement.folded > before {
                break;
            }
        }
        Ok(())
    }

    fn publish(
        &mut self,
        snapshot: &Snapshot,
        lease: Lease,
        done: &mut Synced,
    ) -> Result<(), Error> {
        for _ in 0..ROUNDS {
            self.in_time()?;
            if !self.publisher.is_registered() {
                let (fresh, id) = (Epoch(random() as u64), self.publisher.identity());
                // Also of one that is to end: it has not published yet.
                let lease = self.pace.stretched(self.settings.lease, self.so_far());
                let answer = self.store.register(id, &self.settings.name, fresh, lease);
                let answer = answer.inspect_err(|_| self.publisher.abandon(&mut random))?;
                self.publisher.registered(&answer, &mut random);
                self.note()?;
                continue;
            }
            self.columns.show(snapshot, &self.settings.gauge_modes, &mut self.publisher)?;
            let all_new = self.publisher.plan();
            self.note()?;
            let settled = self.send(lease, done)?;
            if settled && all_new {
                if let Some(turn) = self.journal.as_ref().and_then(|journal| journal.turn.as_ref())
                {
                    turn.published();
                }
                return Ok(());
            }
        }
        let message = format!(
            "the store's records changed under {ROUNDS} messages of one sync; the next one goes on"
        );
        Err(Error::new(ErrorKind::Unavailable, message).with_contention())
    }

    /// Sends what was planned, some of it at a time: each is a step with a deadline of its own, so that
    /// a slow store is told more by every sync. True when all that was planned is in the record.
    fn send(&mut self, lease: Lease, done: &mut Synced) -> Result<bool, Error> {
        loop {
            let (fresh, id) = (Epoch(random() as u64), self.publisher.identity());
            let epoch = self.publisher.epoch(fresh);
            let planned = self.publisher.batches();
            let (mut count, mut series, mut bytes) = (0, 0, 0);
            for batch in planned {
                let size = batch.bytes();
                if count > 0 && bytes + size > STEP_BYTES {
                    break;
                }
                (count, bytes) = (count + 1, bytes + size);
                series += batch.values.len() as u64;
            }
            let some = planned.get(..count).unwrap_or(planned);
            let all = some.len() == planned.len();
            done.bytes += bytes;
            done.messages += count.max(1) as u64;
            // A record that is to end does so with the last of it.
            let lease = if all { lease } else { self.settings.lease };
            let lease = self.pace.stretched(lease, self.so_far());
            let left = planned.len().saturating_sub(count);
            let answer = self.store.publish(id, (epoch, fresh), lease, some)?;
            let before = self.publisher.mishaps();
            let settled = self.publisher.answered(&answer, &mut random);
            self.note()?;
            let taken =
                self.publisher.batches().len() == left && self.publisher.mishaps() == before;
            if taken {
                done.series += series;
            }
            if all || !taken {
                return Ok(settled);
            }
            self.in_time()?;
        }
    }

    /// Publishes for the last time and folds this instance at once: its totals stay, its gauges go.
    ///
    /// A later sync goes on under another identity, and doubles nothing.
    ///
    /// # Errors
    /// As [`Session::sync`]; the instance then ends with its lease.
    pub fn withdraw(&mut self, snapshot: &Snapshot) -> Result<Synced, Error> {
        self.began = self.clock.monotonic();
        let mut done = Synced::default();
        let lease = Lease { alive: Duration::ZERO, ..self.settings.lease };
        let result = self
            .follow_shards()
            .and_then(|_| self.publish(snapshot, lease, &mut done))
            .and_then(|()| self.fold_own(&mut done));
        self.told(result, &mut done.retirement)?;
        // Where that fails, the next sync learns of it.
        if self.store.strategy().folds()
            && let Err(error) = self.learn_of_the_end(lease)
        {
            tracing::debug!("whether the instance has ended: {error}");
        }
        Ok(done)
    }

    /// Learns that the record is retired, so that nothing is owed to this store.
    fn learn_of_the_end(&mut self, lease: Lease) -> Result<(), Error> {
        let (fresh, id) = (Epoch(random() as u64), self.publisher.identity());
        let epoch = self.publisher.epoch(fresh);
        let answer = self.store.publish(id, (epoch, fresh), lease, &[])?;
        let before = self.publisher.mishaps();
        self.publisher.answered(&answer, &mut random);
        self.publisher.forgive(before);
        self.note()
    }
}
