//! One case on one exporter, in its process: what it has to work with, and the steps that many
//! cases share.

use std::time::Duration;

use tallyport_plugin_api::{
    abi::{TALLYPORT_CAP_WRITES_SINK, TALLYPORT_PANIC, TALLYPORT_SIGNAL_METRICS},
    testing::Frozen,
};

use crate::{
    clock,
    rng::Rng,
    sys::{
        desk::HostShape,
        file::{Exporter, File},
        instance::{Answer, Ask, Exported, Instance},
        snapshot::{Layout, Lent},
        surroundings::Surroundings,
    },
};

/// Why a case does not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The plugin breaks the contract, and how.
    Fail(String),
    /// The case does not apply, and why.
    Skip(String),
    /// The kit could not do its work.
    Broken(String),
}

/// What a case ends with.
pub(crate) type Done = Result<(), Stop>;

impl Stop {
    pub(crate) fn fail<T>(text: impl Into<String>) -> Result<T, Self> {
        Err(Self::Fail(text.into()))
    }

    pub(crate) fn skip<T>(text: impl Into<String>) -> Result<T, Self> {
        Err(Self::Skip(text.into()))
    }
}

/// What the kit's own machinery says.
pub(crate) fn broken(text: impl Into<String>) -> Stop {
    Stop::Broken(text.into())
}

/// One exporter under test.
#[derive(Debug)]
pub(crate) struct Trial<'a> {
    pub(crate) file: &'a File,
    pub(crate) exporter: &'a Exporter,
    /// The process before the file was loaded.
    pub(crate) before: &'a Surroundings,
    pub(crate) options: &'a str,
    pub(crate) series: u32,
    pub(crate) rounds: u32,
    pub(crate) rng: Rng,
}

impl<'a> Trial<'a> {
    pub(crate) fn has(&self, cap: u64) -> bool {
        self.exporter.raw.caps & cap != 0
    }

    /// Names of the formats, the default one first.
    pub(crate) fn formats(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.exporter.table.formats.iter().map(|format| format.name.as_str())
    }

    /// The default format.
    pub(crate) fn format(&self) -> &'a str {
        self.formats().next().unwrap_or("")
    }

    /// Stops a case that needs an export of metrics.
    pub(crate) fn needs_metrics(&self) -> Done {
        if self.exporter.raw.signals & TALLYPORT_SIGNAL_METRICS == 0 {
            return Stop::skip("it does not export metrics");
        }
        Ok(())
    }

    /// Stops a case that needs output to look at.
    pub(crate) fn needs_output(&self) -> Done {
        self.needs_metrics()?;
        if !self.has(TALLYPORT_CAP_WRITES_SINK) {
            return Stop::skip("it does not declare WRITES_SINK");
        }
        Ok(())
    }

    /// An exporter with the options of the command line.
    pub(crate) fn create(&self) -> Result<Instance<'a>, Stop> {
        self.create_on(HostShape::default())
    }

    pub(crate) fn create_on(&self, shape: HostShape) -> Result<Instance<'a>, Stop> {
        self.try_create(shape, self.options.as_bytes())?.or_else(|answer| {
            let hint = match self.options {
                "" => "; options that it needs are given with --options",
                _ => "",
            };
            Stop::fail(format!("`create` answered {answer}{hint}"))
        })
    }

    /// An exporter, or what it answered instead.
    pub(crate) fn try_create(
        &self,
        shape: HostShape,
        config: &[u8],
    ) -> Result<Result<Instance<'a>, Answer>, Stop> {
        let made = Instance::create(self.exporter, shape, config).map_err(Stop::Fail)?;
        Ok(made.map_err(|(answer, _)| answer))
    }

    /// Exports; the answer is the case's to judge.
    pub(crate) fn ask(
        &self,
        instance: &Instance<'_>,
        format: &str,
        snapshot: &Lent,
        ask: Ask,
    ) -> Result<Exported, Stop> {
        let done = instance.export(format, snapshot, ask).map_err(Stop::Broken)?;
        if done.sink.flooded {
            let text = format!("an export in `{format}` goes on after {}", done.sink.bytes.len());
            return Stop::fail(format!("{text} bytes, far more than the snapshot is worth"));
        }
        Ok(done)
    }

    /// Exports and expects OK; the bytes.
    pub(crate) fn export(
        &self,
        instance: &Instance<'_>,
        format: &str,
        snapshot: &Lent,
    ) -> Result<Vec<u8>, Stop> {
        let done = self.ask(instance, format, snapshot, Ask::default())?;
        expect_ok(&done.answer, &format!("an export in `{format}`"))?;
        Ok(done.sink.bytes)
    }

    /// What an exporter of its own writes of a snapshot: what others are compared with.
    pub(crate) fn reference(&self, format: &str, frozen: &Frozen) -> Result<Vec<u8>, Stop> {
        let instance = self.create()?;
        self.export(&instance, format, &lend(frozen)?)
    }

    /// `shutdown`, which must not fail on an exporter that works.
    pub(crate) fn shutdown(&self, instance: &Instance<'_>) -> Done {
        match instance.shutdown().map_err(broken)? {
            Some(answer) => expect_ok(&answer, "`shutdown`"),
            None => Ok(()),
        }
    }
}

/// A snapshot as this host lays it out.
pub(crate) fn lend(frozen: &Frozen) -> Result<Lent, Stop> {
    Lent::new(frozen, Layout::default()).map_err(broken)
}

/// Fails unless the answer is OK.
pub(crate) fn expect_ok(answer: &Answer, what: &str) -> Done {
    if answer.ok() { Ok(()) } else { Stop::fail(format!("{what} answered {answer}")) }
}

/// Fails for a panic, which is never a right answer.
pub(crate) fn expect_no_panic(answer: &Answer, what: &str) -> Done {
    if answer.status == TALLYPORT_PANIC {
        return Stop::fail(format!("{what} answered {answer}"));
    }
    Ok(())
}

/// Fails unless two outputs are the same, the time at which they were made aside.
pub(crate) fn expect_same(one: &[u8], other: &[u8], what: &str) -> Done {
    if one == other || clock::without_now(one) == clock::without_now(other) {
        return Ok(());
    }
    Stop::fail(format!("{what} differ {}", crate::words::difference(one, other)))
}

/// How long a call may take that was told to stop.
pub(crate) const GRACE: Duration = Duration::from_secs(2);
