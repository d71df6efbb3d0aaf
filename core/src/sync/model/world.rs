//! Arenas, a store and the messages between them: a schedule runs here, and what must hold is looked at.

use std::collections::BTreeMap;

use proptest::{prelude::*, test_runner::TestCaseError};

use super::{ARENAS, Fate, LEASE, Op, SERIES, Step, rigs::Rig};
use crate::{
    model::{GaugeMode, Kind, Number},
    store::{Batch, Epoch, Fold, Identity, Key, Prune, Text, Total, Wanted},
    sync::{
        Publisher,
        aggregate::{Everyone, Live},
        journal::Entry,
        retire::{self, Retirement},
    },
};

enum Late {
    Register(Identity),
    Publish(Identity, Epoch, Vec<Batch>),
    Fold(Fold),
}

struct Arena {
    publisher: Publisher,
    cells: [Option<(u64, u64)>; SERIES],
    /// All that was recorded under each key.
    recorded: [u64; SERIES],
    /// Of that, what was planned in what is in flight, and what the store has for certain.
    planned: [u64; SERIES],
    planned_in: u64,
    acked: [u64; SERIES],
    /// Of series that left the arena; a store that loses them is not told again, once it folded them.
    removed: [u64; SERIES],
    unsure: [u64; SERIES],
    /// What the publisher wrote into the arena.
    journal: Vec<Vec<u8>>,
    /// A publisher did not know what became of a record.
    doubtful: bool,
    /// A series was taken out; what it had since it was last noted goes with the process that saw it.
    shrank: bool,
}

impl Arena {
    fn note(&mut self) {
        match self.publisher.entry() {
            None => return,
            Some(Entry::Whole(bytes)) => self.journal = vec![bytes],
            Some(Entry::More(bytes)) if self.journal.len() < 5 => self.journal.push(bytes),
            Some(Entry::More(_)) => self.journal = vec![self.publisher.whole()],
        }
        self.publisher.written();
    }
}

pub(super) struct World {
    store: Box<dyn Rig>,
    arenas: Vec<Arena>,
    /// Recorded and acknowledged, of those that crashed.
    dead: [(u64, u64); SERIES],
    late: Vec<Late>,
    begun: Option<(Live, [u64; SERIES])>,
    /// How often each was counted, and what was shown.
    seen: [(u128, f64); SERIES],
    /// Something was lost that nobody can bring back.
    lossy: bool,
    random: u128,
    time: u64,
}

fn key(series: usize) -> Key {
    Key {
        name: format!("c{series}"),
        kind: Kind::Counter,
        number: if is_float(series) { Number::F64 } else { Number::U64 },
        mode: GaugeMode::Undeclared,
        bounds: Vec::new(),
        labels: Vec::new(),
    }
}

/// Every other series counts in tenths, which no double has exactly.
fn is_float(series: usize) -> bool {
    series % 2 == 1
}

/// Cells that counted so often.
fn counted(series: usize, count: u64) -> Total {
    if is_float(series) {
        Total::Sum((count as f64 * 0.1).into())
    } else {
        Total::Count(count.into())
    }
}

/// How often it was counted, and what is shown.
fn shown(total: &Total) -> (u128, f64) {
    match total {
        Total::Count(count) => (*count, *count as f64),
        Total::Sum(sum) => ((sum.value() * 10.0).round() as u128, sum.value()),
        other => unreachable!("{other:?}"),
    }
}

fn draw(random: &mut u128) -> u128 {
    // A step of Knuth's generator, mixed: all different, the same in every run.
    *random =
        random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    random.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).rotate_left(64)
}

fn arena(random: &mut u128) -> Arena {
    Arena {
        publisher: Publisher::new(1, &mut || draw(random)),
        cells: [None; SERIES],
        recorded: [0; SERIES],
        planned: [0; SERIES],
        planned_in: 0,
        acked: [0; SERIES],
        removed: [0; SERIES],
        unsure: [0; SERIES],
        journal: Vec::new(),
        doubtful: false,
        shrank: false,
    }
}

impl World {
    pub(super) fn new(store: Box<dyn Rig>) -> Self {
        let mut random = 1;
        Self {
            store,
            arenas: (0..ARENAS).map(|_| arena(&mut random)).collect(),
            dead: [(0, 0); SERIES],
            late: Vec::new(),
            begun: None,
            seen: [(0, 0.0); SERIES],
            lossy: false,
            random,
            time: 1,
        }
    }

    fn acknowledged(&self, series: usize) -> u64 {
        self.arenas.iter().map(|arena| arena.acked[series]).sum::<u64>() + self.dead[series].1
    }

    fn recorded(&self, series: usize) -> u64 {
        self.arenas.iter().map(|arena| arena.recorded[series]).sum::<u64>() + self.dead[series].0
    }

    /// The store lost something: what it held is no longer certain, until it is told again.
    fn lost(&mut self) {
        self.lossy = true;
        for arena in &mut self.arenas {
            (arena.acked, arena.unsure) = ([0; SERIES], arena.removed);
        }
        self.dead.iter_mut().for_each(|(_, acked)| *acked = 0);
        self.begun = None;
        self.seen = [(0, 0.0); SERIES];
    }

