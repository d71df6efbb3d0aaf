//! What sharing through a store costs, over a Redis that is started here: a sync of changed series
//! and an aggregate, each beside the bytes of the very same commands sent raw, and what one series
//! weighs in the store and on the way.

mod instances;
mod raw;
mod wire;

// The servers of the tests, of this group too.
#[path = "../../../../core/src/store/testing.rs"]
mod testing;

use std::time::Instant;

use self::{instances::Instance, raw::Raw, testing::RedisServer, wire::Wire};
use super::Task;
use crate::{
    report::{Role, Row, Section},
    targets::OURS,
};

/// Series of the sync.
const SERIES: usize = 100_000;
/// Instances and series of each in the aggregate.
const INSTANCES: usize = 10;
const EACH: usize = 10_000;

/// Measures the group.
///
/// # Errors
/// What the engine or the server says.
pub fn run(task: Task) -> Result<Vec<Section>, String> {
    let mut sections = syncs(task)?;
    let ten = "aggregate of 10 instances × 10000 series";
    sections.push(aggregate(task, &format!("{ten}, the same"), (INSTANCES, EACH), 0)?);
    sections.push(aggregate(task, &format!("{ten}, all different"), (INSTANCES, EACH), EACH)?);
    let hundred = "aggregate of 100 instances × 1000 series, the same";
    sections.push(aggregate(task, hundred, (100, 1000), 0)?);
    sections.extend(weights()?);
    Ok(sections)
}

fn rounds(task: Task) -> usize {
    if task.quick { 7 } else { 31 }
}

fn ms(act: impl FnOnce() -> Result<(), String>) -> Result<f64, String> {
    let start = Instant::now();
    act()?;
    Ok(start.elapsed().as_secs_f64() * 1000.0)
}

/// A sync of series that all changed, and one of series that did not.
fn syncs(task: Task) -> Result<Vec<Section>, String> {
    let server = RedisServer::start(&[]);
    // One whose commands are written down, to be sent again as they are.
    let wire = Wire::start(server.port())?;
    let recorded = Instance::new(&wire.url(), "recorded", SERIES, 0)?;
    recorded.sync()?;
    recorded.change();
    wire.forget();
    recorded.sync()?;
    let commands = wire.commands();
    let mut raw = Raw::connect(server.port())?;
    let plain = raw::one_by_one(SERIES);

    let (ours, one) = (
        Instance::new(&server.url(), "ours", SERIES, 0)?,
        Instance::new(&server.url(), "one", 1, 0)?,
    );
    ours.sync()?;
    one.sync()?;
    let (mut ratios, mut whole, mut same, mut hsets) = (vec![], vec![], vec![], vec![]);
    let (mut nothing, mut nothing_of_one) = (vec![], vec![]);
    for round in 0..=rounds(task) {
        ours.change();
        let took = ms(|| match ours.sync()?.series {
            n if n >= SERIES as u64 => Ok(()),
            n => Err(format!("{n} series were sent")),
        })?;
        // The record as it was before them: they write again, and not into the void.
        recorded.stand_where_it_was(&mut raw, &commands)?;
        let bare = ms(|| raw.exchange(&commands).map(drop))?;
        let simple = ms(|| raw.exchange(&plain).map(drop))?;
        let unchanged = |one: &Instance| {
            ms(|| match one.sync()? {
                // The engine's own metrics of the last sync.
                done if done.series < 50 => Ok(()),
                done => Err(format!("{} series were sent though nothing changed", done.series)),
            })
        };
        let (idle, idle_of_one) = (unchanged(&ours)?, unchanged(&one)?);
        // The first one loads scripts and touches memory.
        if round > 0 {
            ratios.push(took / bare);
            whole.push(took);
            same.push(bare);
            hsets.push(simple);
            nothing.push(idle);
            nothing_of_one.push(idle_of_one);
        }
    }
    let rows = vec![
        Row::new(Role::Ours, OURS, ratios),
        Row::new(Role::Ours, "Tallyport, snapshot and sync, ms", whole),
        Row::new(Role::Limit, "limit: the same commands pipelined raw, ms", same),
        Row::new(Role::Limit, "limit: one HSET per series pipelined raw, ms", hsets),
    ];
    let title = format!("sync of {SERIES} changed series ÷ the same bytes pipelined raw");
    let note = format!("{} bytes of commands", commands.len());
    let changed = Section::new("sync", title, "ratio", rows).note(note);
    let rows = vec![
        Row::new(Role::Ours, "Tallyport, 100000 series", nothing),
        Row::new(Role::Ours, "Tallyport, 1 series", nothing_of_one),
    ];
    Ok(vec![changed, Section::new("sync", "sync with nothing changed", "ms", rows)])
}

