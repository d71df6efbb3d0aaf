use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{listener::MAX_DEPTH, *};
use crate::model::{Clock, Error, ErrorKind};

/// Events as JSON, without what differs from run to run.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn callback(&self) -> impl Fn(&Event<'_>) -> Result<(), Error> + Send + Sync + 'static {
        let log = self.clone();
        move |event| {
            log.0.lock().push(format!("{} {}", event.name(), event.to_json()["payload"]));
            Ok(())
        }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

fn names(log: &Log) -> Vec<String> {
    log.take().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[derive(Debug)]
struct Noon;

impl Clock for Noon {
    fn unix_ns(&self) -> u64 {
        1_700_000_000_000_000_007
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

#[test]
fn a_name_a_prefix_and_all_get_what_they_mean() {
    let bus = Bus::default();
    let (exact, prefix, all) = (Log::default(), Log::default(), Log::default());
    let _exact = bus.subscribe(Listen::to(&["task.completed"]), exact.callback()).unwrap();
    let _prefix = bus.subscribe(Listen::to(&["task.*"]), prefix.callback()).unwrap();
    let _all = bus.subscribe(Listen::to(&["*"]), all.callback()).unwrap();
    all.take();
    assert_eq!(bus.publish("task.completed", &[]).unwrap(), 3);
    assert_eq!(bus.publish("task.failed", &[]).unwrap(), 2);
    assert_eq!(bus.publish("step.failed", &[]).unwrap(), 1);
    // Not in the catalogue.
    assert_eq!(bus.publish("task.unheard_of", &[]).unwrap(), 2);
    assert_eq!(bus.publish("other.unheard_of", &[]).unwrap(), 1);
    assert_eq!(names(&exact), ["task.completed"]);
    assert_eq!(names(&prefix), ["task.completed", "task.failed", "task.unheard_of"]);
    let everything =
        ["task.completed", "task.failed", "step.failed", "task.unheard_of", "other.unheard_of"];
    assert_eq!(names(&all), everything);
}

#[test]
fn several_patterns_of_one_subscriber_deliver_an_event_once() {
    let bus = Bus::default();
    let log = Log::default();
    let subscription = bus
        .subscribe(Listen::to(&["task.completed", "task.*", "step.failed"]), log.callback())
        .unwrap();
    for event in ["task.completed", "step.failed", "step.completed", "task.x"] {
        bus.publish(event, &[]).unwrap();
    }
    assert_eq!(names(&log), ["task.completed", "step.failed", "task.x"]);
    subscription.end();
    assert_eq!(bus.publish("task.completed", &[]).unwrap(), 0);
    assert_eq!(bus.publish("task.x", &[]).unwrap(), 0);
    assert!(!bus.topic("task.completed").unwrap().is_heard());
}

#[test]
fn a_payload_has_time_correlation_id_and_the_fields_as_they_were() {
    let bus = Bus::new(Arc::new(Noon));
    let nested = json!({ "a": [1, null] });
    let (sender, receiver) = mpsc::channel();
    let _subscription = bus
        .subscribe(Listen::to(&["task.completed"]), move |event| {
            assert_eq!(event.field("duration").unwrap().as_f64(), Some(0.25));
            assert_eq!(event.field("status"), Some(FieldValue::Str("done")));
            assert_eq!(event.field("nothing"), None);
            assert_eq!(event.category(), Some(Category::Task));
            sender.send((event.to_json(), event.correlation_id().to_owned())).unwrap();
            Ok(())
        })
        .unwrap();
    let queue =
        bus.subscribe_queued(Listen::to(&["task.completed"]), QueueLimits::default()).unwrap();
    let fields: &[Field<'_>] = &[
        ("task_id", 7_i64.into()),
        ("duration", 0.25.into()),
        ("status", "done".into()),
        ("status", "the second one".into()),
        ("big", u64::MAX.into()),
        ("nan", f64::NAN.into()),
        ("yes", true.into()),
        ("nested", (&nested).into()),
        ("null", FieldValue::Null),
    ];
    bus.publish_as("task.completed", "req-1", fields).unwrap();
    let (heard, _) = receiver.recv().unwrap();
    let wanted = json!({
        "event": "task.completed",
        "timestamp_ns": 1_700_000_000_000_000_007_u64,
        "correlation_id": "req-1",
        "payload": {
            "task_id": 7, "duration": 0.25, "status": "done", "big": u64::MAX, "nan": null,
            "yes": true, "nested": { "a": [1, null] }, "null": null,
        },
    });
    assert_eq!(heard, wanted);
    let kept = queue.next(Duration::ZERO).unwrap();
    kept.lend(|event| {
        assert_eq!(event.to_json(), wanted);
        assert!(event.field("nan").unwrap().as_f64().unwrap().is_nan(), "nothing is lost");
        assert_eq!(event.fields().len(), fields.len());
    });

    // Without an id one is made, the same for all listeners.
    bus.publish("task.completed", fields).unwrap();
    let (_, id) = receiver.recv().unwrap();
    assert_eq!(id.len(), 32);
    queue.next(Duration::ZERO).unwrap().lend(|event| assert_eq!(event.correlation_id(), id));
    let bad = bus.publish_as("task.completed", "two words", fields).unwrap_err();
    assert_eq!(bad.field(), Some("correlation_id"));
}

/// A clock that somebody sets.
#[derive(Debug, Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn unix_ns(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

#[test]
fn a_listener_that_takes_its_time_changes_nobody_elses_time_of_the_event() {
    let clock = Arc::new(Hand::default());
    let bus = Bus::new(Arc::clone(&clock) as _);
    let (slow, times) = (Arc::clone(&clock), Arc::new(Mutex::new(Vec::new())));
    let first = bus.subscribe(Listen::to(&["task.*"]), move |_| {
        slow.0.fetch_add(1_000, Relaxed);
        Ok(())
    });
    let seen = Arc::clone(&times);
    let second = bus.subscribe(Listen::to(&["task.*"]), move |event| {
        let first = event.timestamp_ns();
        clock.0.fetch_add(1_000, Relaxed);
        seen.lock().extend([first, event.timestamp_ns()]);
        Ok(())
    });
    bus.publish("task.completed", &[]).unwrap();
    // Alone it has the time at which it asked first.
    drop(first.unwrap());
    bus.publish("task.completed", &[]).unwrap();
    assert_eq!(*times.lock(), [0, 0, 2_000, 2_000]);
    drop(second);
}

#[test]
fn bad_names_are_refused_whether_or_not_anybody_listens() {
    let bus = Bus::default();
    for _ in 0..2 {
        for bad in ["task", "", "task..x", "task.*"] {
            let error = bus.publish(bad, &[]).unwrap_err();
            assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidArgument, Some("name")));
        }
        std::mem::forget(bus.subscribe(Listen::to(&["*"]), |_| Ok(())).unwrap());
    }
    let refuse = |listen: Listen<'_>| bus.subscribe(listen, |_| Ok(())).unwrap_err();
    assert_eq!(refuse(Listen::to(&["task"])).field(), Some("pattern"));
    assert_eq!(refuse(Listen::to(&[])).field(), Some("pattern"));
    assert_eq!(refuse(Listen::to(&["*"; 65])).field(), Some("pattern"));
    assert_eq!(refuse(Listen::to(&["*"]).named("a b")).field(), Some("name"));
    let _a = bus.subscribe(Listen::to(&["*"]).named("a"), |_| Ok(())).unwrap();
    assert_eq!(refuse(Listen::to(&["*"]).named("a")).kind(), ErrorKind::AlreadyExists);
}

#[test]
fn a_listener_that_fails_or_panics_disturbs_nobody() {
    let bus = Bus::default();
    let failing = bus
        .subscribe(Listen::to(&["task.*"]), |_| Err(Error::new(ErrorKind::Io, "no disk")))
        .unwrap();
    let panicking = bus.subscribe(Listen::to(&["task.*"]), |_| panic!("planted {}", 1)).unwrap();
    let log = Log::default();
    let _last = bus.subscribe(Listen::to(&["task.*"]), log.callback()).unwrap();
    for _ in 0..3 {
        assert_eq!(bus.publish("task.failed", &[]).unwrap(), 3);
    }
    assert_eq!(log.take().len(), 3);
    let counts = failing.info().counts;
    assert_eq!((counts.calls, counts.failures), (0, 3));
    assert_eq!(counts.last_error.as_deref(), Some("no disk"));
    let counts = panicking.info().counts;
    assert_eq!(counts.failures, 3);
    assert_eq!(counts.last_error.as_deref(), Some("it panicked: planted 1"));
}

#[test]
fn a_queue_is_bounded_in_events_and_bytes_and_counts_what_it_drops() {
    let bus = Bus::default();
    let limits = QueueLimits { events: 3, ..QueueLimits::default() };
    let few = bus.subscribe_queued(Listen::to(&["task.*"]), limits).unwrap();
    let limits = QueueLimits { events: 100, bytes: 1_000_000 };
    let small = bus.subscribe_queued(Listen::to(&["task.*"]), limits).unwrap();
    let text = "x".repeat(300_000);
    for number in 0..10_u32 {
        bus.publish("task.failed", &[("number", number.into()), ("text", text.as_str().into())])
            .unwrap();
    }
    assert_eq!((few.queued(), few.dropped()), (3, 7));
    assert_eq!((small.queued(), small.dropped()), (3, 7));
    for number in 0..3 {
        let event = small.next(Duration::ZERO).unwrap();
        assert_eq!(event.lend(|event| event.to_json()["payload"]["number"].clone()), number);
    }
    assert_eq!(small.next(Duration::ZERO).unwrap_err().kind(), ErrorKind::Timeout);
    // What was drained makes room again.
    assert_eq!(bus.publish("task.failed", &[("text", text.as_str().into())]).unwrap(), 1);
    let info = small.info();
    assert_eq!((info.queued, info.counts.calls, info.dropped), (Some(1), 4, 7));
    for events in [0, (1 << 20) + 1] {
        let limits = QueueLimits { events, bytes: 1 };
        let error = bus.subscribe_queued(Listen::to(&["*"]), limits).unwrap_err();
        assert_eq!(error.field(), Some("queue_events"));
    }
}

#[test]
fn who_waits_for_an_event_is_woken_when_there_will_be_none() {
    let bus = Bus::default();
    let ended = Arc::new(bus.subscribe_queued(Listen::to(&["*"]), QueueLimits::default()).unwrap());
    let closed = bus.subscribe_queued(Listen::to(&["task.*"]), QueueLimits::default()).unwrap();
    while ended.queued() > 0 {
        ended.next(Duration::ZERO).unwrap();
    }
    let waiting = Arc::clone(&ended);
    let waiter = thread::spawn(move || {
        let mut taken = 0;
        loop {
            match waiting.next(Duration::from_secs(600)) {
                Ok(_) => taken += 1,
                Err(error) => return (taken, error.kind()),
            }
        }
    });
    bus.publish("task.failed", &[]).unwrap();
    ended.end();
    assert_eq!(waiter.join().unwrap(), (1, ErrorKind::Closed));
    bus.close();
    assert_eq!(closed.next(Duration::ZERO).unwrap().name(), "task.failed", "still drained");
    assert_eq!(closed.next(Duration::from_secs(600)).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(bus.publish("task.failed", &[]).unwrap(), 0);
    let late = bus.subscribe(Listen::to(&["*"]), |_| Ok(())).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Closed);
    assert_eq!(
        bus.register_handler("h", &["*"], |_| Ok(())).unwrap_err().kind(),
        ErrorKind::Closed
    );
}

#[test]
fn an_event_inside_its_own_delivery_ends_at_a_depth() {
    let bus = Bus::default();
    let calls = Arc::new(AtomicU64::new(0));
    let (again, counter) = (bus.clone(), Arc::clone(&calls));
    let subscription = bus
        .subscribe(Listen::to(&["task.failed"]), move |_| {
            counter.fetch_add(1, Relaxed);
            again.publish("task.failed", &[]).map(drop)
        })
        .unwrap();
    assert_eq!(bus.publish("task.failed", &[]).unwrap(), 1);
    assert_eq!(calls.load(Relaxed), u64::from(MAX_DEPTH));
    assert_eq!(bus.too_deep(), 1);
    // The depth is the thread's own, and given back.
    assert_eq!(bus.publish("task.failed", &[]).unwrap(), 1);
    assert_eq!(bus.too_deep(), 2);
    drop(subscription); // it holds the bus
}

#[test]
fn a_subscriber_may_end_itself_and_others_while_it_is_called() {
    let bus = Bus::default();
    let slot = Arc::new(Mutex::new(Vec::<Subscription>::new()));
    let calls = Arc::new(AtomicU64::new(0));
    for _ in 0..3 {
        let (own, counter) = (Arc::clone(&slot), Arc::clone(&calls));
        let subscription = bus
            .subscribe(Listen::to(&["task.failed"]), move |_| {
                counter.fetch_add(1, Relaxed);
                let all = std::mem::take(&mut *own.lock());
                drop(all);
                Ok(())
            })
            .unwrap();
        slot.lock().push(subscription);
    }
    assert_eq!(bus.publish("task.failed", &[]).unwrap(), 1, "the first one ended all");
    assert_eq!(bus.publish("task.failed", &[]).unwrap(), 0);
    assert_eq!(calls.load(Relaxed), 1);
    assert!(bus.subscribers().is_empty());
    // What the functions owned is gone with the call.
    assert_eq!(Arc::strong_count(&slot), 1);
}

#[test]
fn what_a_function_owns_goes_with_its_last_call_whoever_keeps_the_subscription() {
    struct Gone(Arc<AtomicU64>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
            panic!("planted in a drop");
        }
    }
    let bus = Bus::default();
    let gone = Arc::new(AtomicU64::new(0));
    let kept = Arc::new(Mutex::new(None::<Arc<Subscription>>));
    let (own, inner, owned) = (Arc::clone(&kept), bus.clone(), Gone(Arc::clone(&gone)));
    let subscription = bus
        .subscribe(Listen::to(&["task.*"]), move |_| {
            let _ = &owned;
            if let Some(own) = &*own.lock() {
                own.end();
                assert_eq!(owned.0.load(Relaxed), 0, "it runs still");
            }
            // Nobody is told: it has ended, though this call runs.
            assert_eq!(inner.publish("task.failed", &[])?, 0);
            Ok(())
        })
        .unwrap();
    let subscription = Arc::new(subscription);
    *kept.lock() = Some(Arc::clone(&subscription));
    assert_eq!(bus.publish("task.failed", &[]).unwrap(), 1);
    assert_eq!(gone.load(Relaxed), 1, "though the subscription is kept");
    let counts = subscription.info().counts;
    assert_eq!((counts.calls, counts.failures), (1, 0));
    *kept.lock() = None;
}

