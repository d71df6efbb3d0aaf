//! What host and helper say to each other: the fields of each message, and the bounds on them.
//!
//! A conversation: `Hello` → `Ready`; `Load` → `Loaded` or `Failed`; `Create` → `Created` or
//! `Failed`; then calls, one at a time: `Schema` and `Values` where they changed, `Export` →
//! `Chunk` (answered with `Credit`) … → `Done`; `Flush` → `Done`; `Synced` → `Done`; `Shutdown` → `Done`. `Cancel` comes
//! at any time during a call, `Log` at any time from the helper.

use std::time::Duration;

use tallyport_plugin_api::abi::tallyport_column;

use super::wire::{Bad, Frame, Reader, Writer};
use crate::{
    model::{Error, ErrorKind},
    plugin::{
        Format, HelperLimits, filtered,
        run::Syncs,
        secrets::Hidden,
        table::{check_formats, check_id, check_ids, check_version},
    },
};

/// Most columns of a snapshot.
const MAX_COLUMNS: usize = 1024;
/// Most exporters of a file, and most formats of an exporter.
const MAX_COUNT: usize = 64;
/// Most words of a job: a file, and the libraries that it needs.
const MAX_WORDS: usize = 4096;

/// Where output goes: slots of a memory file that the helper fills and the host empties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slots {
    pub(super) count: u32,
    pub(super) bytes: u32,
}

/// What an exporter says of itself: [`crate::plugin::Table`] without its functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) vendor: String,
    pub(crate) description: String,
    pub(crate) formats: Vec<Format>,
    pub(crate) caps: u64,
    pub(crate) signals: u32,
    /// JSON text; empty: options are not described.
    pub(crate) options_schema: String,
    /// Whether it wants to be told of syncs.
    pub(crate) hears_syncs: bool,
}

/// An export's arguments, but for the columns' bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Export {
    pub(super) call_id: u64,
    /// CLOCK_MONOTONIC in nanoseconds, which both processes share; 0: none.
    pub(super) deadline_ns: u64,
    /// Most bytes of output.
    pub(super) budget: u64,
    pub(super) format: String,
    pub(super) schema_id: u64,
    pub(super) time_unix_ns: u64,
    pub(super) series_count: u64,
    /// Region 0 is the schema's memory, region 1 the values'.
    pub(super) columns: Vec<tallyport_column>,
}

/// From the host.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ToHelper {
    /// The first message, with the output's memory.
    Hello { host_pid: u32, limits: HelperLimits, log_level: u32, slots: Slots },
    /// Load a file that the host looked at: the words of a [`ProbeJob`](crate::plugin::ProbeJob);
    /// `name` is what errors call the plugin.
    Load { job: Vec<Vec<u8>>, name: String },
    /// Make the instance that all calls are on.
    Create { exporter: String, options: Hidden },
    /// Schema columns, in the memory that comes along.
    Schema { schema_id: u64, bytes: u64 },
    /// Where values are from now on: the memory that comes along.
    Values { bytes: u64 },
    /// Export.
    Export(Export),
    /// A slot is free again; a status other than OK: the destination refused, write no more.
    Credit { slot: u32, status: i32 },
    /// The call is withdrawn.
    Cancel { call_id: u64 },
    /// Deliver what is buffered.
    Flush { call_id: u64, deadline_ns: u64 },
    /// The host synced.
    Synced { call_id: u64, deadline_ns: u64, syncs: Syncs },
    /// Shut the exporter down and end.
    Shutdown { call_id: u64, deadline_ns: u64 },
}

/// From the helper.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum FromHelper {
    /// It runs, within its limits.
    Ready,
    /// The file is loaded and has these exporters.
    Loaded(Vec<Description>),
    /// The instance is made.
    Created,
    /// `Hello`, `Load`, `Create`, `Schema` or `Values` failed; nothing else can follow.
    Failed(Failure),
    /// A line of the plugin's; `lost` lines before it found no room.
    Log { level: u32, lost: u32, message: String },
    /// Output lies in a slot.
    Chunk { call_id: u64, slot: u32, len: u32 },
    /// The call ended.
    Done { call_id: u64, failure: Option<Failure> },
}

