//! A helper's conversation with its host: `main` of `tallyport-plugin-host serve`.
//!
//! All calls into the plugin, `create` among them, are made on the main thread, one after another.

use std::{
    cell::RefCell,
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
    sync::Arc,
    thread,
};

use crossbeam::channel::{Receiver, bounded};

use super::{
    channel::{NotSent, Received, split},
    confine::{apply, begin_call, end_with_the_host, end_without_socket, take_control_socket},
    ears::{Current, Ears, Order, watch},
    map,
    messages::{Description, Export, Failure, FromHelper, ToHelper},
    outbox::Outbox,
    voice::{Lines, Voice},
};
use crate::{
    model::{Error, ErrorKind},
    plugin::{
        HelperLimits, ProbeJob, Table,
        exporter::Exporter,
        host::{Context, Control},
        run::{self, Source as _},
    },
    snapshot::{Block, Snapshot},
};

/// Orders that may wait: the longest row is `Schema`, `Values`, `Export`.
const MAX_ORDERS: usize = 16;

/// What a helper may not be told more of.
const MAX_SLOTS: u32 = 1024;

/// Serves the host that started this process, until it says goodbye or is gone.
///
/// The one thing that a helper's `main` does; it has opened nothing before. Returns the exit code: 0
/// after a goodbye, 2 when people started it.
///
/// # Errors
/// A sentence for standard error.
pub fn serve() -> Result<(), String> {
    let socket = take_control_socket()?;
    let (sender, mut receiver) = split(socket, None, true);
    let hello = match receiver.receive(None) {
        Received::Message(frame, memory) => (ToHelper::read(&frame), memory),
        Received::Closed => end_with_the_host(),
        other => return Err(format!("received no greeting: {other:?}")),
    };
    let (Ok(ToHelper::Hello { host_pid, limits, log_level, slots }), Some(memory)) = hello else {
        return Err(format!("received no greeting: {hello:?}"));
    };
    let voice = Voice::new(sender);
    let ready = apply(&limits).and_then(|()| {
        let too_many = || Error::new(ErrorKind::Damaged, "too many slots of output");
        (1..=MAX_SLOTS).contains(&slots.count).then_some(()).ok_or_else(too_many)?;
        map::Output::new(&memory, slots).map_err(|error| Error::io("map the output", &error))
    });
    drop(memory);
    let memory = match ready {
        Ok(memory) => memory,
        Err(error) => {
            let _ = voice.answer(&FromHelper::Failed(Failure::of(&error)));
            return Ok(());
        }
    };
    receiver.watch(watch(host_pid));
    Lines::install(&voice, i32::try_from(log_level).unwrap_or(i32::MAX));
    let (orders, todo) = bounded(MAX_ORDERS);
    let (credits, returned) = bounded(slots.count as usize);
    let current = Arc::new(Current::default());
    let ears = Ears {
        receiver,
        voice: Arc::clone(&voice),
        current: Arc::clone(&current),
        orders,
        credits,
    };
    let thread = thread::Builder::new().name("tallyport-ears".into());
    thread.spawn(move || ears.listen()).map_err(|error| format!("start a thread: {error}"))?;
    let outbox = Outbox::new(Arc::clone(&voice), memory, returned);
    let server = Server {
        voice,
        current,
        limits,
        outbox: RefCell::new(outbox),
        name: String::new(),
        tables: Vec::new(),
        exporter: None,
        schema: None,
        values: None,
    };
    server.run(&todo)
}

struct Server {
    voice: Arc<Voice>,
    current: Arc<Current>,
    limits: HelperLimits,
    outbox: RefCell<Outbox>,
    name: String,
    tables: Vec<Arc<Table>>,
    exporter: Option<Arc<Exporter>>,
    /// The schema columns that the host sent last, and their identity.
    schema: Option<(u64, Arc<map::Columns>)>,
    values: Option<Arc<map::Columns>>,
}

/// What follows an order.
enum Then {
    Answer(FromHelper),
    Silence,
    End(u64),
}

impl Server {
    fn run(mut self, todo: &Receiver<Order>) -> Result<(), String> {
        self.say(&FromHelper::Ready);
        loop {
            // The thread that sends never ends before the process does.
            let Ok((order, memory)) = todo.recv() else { return Ok(()) };
            self.voice.begin_call();
            begin_call(&self.limits);
            let then = self
                .obey(order, memory)
                .unwrap_or_else(|error| Then::Answer(FromHelper::Failed(Failure::of(&error))));
            match then {
                Then::Answer(answer) => self.say(&answer),
                Then::Silence => {}
                Then::End(call_id) => {
                    self.say(&FromHelper::Done { call_id, failure: None });
                    return Ok(());
                }
            }
        }
    }

    fn say(&self, message: &FromHelper) {
        match self.voice.answer(message) {
            Ok(()) => {}
            Err(NotSent::Closed) => end_with_the_host(),
            Err(_) => end_without_socket(),
        }
    }

