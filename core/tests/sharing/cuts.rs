//! Connections that are cut, or answered with garbage, at every so many bytes of a call: the same for
//! each store.

use std::{cell::Cell, time::Duration};

use tallyport_core::{
    model::Error,
    store::{Lease, Roll, Store},
    sync::{Mishaps, Settings},
};

use crate::{
    instances::{Instance, named, values},
    processes::setting,
    proxy::{AfterGarbage, Garbage, Proxy},
};

/// Connects to a server at an address, in a namespace.
type Connect<'a> = &'a dyn Fn(&str, &str) -> Box<dyn Store>;

/// A server and the way to it.
pub(crate) struct Place<'a> {
    pub(crate) proxy: &'a Proxy,
    /// Of the server itself.
    pub(crate) address: String,
    pub(crate) connect: Connect<'a>,
}

impl Place<'_> {
    /// One whose way is cut.
    fn cut(&self, namespace: &str) -> Instance {
        self.instance(&self.proxy.address(), namespace, Duration::from_secs(3600))
    }

    fn uncut(&self, namespace: &str) -> Instance {
        self.instance(&self.address, namespace, Duration::from_secs(3600))
    }

    fn instance(&self, address: &str, namespace: &str, alive: Duration) -> Instance {
        let lease = Lease { alive, data: Duration::from_secs(86_400) };
        let settings = Settings { lease, ..named("a") };
        Instance::new((self.connect)(address, namespace), settings)
    }

    /// One that counted so much, and whose lease has ended.
    fn ended(&self, namespace: &str, times: u64) {
        let mut one = self.instance(&self.address, namespace, Duration::ZERO);
        record(&one, times);
        one.sync();
        let mut store = (self.connect)(&self.address, namespace);
        // It is a little longer than none.
        let mut rolls = || (0..store.shards()).map(|shard| store.roll(shard).unwrap()).collect();
        let is_there = |rolls: Vec<Roll>| {
            rolls.iter().flat_map(|roll| &roll.instances).any(|listed| listed.expired)
        };
        while !is_there(rolls()) {}
    }
}

/// One cut of the way, in a namespace of its own.
struct Cut<'a> {
    proxy: &'a Proxy,
    to_server: bool,
    bytes: u64,
    namespace: String,
    /// How much passed.
    passed: Cell<u64>,
}

impl Cut<'_> {
    /// Does something over a way that ends after so many bytes; it is whole again afterwards.
    fn over<R>(&self, act: impl FnOnce() -> R) -> R {
        let all = u64::MAX;
        let (up, down) = if self.to_server { (self.bytes, all) } else { (all, self.bytes) };
        let before = self.proxy.passed(self.to_server);
        self.proxy.allow(up, down);
        let done = act();
        self.proxy.allow(all, all);
        self.passed.set(self.proxy.passed(self.to_server) - before);
        done
    }
}

/// How many bytes lie between two cuts: a campaign has 1.
fn step(otherwise: usize) -> usize {
    setting("TALLYPORT_CUT_STEP", otherwise)
}