    fn message(&mut self, index: usize, fate: Fate) -> bool {
        self.message_until(index, fate, Step::Done)
    }

    /// One message, up to a step.
    fn message_until(&mut self, index: usize, fate: Fate, last: Step) -> bool {
        self.time += 1;
        let time = self.time;
        let fresh = Epoch(draw(&mut self.random) as u64);
        let Self { arenas, store, random, late, .. } = self;
        let arena = &mut arenas[index];
        let publisher = &mut arena.publisher;
        let id = publisher.identity();
        let mut draw = || draw(random);
        if !publisher.is_registered() {
            match fate {
                Fate::Delivered => {
                    let answer = store.register(id, "", fresh, LEASE).unwrap();
                    publisher.registered(&answer, &mut draw);
                }
                Fate::ReplyLost => {
                    drop(store.register(id, "", fresh, LEASE));
                    publisher.abandon(&mut draw);
                }
                Fate::RequestLost => publisher.abandon(&mut draw),
                Fate::Delayed => {
                    late.push(Late::Register(id));
                    publisher.abandon(&mut draw);
                }
            }
            if last == Step::Done {
                arena.note();
            }
            return false;
        }
        for series in 0..SERIES {
            let text = Text { key: key(series).to_bytes(), ..Text::default() };
            match arena.cells[series] {
                Some((created, count)) => {
                    let number = publisher.series_number(&text, &counted(series, 0));
                    publisher.observe(number, created, counted(series, count));
                }
                None if publisher.knows(&text.key) => {
                    let number = publisher.series_number(&text, &counted(series, 0));
                    publisher.vanish(number);
                }
                None => {}
            }
        }
        publisher.looked(time);
        let all_new = publisher.plan();
        if all_new {
            (arena.planned, arena.planned_in) = (arena.recorded, publisher.mishaps().resets);
        }
        if last == Step::Planned {
            return false;
        }
        arena.note();
        if last == Step::Noted {
            return false;
        }
        let publisher = &mut arena.publisher;
        let epoch = publisher.epoch(fresh);
        let batches = publisher.batches().to_vec();
        match fate {
            Fate::Delivered => {
                let before = publisher.mishaps().ambiguous;
                let answer = store.publish(id, (epoch, fresh), LEASE, &batches).unwrap();
                let settled = publisher.answered(&answer, &mut draw);
                self.lossy |= publisher.mishaps().ambiguous > before;
                arena.doubtful |= publisher.mishaps().ambiguous > before;
                // What was planned before the store began anew is less than everything.
                let whole = publisher.mishaps().resets == arena.planned_in;
                if last == Step::Answered {
                    return false;
                }
                arena.note();
                if settled && whole && !arena.doubtful {
                    for series in 0..SERIES {
                        let sure = arena.planned[series].saturating_sub(arena.unsure[series]);
                        arena.acked[series] = arena.acked[series].max(sure);
                    }
                }
                return settled && all_new;
            }
            Fate::ReplyLost => drop(store.publish(id, (epoch, fresh), LEASE, &batches)),
            Fate::RequestLost => {}
            Fate::Delayed => late.push(Late::Publish(id, epoch, batches)),
        }
        false
    }

    /// Another process goes on where the arena says that the last one was.
    fn take_over(&mut self, index: usize) {
        let Self { arenas, random, .. } = self;
        let arena = &mut arenas[index];
        let read = Publisher::read(1, &arena.journal).unwrap();
        arena.publisher = read.unwrap_or_else(|| Publisher::new(1, &mut || draw(random)));
        arena.publisher.identity_anew(&mut || draw(random));
        arena.planned_in = u64::MAX;
        // What a series had that is gone, and that nobody had written down.
        for (unsure, removed) in arena.unsure.iter_mut().zip(arena.removed) {
            *unsure = removed.max(*unsure);
        }
        self.lossy |= arena.shrank;
    }

    fn sync(&mut self, index: usize) {
        for _ in 0..20 {
            if self.message(index, Fate::Delivered) {
                return;
            }
        }
        panic!("arena {index} never settles");
    }

    fn fold_all(&mut self) {
        let roll = self.store.roll(0).unwrap();
        let mut done = Retirement::default();
        let expired = retire::expired(&roll);
        retire::fold_each(&mut *self.store, 0, &expired, &|| true, &mut done).unwrap();
        assert_eq!(done.damaged, 0);
    }

    fn begin(&mut self) {
        let roll = self.store.roll(0).unwrap();
        let live = Live::read(&mut *self.store, 0, roll).unwrap();
        self.begun = Some((live, std::array::from_fn(|series| self.acknowledged(series))));
    }