/// What all have, less what the store takes to give the same replies; `apart` shifts the series of
/// each instance from those of the one before.
fn aggregate(
    task: Task,
    title: &str,
    (instances, each): (usize, usize),
    apart: usize,
) -> Result<Section, String> {
    let server = RedisServer::start(&[]);
    for index in 0..instances {
        Instance::new(&server.url(), &format!("i{index}"), each, index * apart)?.sync()?;
    }
    let wire = Wire::start(server.port())?;
    let recorded = Instance::new(&wire.url(), "recorded", 0, 0)?;
    recorded.read_all()?;
    wire.forget();
    let series = recorded.read_all()?;
    let commands = wire.commands();
    let expected = if apart == 0 { each } else { instances * each };
    if series < expected {
        return Err(format!("{series} series of {expected} were read"));
    }
    let mut raw = Raw::connect(server.port())?;
    let observer = Instance::new(&server.url(), "observer", 0, 0)?;
    let (mut own, mut whole, mut transfer, mut bytes) = (vec![], vec![], vec![], 0);
    for round in 0..=rounds(task) {
        let took = ms(|| observer.read_all().map(drop))?;
        let bare = ms(|| {
            bytes = raw.exchange(&commands)?;
            Ok(())
        })?;
        if round > 0 {
            own.push(took - bare);
            whole.push(took);
            transfer.push(bare);
        }
    }
    let rows = vec![
        Row::new(Role::Ours, OURS, own),
        Row::new(Role::Ours, "Tallyport, with the transfer", whole),
        Row::new(Role::Limit, "limit: the same commands raw, replies only received", transfer),
    ];
    let note = format!("less the transfer of {bytes} bytes of replies; {series} series come out");
    Ok(Section::new("sync", title, "ms", rows).note(note))
}

/// What one series weighs, found with ten instances, and what a hundred then weigh.
fn weights() -> Result<Vec<Section>, String> {
    let ten = Weights::measure(INSTANCES, EACH)?;
    let hundred = Weights::measure(100, 1000)?;
    let sections = [("10 instances × 10000 series", ten), ("100 instances × 1000 series", hundred)];
    Ok(sections.map(|(of, weights)| weights.section(of)).into())
}

/// Bytes of a number of instances with as many series each.
#[derive(Debug, Clone, Copy)]
struct Weights {
    /// Of an instance's first sync, to the store.
    first: f64,
    /// Of one in which everything changed.
    all: f64,
    /// Of one in which nothing did, both ways.
    nothing: f64,
    /// Of an aggregate, from the store.
    read: f64,
    /// What the store's memory grew by.
    memory: f64,
    series: f64,
    instances: f64,
}

impl Weights {
    fn measure(instances: usize, each: usize) -> Result<Self, String> {
        let server = RedisServer::start(&[]);
        let wire = Wire::start(server.port())?;
        let all: Vec<Instance> = (0..instances)
            .map(|index| Instance::new(&wire.url(), &format!("i{index}"), each, 0))
            .collect::<Result<_, _>>()?;
        let before = used_memory(&server)?;
        let step = |change: bool| {
            wire.forget();
            for one in &all {
                if change {
                    one.change();
                }
                one.sync()?;
            }
            Ok::<_, String>(wire.passed())
        };
        let first = step(false)?;
        let memory = used_memory(&server)? - before;
        let changed = step(true)?;
        // The engine's own metrics settle: the last sync's are the next one's changes.
        let nothing = step(false)?;
        let observer = Instance::new(&wire.url(), "observer", 0, 0)?;
        observer.read_all()?;
        wire.forget();
        observer.read_all()?;
        let read = wire.passed();
        Ok(Self {
            first: first.up as f64,
            all: changed.up as f64,
            nothing: (nothing.up + nothing.down) as f64,
            read: read.down as f64,
            memory,
            series: (instances * each) as f64,
            instances: instances as f64,
        })
    }

    fn section(self, of: &str) -> Section {
        let Self { first, all, nothing, read, memory, series, instances } = self;
        let row = |name: &str, value: f64| Row::new(Role::Ours, name, vec![value]);
        let rows = vec![
            row("sent once per series, with its text", first / series),
            row("sent per series that changed", (all - nothing / 2.0) / series),
            row("store memory per series and instance", memory / series),
            row("read per series and instance by an aggregate", read / series),
            row("both ways per instance and sync, nothing changed", nothing / instances),
        ];
        Section::new("sync", format!("weights: {of}"), "bytes", rows)
    }
}

/// Bytes that the server's data take, by its own account.
fn used_memory(server: &RedisServer) -> Result<f64, String> {
    let text = server.command(&["INFO", "memory"]);
    let line = text.lines().find_map(|line| line.strip_prefix("used_memory:"));
    line.and_then(|number| number.trim().parse().ok()).ok_or_else(|| format!("INFO says {text:?}"))
}