/// Cuts a call at every so many bytes, to the server and from it, both ways or one.
fn each_cut(proxy: &Proxy, otherwise: usize, round: impl Fn(&Cut<'_>) -> Result<(), Error>) {
    let (mut rounds, mut failed) = (0, 0);
    let mut run = |to_server, bytes| {
        rounds += 1;
        let namespace = format!("n{rounds}");
        let cut = Cut { proxy, to_server, bytes, namespace, passed: Cell::new(0) };
        let done = round(&cut);
        assert!(bytes < u64::MAX || done.is_ok(), "{done:?}");
        failed += usize::from(done.is_err());
        cut.passed.get()
    };
    for half_closed in [false, true] {
        proxy.half_close(half_closed);
        for to_server in [true, false] {
            // The first one may have had scripts to send.
            run(to_server, u64::MAX);
            let whole = run(to_server, u64::MAX);
            assert!(whole > 100, "{whole}");
            let step = step(otherwise * if half_closed { 5 } else { 1 });
            for bytes in (0..whole + 20).step_by(step) {
                run(to_server, bytes);
            }
        }
    }
    println!("{failed} of {rounds} calls were cut");
    assert!(failed * 2 > rounds, "only {failed} of {rounds} calls were cut");
}

/// Counts some of everything that adds up.
fn record(one: &Instance, times: u64) {
    let took = one.metrics.histogram("took", &[1.0], &[]).unwrap();
    for path in ["/", "/a", "/b"] {
        one.add("requests", path, times);
    }
    (0..times).for_each(|_| took.observe(0.5));
}

/// What a store has of [`record`], all in all.
fn recorded(observer: &mut Instance) -> u64 {
    let all = values(&observer.everyone().snapshot);
    let of = |path: &str| all.get(&format!("requests{{path={path}}}")).cloned();
    let Some(times) = of("/") else {
        assert!(all.is_empty(), "{all:?}");
        return 0;
    };
    assert_eq!((of("/a").as_ref(), of("/b").as_ref()), (Some(&times), Some(&times)));
    let times: u64 = times.parse().unwrap();
    assert_eq!(all["took{}"], format!("{times} {} [{times}, 0]", 0.5 * times as f64));
    times
}

/// The very first sync is cut: registering, and everything that is sent.
pub(crate) fn a_first_sync_that_is_cut_is_exact(place: &Place<'_>, otherwise: usize) {
    each_cut(place.proxy, otherwise, |cut| {
        let (mut a, mut observer) = (place.cut(&cut.namespace), place.uncut(&cut.namespace));
        record(&a, 2);
        let snapshot = a.snapshot();
        let done = cut.over(|| a.session.sync(&snapshot).map(drop));
        let seen = recorded(&mut observer);
        assert!(seen == 2 || seen == 0 && done.is_err(), "{seen} at {}", cut.bytes);
        record(&a, 1);
        a.sync();
        assert_eq!(recorded(&mut observer), 3, "cut at {}", cut.bytes);
        assert_eq!(a.session.mishaps(), Mishaps::default(), "cut at {}", cut.bytes);
        done
    });
}

/// An instance that withdraws is cut, and does so again.
pub(crate) fn a_withdrawal_that_is_cut_and_repeated_is_exact(place: &Place<'_>, otherwise: usize) {
    each_cut(place.proxy, otherwise, |cut| {
        let (mut a, mut b) = (place.cut(&cut.namespace), place.uncut(&cut.namespace));
        record(&b, 10);
        b.sync();
        record(&a, 2);
        a.sync();
        record(&a, 1);
        let last = a.snapshot();
        let done = cut.over(|| a.session.withdraw(&last).map(drop));
        let seen = recorded(&mut b);
        assert!(seen == 13 || seen == 12 && done.is_err(), "{seen} at {}", cut.bytes);
        for _ in 0..2 {
            a.session.withdraw(&last).unwrap();
            assert_eq!(recorded(&mut b), 13, "cut at {}", cut.bytes);
        }
        assert_eq!(b.everyone().instances, 1, "cut at {}", cut.bytes);
        record(&a, 1);
        a.sync();
        assert_eq!(recorded(&mut b), 14, "cut at {}", cut.bytes);
        // Who was folded and did not hear of it counts that.
        let mishaps = Mishaps { retired: 0, ..a.session.mishaps() };
        assert_eq!(mishaps, Mishaps::default(), "cut at {}", cut.bytes);
        done
    });
}

/// An aggregate that folds and reads is cut.
pub(crate) fn an_aggregate_that_is_cut_is_exact(place: &Place<'_>, otherwise: usize) {
    let folded = Cell::new(0);
    each_cut(place.proxy, otherwise, |cut| {
        let mut a = place.cut(&cut.namespace);
        record(&a, 2);
        a.sync();
        place.ended(&cut.namespace, 5);
        let snapshot = a.snapshot();
        let done = cut.over(|| a.session.aggregate(&snapshot));
        if let Ok((overview, _)) = &done {
            let all = values(&overview.snapshot);
            assert_eq!(all["requests{path=/}"], "7", "cut at {}", cut.bytes);
        }

        assert_eq!(recorded(&mut a), 7, "cut at {}", cut.bytes);
        assert_eq!(a.everyone().instances, 1, "cut at {}", cut.bytes);
        record(&a, 1);
        a.sync();
        assert_eq!(recorded(&mut a), 8, "cut at {}", cut.bytes);
        assert_eq!(a.session.mishaps(), Mishaps::default(), "cut at {}", cut.bytes);
        done.map(|(_, retirement)| folded.set(folded.get() + retirement.folded))
    });
    assert!(folded.get() > 0, "no aggregate folded");
}

/// The server's answers to a sync turn into garbage, at every so many bytes.
///
/// `lies` say that a step did not take place which did: what it wrote may be missing until the next one
/// finds out, and counts it.
pub(crate) fn a_sync_that_is_answered_with_garbage_is_exact(
    place: &Place<'_>,
    replies: &[&'static [u8]],
    lies: &[&'static [u8]],
    otherwise: usize,
) {
    let (mut a, mut observer) = (place.cut("garbage"), place.uncut("garbage"));
    record(&a, 1);
    a.sync();
    let (mut times, mut failed, mut rounds) = (1, 0, 0);
    let replies = replies.iter().map(|reply| (Garbage::Reply(reply), false));
    let lies = lies.iter().map(|reply| (Garbage::Reply(reply), true));
    for (garbage, lies) in [(Garbage::Noise, false)].into_iter().chain(replies).chain(lies) {
        for then in [AfterGarbage::TheEnd, AfterGarbage::GoesOn] {
            let before = place.proxy.passed(false);
            record(&a, 1);
            times += 1;
            a.sync();
            let whole = place.proxy.passed(false) - before;
            assert!(whole > 100, "{whole}");
            for bytes in (0..whole).step_by(step(otherwise)) {
                place.proxy.garble(bytes, garbage, then);
                record(&a, 1);
                (times, rounds) = (times + 1, rounds + 1);
                let snapshot = a.snapshot();
                failed += usize::from(a.session.sync(&snapshot).is_err());
                let at = || format!("{garbage:?} at {bytes}, then {then:?}");
                let seen = recorded(&mut observer);
                let known = seen == times || seen == times - 1 || lies && seen == 0;
                assert!(known, "{seen} of {times}: {}", at());
                place.proxy.allow(u64::MAX, u64::MAX);
                a.sync();
                assert_eq!(recorded(&mut observer), times, "{}", at());
                let mishaps = a.session.mishaps();
                let lost = if lies { mishaps.lost } else { 0 };
                assert_eq!(mishaps, Mishaps { lost, ..Mishaps::default() }, "{}", at());
            }
        }
    }
    println!("{failed} of {rounds} syncs failed");
    assert!(failed * 2 > rounds, "only {failed} of {rounds} syncs failed");
}

/// The server's answers to an aggregate turn into garbage, at every so many bytes.
pub(crate) fn an_aggregate_that_is_answered_with_garbage_is_exact_or_told(
    place: &Place<'_>,
    replies: &[&'static [u8]],
    otherwise: usize,
) {
    let (mut a, mut b) = (place.cut("garbage"), place.uncut("garbage"));
    for one in [&mut a, &mut b] {
        record(one, 2);
        one.sync();
    }
    let last = b.snapshot();
    assert_eq!(b.session.withdraw(&last).unwrap().retirement.folded, 1);
    let (mut failed, mut rounds) = (0, 0);
    let replies = replies.iter().map(|reply| Garbage::Reply(reply));
    for garbage in [Garbage::Noise].into_iter().chain(replies) {
        for then in [AfterGarbage::TheEnd, AfterGarbage::GoesOn] {
            let before = place.proxy.passed(false);
            assert_eq!(recorded(&mut a), 4);
            let whole = place.proxy.passed(false) - before;
            assert!(whole > 100, "{whole}");
            for bytes in (0..whole).step_by(step(otherwise)) {
                place.proxy.garble(bytes, garbage, then);
                let snapshot = a.snapshot();
                let done = a.session.aggregate(&snapshot);
                place.proxy.allow(u64::MAX, u64::MAX);
                (rounds, failed) = (rounds + 1, failed + usize::from(done.is_err()));
                let at = || format!("{garbage:?} at {bytes}, then {then:?}");
                if let Ok((overview, _)) = done {
                    let all = values(&overview.snapshot);
                    let seen: u64 = all.get("requests{path=/}").map_or(0, |v| v.parse().unwrap());
                    // Garbage that is as long as the value it stands for is told of as damaged: what
                    // can be read is all there is then, and never more.
                    let told = overview.damaged > 0;
                    assert!(seen == 4 || told && seen < 4, "{seen}: {}", at());
                }
                assert_eq!(recorded(&mut a), 4, "{}", at());
            }
        }
    }
    println!("{failed} of {rounds} aggregates failed");
    assert!(failed * 2 > rounds, "only {failed} of {rounds} aggregates failed");
}