    fn obey(&mut self, order: ToHelper, memory: Option<OwnedFd>) -> Result<Then, Error> {
        match order {
            ToHelper::Load { job, name } => {
                let job = ProbeJob::from_args(job.into_iter().map(OsString::from_vec));
                let job = job.ok_or_else(|| Error::new(ErrorKind::Damaged, "no file to load"))?;
                self.load(job, name)
            }
            ToHelper::Create { exporter, options } => self.create(&exporter, &options),
            ToHelper::Schema { schema_id, bytes } => {
                // The last one goes first: both at once may be more than the address space has.
                self.schema = None;
                self.schema = Some((schema_id, columns(memory, bytes)?));
                Ok(Then::Silence)
            }
            ToHelper::Values { bytes } => {
                self.values = None;
                self.values = Some(columns(memory, bytes)?);
                Ok(Then::Silence)
            }
            ToHelper::Export(export) => self.export(&export),
            ToHelper::Flush { call_id, deadline_ns } => {
                let exporter = self.exporter()?;
                let control = Arc::new(Control::with_deadline(deadline_ns));
                self.current.begin(call_id, &control, &exporter);
                let done = exporter.flush(&control);
                self.current.end();
                Ok(Then::Answer(done_message(call_id, done.map(|()| 0))))
            }
            ToHelper::Synced { call_id, deadline_ns, syncs } => {
                let exporter = self.exporter()?;
                let control = Arc::new(Control::with_deadline(deadline_ns));
                self.current.begin(call_id, &control, &exporter);
                // Calls are made one after the other here: it is never busy.
                let done = exporter.synced(&syncs, &control);
                self.current.end();
                Ok(Then::Answer(done_message(call_id, done.map(|_| 0))))
            }
            ToHelper::Shutdown { call_id, deadline_ns } => {
                if let Some(exporter) = self.exporter.take() {
                    exporter.stop_by(deadline_ns);
                }
                Ok(Then::End(call_id))
            }
            // The second thread keeps these; a greeting comes once.
            ToHelper::Hello { .. } | ToHelper::Credit { .. } | ToHelper::Cancel { .. } => {
                Err(Error::new(ErrorKind::Damaged, "a message out of turn"))
            }
        }
    }

    fn load(&mut self, job: ProbeJob, name: String) -> Result<Then, Error> {
        self.name = name;
        self.tables = job.load()?.tables;
        let tables = self.tables.iter().map(|table| describe(table)).collect();
        Ok(Then::Answer(FromHelper::Loaded(tables)))
    }

    fn create(&mut self, id: &str, options: &str) -> Result<Then, Error> {
        let Some(table) = self.tables.iter().find(|table| table.id == id) else {
            return Err(Error::new(ErrorKind::NotFound, format!("no exporter `{id}` is loaded")));
        };
        let context = Context::to_current_log(&self.name);
        let exporter = Exporter::create(Arc::clone(table), context, options);
        self.exporter = Some(Arc::new(exporter.map_err(|failed| failed.error)?));
        Ok(Then::Answer(FromHelper::Created))
    }

    fn exporter(&self) -> Result<Arc<Exporter>, Error> {
        self.exporter
            .clone()
            .ok_or_else(|| Error::new(ErrorKind::Closed, "no exporter was created here"))
    }

    fn export(&mut self, export: &Export) -> Result<Then, Error> {
        let exporter = self.exporter()?;
        let snapshot = self.snapshot(export)?;
        let control = Arc::new(Control::with_deadline(export.deadline_ns));
        self.current.begin(export.call_id, &control, &exporter);
        self.outbox.borrow_mut().begin(export.call_id);
        let wanted = run::Export { snapshot: &snapshot, format: &export.format };
        let done = exporter.export_and_settle(
            &wanted,
            &mut |bytes| self.outbox.borrow_mut().write(bytes),
            &mut || self.outbox.borrow_mut().settle(),
            export.budget,
            &control,
        );
        self.current.end();
        Ok(Then::Answer(done_message(export.call_id, done)))
    }

    /// The snapshot that an export is of, over the memory that came before it.
    fn snapshot(&self, export: &Export) -> Result<Snapshot, Error> {
        let bad = |what: String| Error::new(ErrorKind::Damaged, what);
        let schema = self.schema.as_ref().filter(|(id, _)| *id == export.schema_id);
        let (Some((_, schema)), Some(values)) = (schema, &self.values) else {
            return Err(bad(format!("the columns of schema {} did not come", export.schema_id)));
        };
        let blocks: Vec<Arc<dyn Block>> =
            vec![Arc::clone(schema) as Arc<dyn Block>, Arc::clone(values) as Arc<dyn Block>];
        for column in &export.columns {
            let len = column.count.checked_mul(u64::from(column.elem_size));
            let end = len.and_then(|len| column.offset.checked_add(len));
            let room = blocks.get(column.region as usize).map(|block| block.bytes().len() as u64);
            if end.zip(room).is_none_or(|(end, room)| end > room) {
                return Err(bad(format!("column {} is out of range", column.id)));
            }
        }
        Ok(Snapshot {
            schema_id: export.schema_id,
            time_unix_ns: export.time_unix_ns,
            series_count: export.series_count,
            blocks,
            columns: export.columns.clone(),
            modes: Arc::default(),
        })
    }
}

fn done_message(call_id: u64, done: Result<u64, run::Failed>) -> FromHelper {
    FromHelper::Done { call_id, failure: done.err().map(|failed| Failure::of(&failed.error)) }
}

fn columns(memory: Option<OwnedFd>, bytes: u64) -> Result<Arc<map::Columns>, Error> {
    let mapped = match memory {
        Some(memory) => map::Columns::new(&memory, bytes),
        None => Err(io::Error::other("no memory came along")),
    };
    mapped.map(Arc::new).map_err(|error| {
        Error::io(format_args!("map {bytes} bytes of columns in the helper process"), &error)
    })
}

fn describe(table: &Table) -> Description {
    Description {
        id: table.id.clone(),
        version: table.version.clone(),
        vendor: table.vendor.clone(),
        description: table.description.clone(),
        formats: table.formats.clone(),
        caps: table.caps,
        signals: table.signals,
        options_schema: table.options_schema.as_ref().map(ToString::to_string).unwrap_or_default(),
        hears_syncs: table.hears_syncs(),
    }
}