    fn end(&mut self) -> Result<(), TestCaseError> {
        let Some((live, acked)) = self.begun.take() else { return Ok(()) };
        let Some(shard) = live.finish(&mut *self.store).unwrap() else { return Ok(()) };
        let mut everyone = Everyone::default();
        everyone.add(&shard);
        prop_assert_eq!(everyone.damaged, 0);
        for series in 0..SERIES {
            let merged = everyone.get(&key(series).to_bytes());
            let mut total = counted(series, 0);
            for part in merged.into_iter().flat_map(|m| {
                everyone.retired(m).into_iter().chain(everyone.published(m).map(|(_, total)| total))
            }) {
                total.add(part).unwrap();
            }
            let (total, value) = shown(&total);
            let recorded = self.recorded(series);
            prop_assert!(total <= u128::from(recorded), "doubled: {total} of {recorded}");
            prop_assert!(total >= u128::from(acked[series]), "lost: {total} of {acked:?}");
            let (_, before) = self.seen[series];
            prop_assert!(value >= before, "fell: {value:e} from {before:e}");
            self.seen[series] = (total, value);
        }
        Ok(())
    }

    fn arrive(&mut self, late: &Late) {
        let fresh = Epoch(draw(&mut self.random) as u64);
        match late {
            Late::Register(id) => drop(self.store.register(*id, "", fresh, LEASE)),
            Late::Publish(id, epoch, batches) => {
                drop(self.store.publish(*id, (*epoch, fresh), LEASE, batches));
            }
            Late::Fold(fold) => drop(self.store.fold(fold)),
        }
    }

    fn step(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Add(a, s, n) => {
                self.time += 1;
                let now = self.time;
                let arena = &mut self.arenas[a];
                arena.cells[s].get_or_insert((now, 0)).1 += u64::from(n);
                arena.recorded[s] += u64::from(n);
            }
            Op::Message(a, fate) => drop(self.message(a, fate)),
            Op::Sync(a) => self.sync(a),
            Op::TakeOver(a, fate, step) => {
                self.message_until(a, fate, step);
                self.take_over(a);
            }
            Op::Crash(a) => {
                let new = arena(&mut self.random);
                let old = std::mem::replace(&mut self.arenas[a], new);
                for (series, dead) in self.dead.iter_mut().enumerate() {
                    dead.0 += old.recorded[series];
                    dead.1 += old.acked[series];
                }
            }
            Op::Remove(a, s) => {
                // After a message, so that the publisher has seen what it had.
                self.message(a, Fate::RequestLost);
                if self.arenas[a].publisher.is_registered() {
                    self.arenas[a].cells[s] = None;
                    self.arenas[a].removed[s] = self.arenas[a].recorded[s];
                    self.arenas[a].shrank = true;
                }
            }
            Op::Pass(seconds) => self.store.pass(seconds.into()),
            Op::Arrive(i, again) => {
                if i < self.late.len() {
                    let late = self.late.remove(i);
                    self.arrive(&late);
                    if again {
                        self.late.push(late);
                    }
                }
            }
            Op::Fold => self.fold_all(),
            Op::PrepareFold(a) => {
                let roll = self.store.roll(0).unwrap();
                let expired: Vec<_> = roll.instances.iter().filter(|l| l.expired).collect();
                if let Some(listed) = expired.get(a) {
                    let mut done = Retirement::default();
                    let fold = retire::prepare(&mut *self.store, 0, listed.id, &mut done).unwrap();
                    self.late.extend(fold.map(Late::Fold));
                }
            }
            Op::Begin => self.begin(),
            Op::End => self.end()?,
            Op::Evict(a) => {
                let id = self.arenas[a].publisher.identity();
                let evicted = self.store.evict(id);
                if evicted {
                    self.lost();
                }
            }
            Op::EvictTotal => {
                self.store.evict_total();
                self.lost();
            }
            Op::Flush => {
                self.store.flush();
                self.lost();
            }
            Op::Forget => {
                let totals = self.store.totals(0, Wanted::All).unwrap();
                if let Some(epoch) = totals.epoch {
                    let (generation, tombstones) = (totals.generation, totals.tombstones);
                    let prune =
                        Prune { shard: 0, epoch, generation, series: Vec::new(), tombstones };
                    self.store.prune(&prune).unwrap();
                }
            }
        }
        Ok(())
    }

    pub(super) fn run(&mut self, ops: &[Op]) -> Result<(), TestCaseError> {
        for op in ops {
            self.step(*op)?;
        }
        while let Some(late) = self.late.pop() {
            self.arrive(&late);
        }
        self.begin();
        self.end()?;
        // Quiet: everyone syncs, everything is acknowledged, everything ends.
        (0..ARENAS).for_each(|a| self.sync(a));
        self.begin();
        self.end()?;
        self.store.pass(1000);
        self.fold_all();
        self.begin();
        self.end()?;
        let in_flight: BTreeMap<usize, u64> =
            (0..SERIES).map(|s| (s, self.dead[s].0 - self.dead[s].1)).collect();
        for (series, in_flight) in in_flight {
            let (total, _) = self.seen[series];
            let recorded = self.recorded(series);
            let least = if self.lossy { 0 } else { recorded - in_flight };
            prop_assert!(
                total >= u128::from(least),
                "in the end {total} of {recorded}, {in_flight} in flight at crashes"
            );
        }
        Ok(())
    }
}
