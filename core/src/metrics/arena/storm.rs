//! Recording under everything that interrupts it: more threads than CPUs, yields, moves between
//! CPUs, signals whose handlers record too, and writers of the shared plane beside the sections.
//!
//! `TALLYPORT_STORM_ADDS` sets the adds of each thread; the campaign runs 1e9.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    thread,
    time::Duration,
};

use super::{Arena, Cells, F64Cell, HistogramCell, U64Cell, shared};

const THREADS: u64 = 16;
const BUCKETS: usize = 4;

struct Storm {
    counter: U64Cell,
    sum: F64Cell,
    histogram: HistogramCell,
    /// What handlers added.
    handled: AtomicU64,
}

static STORM: OnceLock<Storm> = OnceLock::new();

extern "C" fn handler(_signal: libc::c_int) {
    if let Some(storm) = STORM.get() {
        storm.record(storm.handled.fetch_add(1, Relaxed));
    }
}

impl Storm {
    fn record(&self, round: u64) {
        self.counter.add(1);
        self.sum.add(0.5);
        self.histogram.observe((round % BUCKETS as u64) as usize, 2.0);
    }

    /// The same through the shared plane, as a process without sections would.
    fn record_shared(&self, round: u64) {
        self.counter.place.word(0).fetch_add(1, Relaxed);
        shared::add_f64(self.sum.place.word(0), 0.5);
        let bucket = (round % BUCKETS as u64) as usize;
        let word = |index| self.histogram.place.word(index);
        shared::add_pair(word(bucket * 2), word(bucket * 2 + 1), 2.0);
    }
}

fn adds_per_thread() -> u64 {
    std::env::var("TALLYPORT_STORM_ADDS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000_000)
}

#[test]
fn storms_of_preemption_lose_nothing() {
    let arena = Arena::private(1 << 20, Cells::PerCpu).unwrap();
    let [one, two, three] = [U64Cell::BYTES, F64Cell::BYTES, HistogramCell::bytes(BUCKETS)]
        .map(|bytes| arena.reserve(bytes, 1, Cells::PerCpu).unwrap())
        .map(|run| arena.place(run.offset, run.cells));
    let storm = STORM.get_or_init(|| Storm {
        counter: U64Cell::new(one),
        sum: F64Cell::new(two),
        histogram: HistogramCell::new(three, BUCKETS),
        handled: AtomicU64::new(0),
    });
    // SAFETY: all-zero is a valid sigaction; the handler only records, which is what is tested.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: installs a handler for a signal that nothing else in this process uses.
    let status = unsafe { libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut()) };
    assert_eq!(status, 0);

    let adds = adds_per_thread();
    let done = Arc::new(AtomicBool::new(false));
    let recorders: Vec<_> = (0..THREADS)
        .map(|thread| {
            thread::spawn(move || {
                for round in 0..adds {
                    // One thread in four is of the other kind.
                    if thread % 4 == 3 {
                        storm.record_shared(round);
                    } else {
                        storm.record(round);
                    }
                    if round % 1024 == 0 {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let targets: Vec<_> =
        recorders.iter().map(std::os::unix::thread::JoinHandleExt::as_pthread_t).collect();
    let storming = Arc::clone(&done);
    let stormer = thread::spawn(move || {
        let mut sent = 0_u64;
        while !storming.load(SeqCst) {
            for target in &targets {
                // SAFETY: the thread was not joined yet: that happens after `done`.
                sent += u64::from(unsafe { libc::pthread_kill(*target, libc::SIGUSR2) } == 0);
            }
            thread::sleep(Duration::from_millis(1));
        }
        sent
    });
    // A reader beside them: a pair is never torn, a count never falls.
    let reading = Arc::clone(&done);
    let seen = Arc::clone(&arena);
    let reader = thread::spawn(move || {
        let mut last = 0;
        while !reading.load(SeqCst) {
            let now = storm.counter.read(&seen.planes());
            assert!(now >= last, "the counter fell from {last} to {now}");
            last = now;
            for bucket in 0..BUCKETS {
                let (sum, count) = storm.histogram.read(bucket, &seen.planes());
                assert!((sum - count as f64 * 2.0).abs() < f64::EPSILON, "{sum} of {count}");
            }
        }
    });
    while recorders.iter().any(|recorder| !recorder.is_finished()) {
        thread::sleep(Duration::from_millis(5));
    }
    done.store(true, SeqCst);
    let sent = stormer.join().unwrap();
    for recorder in recorders {
        recorder.join().unwrap();
    }
    reader.join().unwrap();

    let handled = storm.handled.load(SeqCst);
    let expected = THREADS * adds + handled;
    assert!(handled > 0 && handled <= sent, "{handled} of {sent} signals were handled");
    assert_eq!(storm.counter.read(&arena.planes()), expected);
    assert_eq!(storm.sum.read(&arena.planes()), expected as f64 / 2.0);
    let (sum, count) = (0..BUCKETS)
        .map(|bucket| storm.histogram.read(bucket, &arena.planes()))
        .fold((0.0, 0), |(sum, count), (more, counted)| (sum + more, count + counted));
    assert_eq!((sum, count), (expected as f64 * 2.0, expected));
}
