//! What publishing costs: `cargo run --release -p tallyport-core --example publish_cost`.
//!
//! The best of several rounds, in nanoseconds per event, on one thread.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // a program

use std::{hint::black_box, time::Instant};

use tallyport_core::{
    engine::Engine,
    event::{Listen, QueueLimits},
};

fn best(what: &str, mut each: impl FnMut()) {
    const EVENTS: u32 = 1_000;
    let round = |_| {
        let start = Instant::now();
        (0..EVENTS).for_each(|_| each());
        start.elapsed().as_nanos() as f64 / f64::from(EVENTS)
    };
    let best = (0..2_000).map(round).fold(f64::INFINITY, f64::min);
    println!("{what:<56} {best:>7.1} ns");
}

fn main() {
    let engine = Engine::builder().build().unwrap();
    let bus = engine.events();
    let topic = bus.topic("task.completed").unwrap();
    let fields = [("task_id", 7_i64.into()), ("duration", 0.25.into()), ("status", "done".into())];
    let by_name = || {
        let _ = black_box(bus.publish(black_box("task.completed"), black_box(&fields)));
    };
    let by_topic = || {
        black_box(topic.publish(black_box(&fields)));
    };
    best("by name, no subscriber at all", by_name);
    best("by topic, no subscriber at all", by_topic);

    let other = bus.subscribe(Listen::to(&["step.*"]), |_| Ok(())).unwrap();
    best("by name, a subscriber of others", by_name);
    drop(other);

    let empty = bus.subscribe(Listen::to(&["task.*"]), |_| Ok(())).unwrap();
    best("by name, one subscriber that does nothing", by_name);
    best("by topic, one subscriber that does nothing", by_topic);
    drop(empty);

    let count = engine.metrics().counter("task_completed_total", &[]).unwrap();
    let took = engine.metrics().histogram("task_duration_seconds", &[], &[]).unwrap();
    let route = bus
        .subscribe(Listen::to(&["task.completed"]), move |event| {
            count.inc();
            if let Some(seconds) = event.field("duration").and_then(|value| value.as_f64()) {
                took.observe(seconds);
            }
            Ok(())
        })
        .unwrap();
    best("by name, one route to a counter and a histogram", by_name);
    best("by topic, one route to a counter and a histogram", by_topic);
    drop(route);

    let queue = bus.subscribe_queued(Listen::to(&["task.*"]), QueueLimits::default()).unwrap();
    best("by name, one queue, drained", || {
        by_name();
        black_box(queue.next(std::time::Duration::ZERO)).unwrap();
    });
    for _ in 0..2_000 {
        by_name();
    }
    best("by name, one queue, full", by_name);
}
