//! Work that SIGINT and SIGTERM end well: what is under way has a moment to come to its end, then what it
//! would leave behind is cleared away, whatever it waits for.

use std::{
    fs, io, mem,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{RecvError, Sender, channel},
    },
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use tallyport_core::engine::{Engine, Stop};

use crate::{
    console::Console,
    exit::{Exit, Failure},
};

/// How long work has to end by itself: what a receiver acknowledges by then was delivered.
const GRACE: Duration = Duration::from_secs(2);
/// As the main thread's: plugins may run on it.
const STACK_BYTES: usize = 8 << 20;

/// What the work and whoever ends it know of each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shift {
    stop: Stop,
    left: Arc<Mutex<Left>>,
}

/// What would be left behind.
#[derive(Debug, Default)]
struct Left {
    engine: Option<Engine>,
    temporary: Option<PathBuf>,
}

impl Shift {
    /// What ends the work early.
    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// An engine whose runs may be under way.
    pub(crate) fn has_engine(&self, engine: &Engine) {
        self.left().engine = Some(engine.clone());
    }

    /// A file that is there until it takes the place of another one.
    pub(crate) fn has_file(&self, path: PathBuf) {
        self.left().temporary = Some(path);
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clear_away(&self, console: Console) {
        let (engine, temporary) = {
            let mut left = self.left();
            (left.engine.take(), left.temporary.take())
        };
        if let Some(path) = temporary
            && let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            console.warn(format_args!("`{}` was left behind: {error}", path.display()));
        }
        if let Some(engine) = engine {
            engine.abandon_runs();
            // It is in use, and ends with the process.
            mem::forget(engine);
        }
    }
}

enum Word {
    Done(Result<(), Failure>),
    Signal(i32),
}

/// Does the work on a thread of its own, so that a signal ends it whatever it waits for.
pub(crate) fn until_signal(
    console: Console,
    work: impl FnOnce(&Shift) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(Exit::Unexpected, "signals", error);
    // Before the work begins: a process that is the first of a container has no other end by a signal.
    let signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let (sender, words) = channel();
    listen(signals, sender.clone()).map_err(failed)?;
    let shift = Shift::default();
    let own = shift.clone();
    let worker = thread::Builder::new().name("tallyport-work".into()).stack_size(STACK_BYTES);
    let started = worker.spawn(move || {
        // The panic's message is printed by std.
        let done = panic::catch_unwind(AssertUnwindSafe(|| work(&own)));
        // An engine that ends may wait for its exporters: here too a signal ends that, so nothing is
        // locked meanwhile.
        let left = mem::take(&mut *own.left());
        drop(left);
        // Nobody hears it after a signal.
        let _ = sender.send(Word::Done(done.unwrap_or(Err(Failure::quiet(Exit::Unexpected)))));
    });
    started.map_err(failed)?;
    let hear =
        |word: Result<Word, _>| word.map_err(|_: RecvError| Failure::quiet(Exit::Unexpected));
    let signal = match hear(words.recv())? {
        Word::Done(done) => return done,
        Word::Signal(signal) => signal,
    };
    shift.stop.stop();
    // A second signal: nobody wants to wait.
    let said = match words.recv_timeout(GRACE) {
        Ok(Word::Done(done)) => done.err(),
        Ok(Word::Signal(_)) | Err(_) => {
            shift.clear_away(console);
            None
        }
    };
    Err(ended(signal, said))
}

/// Passes signals on, on a thread that ends with the process.
fn listen(mut signals: Signals, sender: Sender<Word>) -> io::Result<()> {
    let listener = thread::Builder::new().name("tallyport-signals".into());
    let listened = listener.spawn(move || {
        for signal in signals.forever() {
            if sender.send(Word::Signal(signal)).is_err() {
                return;
            }
        }
    });
    listened.map(drop)
}

/// How the command ends by a signal, with what the work said of its own end.
fn ended(signal: i32, said: Option<Failure>) -> Failure {
    let (exit, name) = match signal {
        SIGINT => (Exit::Interrupted, "SIGINT"),
        _ => (Exit::Terminated, "SIGTERM"),
    };
    let failure = Failure::new(exit, "export", format_args!("ended by {name}"));
    match said {
        Some(said) if !said.message.is_empty() => failure.details([said.message]),
        _ => failure,
    }
}