/// An [`Error`] on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    status: i32,
    message: String,
    field: Option<String>,
    os_error: Option<i32>,
}

impl Failure {
    pub(super) fn of(error: &Error) -> Self {
        Self {
            status: error.kind().status(),
            message: error.to_string(),
            field: error.field().map(str::to_owned),
            os_error: error.os_error(),
        }
    }

    pub(super) fn into_error(self) -> Error {
        // The helper does not know which of the options are secrets.
        let message = filtered(self.message);
        let error = Error::new(ErrorKind::from_status(self.status), message);
        let error = error.with_os_error(self.os_error);
        match self.field {
            Some(field) => error.with_field(field),
            None => error,
        }
    }

    fn write(&self, to: &mut Writer) {
        to.i32(self.status);
        to.text(&self.message);
        to.option(self.field.as_deref(), Writer::text);
        to.option(self.os_error, Writer::i32);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Bad> {
        Ok(Self {
            status: from.i32()?,
            message: from.text()?,
            field: from.option(Reader::text)?,
            os_error: from.option(Reader::i32)?,
        })
    }
}

impl Description {
    fn write(&self, to: &mut Writer) {
        for text in [&self.id, &self.version, &self.vendor, &self.description] {
            to.text(text);
        }
        to.list(&self.formats, |to, format| {
            to.text(&format.name);
            to.text(&format.content_type);
        });
        to.u64(self.caps);
        to.u32(self.signals);
        to.text(&self.options_schema);
        to.u32(u32::from(self.hears_syncs));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Bad> {
        let read = Self {
            id: from.text()?,
            version: from.text()?,
            vendor: from.text()?,
            description: from.text()?,
            formats: from.list(MAX_COUNT, |from| {
                Ok(Format { name: from.text()?, content_type: from.text()? })
            })?,
            caps: from.u64()?,
            signals: from.u32()?,
            options_schema: from.text()?,
            hears_syncs: from.u32()? != 0,
        };
        // What a helper says is no better than what a file does.
        check_id(&read.id).map_err(Bad)?;
        check_version(&read.version).map_err(Bad)?;
        check_formats(&read.formats).map_err(Bad)?;
        Ok(read)
    }

    fn read_all(from: &mut Reader<'_>) -> Result<Vec<Self>, Bad> {
        let all = from.list(MAX_COUNT, Self::read)?;
        let ids: Vec<&str> = all.iter().map(|one| one.id.as_str()).collect();
        check_ids(&ids).map_err(Bad)?;
        Ok(all)
    }
}

fn write_syncs(to: &mut Writer, syncs: &Syncs) {
    let Syncs { count, series, bytes, duration, store, strategy } = syncs;
    to.u32(*count);
    to.u64(*series);
    to.u64(*bytes);
    to.u64(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    to.text(store);
    to.text(strategy);
}

fn read_syncs(from: &mut Reader<'_>) -> Result<Syncs, Bad> {
    Ok(Syncs {
        count: from.u32()?,
        series: from.u64()?,
        bytes: from.u64()?,
        duration: Duration::from_nanos(from.u64()?),
        store: from.text()?.into(),
        strategy: from.text()?.into(),
    })
}

impl Export {
    fn write(&self, to: &mut Writer) {
        to.u64(self.call_id);
        to.u64(self.deadline_ns);
        to.u64(self.budget);
        to.text(&self.format);
        for word in [self.schema_id, self.time_unix_ns, self.series_count] {
            to.u64(word);
        }
        to.list(&self.columns, |to, column| {
            for word in [column.id, column.elem_size, column.region, column.flags] {
                to.u32(word);
            }
            to.u64(column.count);
            to.u64(column.offset);
        });
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Bad> {
        Ok(Self {
            call_id: from.u64()?,
            deadline_ns: from.u64()?,
            budget: from.u64()?,
            format: from.text()?,
            schema_id: from.u64()?,
            time_unix_ns: from.u64()?,
            series_count: from.u64()?,
            columns: from.list(MAX_COLUMNS, |from| {
                Ok(tallyport_column {
                    id: from.u32()?,
                    elem_size: from.u32()?,
                    region: from.u32()?,
                    flags: from.u32()?,
                    count: from.u64()?,
                    offset: from.u64()?,
                })
            })?,
        })
    }
}

impl ToHelper {
    pub(super) fn frame(&self) -> Frame {
        let mut to = Writer::default();
        let kind = match self {
            Self::Hello { host_pid, limits, log_level, slots } => {
                to.u32(*host_pid);
                for limit in [limits.address_space_bytes, limits.cpu_seconds, limits.open_files] {
                    to.option(limit, Writer::u64);
                }
                to.u32(*log_level);
                to.u32(slots.count);
                to.u32(slots.bytes);
                1
            }
            Self::Load { job, name } => {
                to.list(job, |to, word| to.bytes(word));
                to.text(name);
                2
            }
            Self::Create { exporter, options } => {
                to.text(exporter);
                to.text(options);
                3
            }
            Self::Schema { schema_id, bytes } => {
                to.u64(*schema_id);
                to.u64(*bytes);
                4
            }
            Self::Values { bytes } => {
                to.u64(*bytes);
                5
            }
            Self::Export(export) => {
                export.write(&mut to);
                6
            }
            Self::Credit { slot, status } => {
                to.u32(*slot);
                to.i32(*status);
                7
            }
            Self::Cancel { call_id } => {
                to.u64(*call_id);
                8
            }
            Self::Flush { call_id, deadline_ns } => {
                to.u64(*call_id);
                to.u64(*deadline_ns);
                9
            }
            Self::Shutdown { call_id, deadline_ns } => {
                to.u64(*call_id);
                to.u64(*deadline_ns);
                10
            }
            Self::Synced { call_id, deadline_ns, syncs } => {
                to.u64(*call_id);
                to.u64(*deadline_ns);
                write_syncs(&mut to, syncs);
                11
            }
        };
        to.frame(kind)
    }

    pub(super) fn read(frame: &Frame) -> Result<Self, Bad> {
        let mut from = Reader::new(&frame.payload);
        let message = match frame.kind {
            1 => Self::Hello {
                host_pid: from.u32()?,
                limits: HelperLimits {
                    address_space_bytes: from.option(Reader::u64)?,
                    cpu_seconds: from.option(Reader::u64)?,
                    open_files: from.option(Reader::u64)?,
                },
                log_level: from.u32()?,
                slots: Slots { count: from.u32()?, bytes: from.u32()? },
            },
            2 => Self::Load {
                job: from.list(MAX_WORDS, |from| Ok(from.bytes()?.to_vec()))?,
                name: from.text()?,
            },
            3 => Self::Create { exporter: from.text()?, options: from.text()?.as_str().into() },
            4 => Self::Schema { schema_id: from.u64()?, bytes: from.u64()? },
            5 => Self::Values { bytes: from.u64()? },
            6 => Self::Export(Export::read(&mut from)?),
            7 => Self::Credit { slot: from.u32()?, status: from.i32()? },
            8 => Self::Cancel { call_id: from.u64()? },
            9 => Self::Flush { call_id: from.u64()?, deadline_ns: from.u64()? },
            10 => Self::Shutdown { call_id: from.u64()?, deadline_ns: from.u64()? },
            11 => Self::Synced {
                call_id: from.u64()?,
                deadline_ns: from.u64()?,
                syncs: read_syncs(&mut from)?,
            },
            other => return Err(Bad(format!("no message to a helper has number {other}"))),
        };
        from.end()?;
        Ok(message)
    }
}

impl FromHelper {
    pub(super) fn frame(&self) -> Frame {
        let mut to = Writer::default();
        let kind = match self {
            Self::Ready => 101,
            Self::Loaded(tables) => {
                to.list(tables, |to, table| table.write(to));
                102
            }
            Self::Created => 103,
            Self::Failed(failure) => {
                failure.write(&mut to);
                104
            }
            Self::Log { level, lost, message } => {
                to.u32(*level);
                to.u32(*lost);
                to.text(message);
                105
            }
            Self::Chunk { call_id, slot, len } => {
                to.u64(*call_id);
                to.u32(*slot);
                to.u32(*len);
                106
            }
            Self::Done { call_id, failure } => {
                to.u64(*call_id);
                to.option(failure.as_ref(), |to, failure| failure.write(to));
                107
            }
        };
        to.frame(kind)
    }

    pub(super) fn read(frame: &Frame) -> Result<Self, Bad> {
        let mut from = Reader::new(&frame.payload);
        let message = match frame.kind {
            101 => Self::Ready,
            102 => Self::Loaded(Description::read_all(&mut from)?),
            103 => Self::Created,
            104 => Self::Failed(Failure::read(&mut from)?),
            105 => Self::Log { level: from.u32()?, lost: from.u32()?, message: from.text()? },
            106 => Self::Chunk { call_id: from.u64()?, slot: from.u32()?, len: from.u32()? },
            107 => Self::Done { call_id: from.u64()?, failure: from.option(Failure::read)? },
            other => return Err(Bad(format!("no message of a helper has number {other}"))),
        };
        from.end()?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn failure() -> Failure {
        let error = Error::new(ErrorKind::Limit, "too much").with_field("options.prefix");
        Failure::of(&error.with_os_error(Some(28)))
    }

    fn to_helper() -> Vec<ToHelper> {
        let column = tallyport_column {
            id: 32,
            elem_size: 8,
            region: 1,
            flags: 0,
            count: 1 << 40,
            offset: u64::MAX,
        };
        vec![
            ToHelper::Hello {
                host_pid: 77,
                limits: HelperLimits {
                    address_space_bytes: Some(1 << 33),
                    ..HelperLimits::default()
                },
                log_level: 3,
                slots: Slots { count: 8, bytes: 1 << 18 },
            },
            ToHelper::Load { job: vec![b"/x/\xff.so".to_vec(), vec![]], name: "näme".into() },
            ToHelper::Create { exporter: "json".into(), options: "{}".into() },
            ToHelper::Schema { schema_id: 9, bytes: 4096 },
            ToHelper::Values { bytes: 0 },
            ToHelper::Export(Export {
                call_id: 1,
                deadline_ns: 2,
                budget: 5,
                format: "json".into(),
                schema_id: 9,
                time_unix_ns: 3,
                series_count: 4,
                columns: vec![column; 10],
            }),
            ToHelper::Credit { slot: 7, status: -1 },
            ToHelper::Cancel { call_id: 1 },
            ToHelper::Flush { call_id: 2, deadline_ns: 0 },
            ToHelper::Shutdown { call_id: 3, deadline_ns: u64::MAX },
            ToHelper::Synced {
                call_id: 4,
                deadline_ns: 5,
                syncs: Syncs {
                    count: 2,
                    series: 3,
                    bytes: 4,
                    duration: Duration::from_nanos(5),
                    store: "redis".into(),
                    strategy: "distributed_atomic".into(),
                },
            },
        ]
    }

    fn from_helper() -> Vec<FromHelper> {
        let table = Description {
            id: "csv".into(),
            version: "1".into(),
            vendor: String::new(),
            description: "rows".into(),
            formats: vec![Format { name: "csv".into(), content_type: "text/csv".into() }],
            caps: 5,
            signals: 1,
            options_schema: "{}".into(),
            hears_syncs: true,
        };
        vec![
            FromHelper::Ready,
            FromHelper::Loaded(vec![table.clone(), Description { id: "json".into(), ..table }]),
            FromHelper::Created,
            FromHelper::Failed(failure()),
            FromHelper::Log { level: 2, lost: 1, message: "line".into() },
            FromHelper::Chunk { call_id: 1, slot: 2, len: 3 },
            FromHelper::Done { call_id: 1, failure: None },
            FromHelper::Done { call_id: 1, failure: Some(failure()) },
        ]
    }

    #[test]
    fn exporters_that_no_file_could_have_are_refused() {
        let whole = |change: fn(&mut Vec<Description>)| {
            let loaded = from_helper().into_iter().find_map(|message| match message {
                FromHelper::Loaded(tables) => Some(tables),
                _ => None,
            });
            let mut tables = loaded.unwrap();
            change(&mut tables);
            FromHelper::read(&FromHelper::Loaded(tables).frame()).map_err(|bad| bad.0)
        };
        assert!(whole(|_| {}).is_ok());
        let format = || Format { name: "csv".into(), content_type: String::new() };
        for (change, what) in [
            ((|all| all.clear()) as fn(&mut Vec<Description>), "0 exporters"),
            (|all| all[1].id = "csv".into(), "called `csv`"),
            (|all| all[0].id = String::new(), "its id \"\""),
            (|all| all[0].id = "a b".into(), "its id \"a b\""),
            (|all| all[0].version.clear(), "no version"),
            (|all| all[0].formats.clear(), "0 formats"),
            (|all| all[0].formats[0].name.clear(), "empty or there twice"),
        ] {
            let bad = whole(change).unwrap_err();
            assert!(bad.contains(what), "{bad}");
        }
        let mut twice = from_helper();
        if let FromHelper::Loaded(tables) = &mut twice[1] {
            tables[0].formats.push(format());
        }
        assert!(FromHelper::read(&twice[1].frame()).is_err());
    }

    #[test]
    fn every_message_is_read_back_as_it_was() {
        for message in to_helper() {
            assert_eq!(ToHelper::read(&message.frame()), Ok(message));
        }
        for message in from_helper() {
            assert_eq!(FromHelper::read(&message.frame()), Ok(message));
        }
        let error = failure().into_error();
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert_eq!((error.field(), error.os_error()), (Some("options.prefix"), Some(28)));
    }

    #[test]
    fn a_message_that_is_cut_or_has_more_is_refused() {
        let frames = to_helper().into_iter().map(|message| message.frame());
        for frame in frames.chain(from_helper().into_iter().map(|message| message.frame())) {
            let refused =
                |frame: &Frame| ToHelper::read(frame).is_err() && FromHelper::read(frame).is_err();
            for len in 0..frame.payload.len() {
                let mut cut = frame.clone();
                cut.payload.truncate(len);
                assert!(refused(&cut), "message {} cut at {len}", frame.kind);
            }
            let mut longer = frame.clone();
            longer.payload.push(0);
            assert!(refused(&longer), "message {} with a byte more", frame.kind);
            assert!(refused(&Frame { kind: frame.kind + 1000, ..frame }));
        }
    }

    proptest! {
        #[test]
        fn garbage_and_damaged_messages_make_no_panic(
            kind in prop_oneof![0_u16..12, 99_u16..110, any::<u16>()],
            payload in prop::collection::vec(any::<u8>(), 0..256),
            which in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let frame = Frame { kind, payload };
            let _ = ToHelper::read(&frame);
            let _ = FromHelper::read(&frame);
            let frames: Vec<Frame> = to_helper().iter().map(ToHelper::frame)
                .chain(from_helper().iter().map(FromHelper::frame)).collect();
            let mut damaged = which.get(&frames).clone();
            if !damaged.payload.is_empty() {
                let at = at.index(damaged.payload.len());
                damaged.payload[at] = byte;
            }
            let _ = ToHelper::read(&damaged);
            let _ = FromHelper::read(&damaged);
        }
    }
}
