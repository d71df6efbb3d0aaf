//! What publishing an event costs: with nobody who listens, with a subscriber that is called, with
//! one that has the event queued.
//!
//! The event is one of the host's own, with two fields. A subscriber that counts does what the least
//! of a metrics route has to: it reads a field, finds the counter of its text, and adds.

use std::{hint::black_box, sync::Arc, time::Duration};

use tallyport_core::{
    engine::{Engine, config::CellsConfig},
    event::{Bus, Definition, Event, FieldValue, Listen, QueueLimits, Subscription},
    model::{Clock as _, Error, SystemClock},
};

use super::Task;
use crate::{
    measure::{Contender, compare, fits},
    peers::tallyport,
    report::{Role, Section},
    targets::{COUNTS, OURS},
};

const NAME: &str = "shop.order_paid";

/// An engine whose catalogue has the event.
fn engine() -> Result<Engine, String> {
    let engine = tallyport::engine(CellsConfig::PerCpu)?;
    let definition = Definition::custom(NAME, "An order was paid", serde_json::Value::Null);
    let defined = definition.and_then(|definition| engine.events().define(definition));
    defined.map(|()| engine).map_err(|e| e.to_string())
}

fn publish(bus: &Bus) {
    let fields = [("shop", FieldValue::from("berlin")), ("cents", FieldValue::from(1999_u64))];
    let _ = black_box(black_box(bus).publish(black_box(NAME), black_box(&fields)));
}

/// Publishes by name; what listens is kept with the contender.
fn contender<L: Send + Sync + 'static>(
    name: &str,
    listen: impl FnOnce(&Engine) -> Result<L, Error>,
) -> Result<Contender, String> {
    let engine = engine()?;
    let listening = listen(&engine).map_err(|e| e.to_string())?;
    Ok(Contender::new(Role::Ours, name, move |_, times| {
        for _ in 0..times {
            publish(engine.events());
        }
        black_box(&listening);
    }))
}

/// With nobody who listens: by name, and by a topic that was looked up before.
fn unheard() -> Result<Vec<Contender>, String> {
    let held = engine()?;
    let topic = held.events().topic(NAME).map_err(|e| e.to_string())?;
    let topic = Contender::new(Role::Ours, "Tallyport, topic held", move |_, times| {
        for _ in 0..times {
            let fields = [("shop", FieldValue::from("berlin"))];
            black_box(black_box(&topic).publish(black_box(&fields)));
        }
        black_box(&held);
    });
    Ok(vec![contender(OURS, |_| Ok(()))?, topic])
}

/// With one subscriber.
fn heard() -> Result<Vec<Contender>, String> {
    let looks = |event: &Event<'_>| {
        black_box(event.fields());
        Ok(())
    };
    let mut contenders = vec![
        contender(COUNTS, counting)?,
        contender("Tallyport, one that looks at the fields", move |engine| {
            engine.events().subscribe(Listen::to(&[NAME]), looks)
        })?,
        queued()?,
    ];
    let clock = SystemClock::default();
    contenders.push(Contender::new(Role::Limit, "limit: reading the clock", move |_, times| {
        for _ in 0..times {
            black_box(black_box(&clock).unix_ns());
        }
    }));
    Ok(contenders)
}

fn counting(engine: &Engine) -> Result<Subscription, Error> {
    let paid = engine.metrics().counter_family("orders_paid_total", &["shop"])?;
    engine.events().subscribe(Listen::to(&[NAME]), move |event| match event.field("shop") {
        Some(FieldValue::Str(shop)) => paid.inc(&[shop]),
        _ => Ok(()),
    })
}

/// Into a queue, and out of it on the same thread.
fn queued() -> Result<Contender, String> {
    let engine = engine()?;
    let queue = engine.events().subscribe_queued(Listen::to(&[NAME]), QueueLimits::default());
    let queue = Arc::new(queue.map_err(|e| e.to_string())?);
    let name = "Tallyport, one with a queue, taken out again";
    Ok(Contender::new(Role::Ours, name, move |_, times| {
        for _ in 0..times {
            publish(engine.events());
            assert!(black_box(queue.next(Duration::ZERO)).is_ok());
        }
    }))
}

/// Measures the group.
///
/// # Errors
/// What the engine says.
pub fn run(task: Task) -> Result<Vec<Section>, String> {
    let (unheard, heard) = (unheard()?, heard()?);
    let mut sections = Vec::new();
    for (threads, on) in [(1, "1 thread"), (2, "2 threads")] {
        if !fits(threads) {
            continue;
        }
        for (contenders, what) in [(&unheard, "nobody listens"), (&heard, "one subscriber")] {
            let rows = compare(contenders, threads, task.plan);
            sections.push(Section::new("events", format!("{what}, {on}"), "ns per event", rows));
        }
    }
    Ok(sections)
}