/// Ending it drops its function, which drops the subscription, which ends it.
#[test]
fn a_function_may_own_its_own_subscription() {
    for from_outside in [true, false] {
        let bus = Bus::default();
        let slot = Arc::new(Mutex::new(None::<Subscription>));
        let own = Arc::clone(&slot);
        let subscription = bus
            .subscribe(Listen::to(&["task.*"]), move |_| {
                drop(own.lock().take());
                Ok(())
            })
            .unwrap();
        *slot.lock() = Some(subscription);
        let watched = Arc::downgrade(&slot);
        drop(slot);
        if from_outside {
            bus.close();
        } else {
            bus.publish("task.failed", &[]).unwrap();
        }
        assert!(watched.upgrade().is_none());
        assert!(bus.subscribers().is_empty());
    }
}

#[test]
fn handlers_have_names_and_keep_their_place_when_they_are_replaced() {
    let bus = Bus::default();
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |text: &'static str| {
        let order = Arc::clone(&order);
        move |_: &Event<'_>| {
            order.lock().push(text);
            Ok(())
        }
    };
    bus.register_handler("bill", &["task.completed"], note("first")).unwrap();
    bus.register_handler("mail", &["task.*"], note("mail")).unwrap();
    let _subscription = bus.subscribe(Listen::to(&["task.completed"]), note("subscriber")).unwrap();
    let taken = bus.register_handler("bill", &["task.*"], note("no")).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
    bus.publish("task.completed", &[]).unwrap();
    bus.replace_handler("bill", &["task.completed", "task.failed"], note("second")).unwrap();
    bus.publish("task.completed", &[]).unwrap();
    bus.publish("task.failed", &[]).unwrap();
    let wanted = ["first", "mail", "subscriber", "second", "mail", "subscriber", "second", "mail"];
    assert_eq!(*order.lock(), wanted);
    let none = bus.replace_handler("none", &["*"], note("no")).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::NotFound);
    let listed: Vec<_> = bus.handlers().into_iter().map(|h| (h.name, h.patterns)).collect();
    assert_eq!(listed[0].0, "bill");
    assert_eq!(listed[0].1, ["task.completed", "task.failed"]);
    bus.unregister_handler("bill").unwrap();
    assert_eq!(bus.unregister_handler("bill").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(bus.publish("task.completed", &[]).unwrap(), 2);
}

#[test]
fn changes_of_listeners_are_events() {
    let bus = Bus::default();
    let log = Log::default();
    let _watch = bus
        .subscribe(Listen::to(&["subscriber.*", "handler.*"]).named("watch"), log.callback())
        .unwrap();
    assert_eq!(names(&log), ["subscriber.registered"], "its own");
    drop(bus.subscribe(Listen::to(&["task.*", "step.*"]).named("s"), |_| Ok(())).unwrap());
    bus.subscribe(Listen::to(&["bad"]).named("t"), |_| Ok(())).unwrap_err();
    bus.register_handler("h", &["task.*"], |_| Ok(())).unwrap();
    bus.replace_handler("h", &["*"], |_| Ok(())).unwrap();
    bus.register_handler("h", &["*"], |_| Ok(())).unwrap_err();
    bus.unregister_handler("h").unwrap();
    let told = log.take();
    let wanted = [
        r#"subscriber.registered {"delivery":"sync","name":"s","patterns":"task.* step.*","replaced":false}"#,
        r#"subscriber.unregistered {"name":"s","replaced":false}"#,
    ];
    assert_eq!(told[..2], wanted);
    assert!(told[2].starts_with(r#"subscriber.validation_failed {"code":1,"error":"\"bad\""#));
    assert!(told[2].ends_with(r#""field":"pattern","name":"t"}"#), "{}", told[2]);
    let rest: Vec<_> = told[3..].iter().map(|line| line.split('{').next().unwrap()).collect();
    let wanted = [
        "handler.registered ",
        "handler.unregistered ",
        "handler.registered ",
        "handler.validation_failed ",
        "handler.unregistered ",
    ];
    assert_eq!(rest, wanted);
    assert!(told[4].contains(r#""replaced":true"#), "{}", told[4]);
    // Every one of them is as the catalogue says.
    let catalogue = bus.catalogue();
    for line in told {
        let (name, payload) = line.split_once(' ').unwrap();
        let payload: Value = serde_json::from_str(payload).unwrap();
        catalogue.get(name).unwrap().check(&payload).unwrap();
    }
}

#[test]
fn the_catalogue_lists_searches_and_takes_custom_events() {
    let bus = Bus::default();
    let schema = json!({ "type": "object", "properties": { "order_id": { "type": "integer" } } });
    let paid = || Definition::custom("order.paid", "The money is there.", schema.clone()).unwrap();
    let early = Log::default();
    let _early = bus.subscribe(Listen::to(&["order.*"]), early.callback()).unwrap();
    bus.define(paid()).unwrap();
    bus.define(paid()).unwrap();
    let other = Definition::custom("order.paid", "", Value::Null).unwrap();
    assert_eq!(bus.define(other).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let builtin = Definition::custom("task.failed", "", Value::Null).unwrap();
    assert_eq!(bus.define(builtin).unwrap_err().kind(), ErrorKind::AlreadyExists);

    let catalogue = bus.catalogue();
    assert_eq!(catalogue.namespaces()["order"], 1);
    assert_eq!(catalogue.namespaces()["registry"], 5);
    let found: Vec<_> = catalogue.search("ORDER money").iter().map(|e| e.name()).collect();
    assert_eq!(found, ["order.paid"]);
    assert_eq!(catalogue.search("").len(), catalogue.iter().count());
    assert!(catalogue.search("no such words").is_empty());
    assert_eq!(catalogue.category(Category::Custom).count(), 1);
    let tasks: Vec<_> = catalogue.namespace("task").map(Definition::name).collect();
    let wanted =
        ["task.completed", "task.failed", "task.initialize_requested", "task.start_requested"];
    assert_eq!(tasks, wanted);

    // Who subscribed before it was defined is heard, by name and by topic.
    let topic = bus.topic("order.paid").unwrap();
    assert_eq!(topic.publish(&[]), 1);
    assert_eq!(topic.publish_as("id", &[]).unwrap(), 1);
    assert!(topic.publish_as("", &[]).is_err());
    bus.publish("order.paid", &[]).unwrap();
    assert_eq!(early.take().len(), 3);
    assert_eq!(bus.topic("order.lost").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn custom_events_have_a_limit() {
    let bus = Bus::default();
    let define = |number: usize| {
        bus.define(Definition::custom(&format!("order.e{number}"), "", Value::Null).unwrap())
    };
    // Each definition copies the map, so not all of them one by one.
    let most = 4096;
    for number in 0..most {
        define(number).unwrap();
    }
    assert_eq!(define(most).unwrap_err().kind(), ErrorKind::Limit);
    define(0).unwrap();
}

/// Whoever ends a subscription may let go of what its function uses: no call runs any more.
#[test]
fn no_call_runs_after_a_subscription_ended() {
    let bus = Bus::default();
    let done = AtomicBool::new(false);
    let delivered = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    let reached = bus.publish("task.failed", &[]).unwrap();
                    delivered.fetch_add(reached as u64, Relaxed);
                    bus.publish("other.failed", &[]).unwrap();
                }
            });
        }
        let rounds = if cfg!(debug_assertions) { 1_000 } else { 20_000 };
        for round in 0..rounds {
            let alive = Arc::new(AtomicBool::new(true));
            let running = Arc::new(AtomicUsize::new(0));
            let (a, r) = (Arc::clone(&alive), Arc::clone(&running));
            let subscription = bus
                .subscribe(Listen::to(&["task.failed", "other.*"]), move |_| {
                    r.fetch_add(1, Relaxed);
                    assert!(a.load(Relaxed), "called after the end");
                    r.fetch_sub(1, Relaxed);
                    Ok(())
                })
                .unwrap();
            if round % 8 == 0 {
                // Long enough to be called.
                while subscription.info().counts.calls < 2 {
                    thread::yield_now();
                }
            }
            let listener = bus.0.subscribers.list();
            subscription.end();
            assert_eq!(running.load(Relaxed), 0, "a call still runs");
            alive.store(false, Relaxed);
            for known in listener.iter() {
                assert_eq!(known.info().counts.failures, 0, "{:?}", known.info());
            }
        }
        done.store(true, Relaxed);
    });
    assert!(delivered.load(Relaxed) > 100);
    assert!(bus.subscribers().is_empty());
}

/// Subscribers come and go beside one that stays: it misses nothing and gets nothing twice.
#[test]
fn who_stays_gets_every_event_once_while_others_come_and_go() {
    let bus = Bus::default();
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let _stays = bus
        .subscribe(Listen::to(&["task.*"]), move |_| {
            counter.fetch_add(1, Relaxed);
            Ok(())
        })
        .unwrap();
    let queue = bus
        .subscribe_queued(
            Listen::to(&["task.completed"]),
            QueueLimits { events: 1 << 16, ..QueueLimits::default() },
        )
        .unwrap();
    let done = AtomicBool::new(false);
    let published: u64 = thread::scope(|scope| {
        let publishers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        bus.publish("task.completed", &[("x", 1_u32.into())]).unwrap();
                        bus.publish("task.not_catalogued", &[]).unwrap();
                    }
                    5_000
                })
            })
            .collect();
        let changers: Vec<_> = (0..2)
            .map(|thread| {
                let (bus, done) = (&bus, &done);
                scope.spawn(move || {
                    let mut round = 0_u64;
                    while !done.load(Relaxed) {
                        round += 1;
                        let guest = bus.subscribe(Listen::to(&["*"]), |_| Ok(())).unwrap();
                        let name = format!("t{thread}-{round}");
                        bus.register_handler(&name, &["task.completed"], |_| Ok(())).unwrap();
                        bus.replace_handler(&name, &["task.*"], |_| Ok(())).unwrap();
                        drop(guest);
                        bus.unregister_handler(&name).unwrap();
                    }
                })
            })
            .collect();
        let published = publishers.into_iter().map(|thread| thread.join().unwrap()).sum();
        done.store(true, Relaxed);
        changers.into_iter().for_each(|thread| thread.join().unwrap());
        published
    });
    assert_eq!(count.load(Relaxed), 2 * published);
    assert_eq!((queue.queued() as u64, queue.dropped()), (published, 0));
    let topic = bus.topic("task.completed").unwrap();
    assert_eq!(topic.publish(&[]), 2, "nobody who went is left in a list");
    assert!(bus.handlers().is_empty());
}
