//! Writing what was recorded: Prometheus text at 100,000 and 1,000,000 series, JSON and CSV.
//!
//! Peers write into a buffer that they filled before, so none pays for fresh pages; ours streams
//! into a sink that looks at each chunk. A peer's time includes gathering its values; ours is told
//! with and without the snapshot. Each table notes the bytes that one series takes in it.

use std::{
    hint::black_box,
    io::{self, Write},
    sync::{Arc, Mutex},
};

use serde::Serialize;
use tallyport_core::engine::config::PluginConfig;

use super::Task;
use crate::{
    artifacts,
    dataset::{self, LABELS, NAME},
    measure::{Contender, compare},
    peers::{
        self, Family, client_rust, fastmetrics, measured, metrics_rs, opentelemetry,
        tallyport::{Ours, export},
        tikv,
    },
    raw::prometheus_cpp::{PrometheusCpp, Texts},
    report::{Role, Row, Section},
    targets::{OURS, PRERENDERED},
};

/// Chunks that limits write in, as our sinks do.
const CHUNK: usize = 64 * 1024;

/// Our contenders of a format: encode alone, first encode of a schema, snapshot and encode.
fn ours(format: &'static str, count: usize) -> Result<(Vec<Contender>, u64), String> {
    let family = Ours::new()?;
    peers::fill(&family, count);
    let engine = family.0;
    // The engine's own series come with a first export; from then on the schema stays.
    engine.export(format, &mut |_| Ok(())).map_err(|e| e.to_string())?;
    let snapshot = engine.snapshot().map_err(|e| e.to_string())?;
    let bytes = export(&engine, &snapshot, format)?;
    let run = {
        let (engine, snapshot) = (engine.clone(), snapshot.clone());
        move |_, times| {
            for _ in 0..times {
                assert!(export(&engine, &snapshot, format).is_ok());
            }
        }
    };
    // A new exporter has rendered nothing yet.
    let anew = engine.clone();
    let prepare = move || {
        let plugin = PluginConfig::default();
        assert!(anew.replace_plugin(format, &plugin).is_ok());
    };
    let scrape = move |_, times| {
        for _ in 0..times {
            let done = engine.export(format, &mut |chunk| {
                black_box(chunk);
                Ok(())
            });
            assert!(done.is_ok());
        }
    };
    let contenders = vec![
        Contender::new(Role::Ours, OURS, run.clone()).per(count),
        Contender::new(Role::Ours, "Tallyport, snapshot + encode", scrape).per(count),
        Contender::new(Role::Ours, "Tallyport, first of a schema", run).per(count).prepare(prepare),
    ];
    Ok((contenders, bytes))
}

/// A peer that writes Prometheus text.
fn peer<F: Family + Send + 'static>(name: &str, count: usize, family: F) -> (Contender, u64) {
    peers::fill(&family, count);
    let mut out = Vec::new();
    family.encode(&mut out);
    let bytes = out.len() as u64;
    let lines = out.iter().filter(|&&byte| byte == b'\n').count();
    assert!(lines >= count, "{name}: {lines} lines");
    let out = Mutex::new(out);
    let contender = Contender::new(Role::Peer, name, move |_, times| {
        let mut out = out.lock().expect("one thread");
        for _ in 0..times {
            out.clear();
            family.encode(&mut out);
            black_box(&out[..]);
        }
    });
    (contender.per(count), bytes)
}

fn prometheus_cpp(count: usize) -> Result<(Contender, u64), String> {
    let cpp = PrometheusCpp::open(&artifacts::prometheus_cpp()?)?;
    let sets: Vec<Texts> = (0..count).map(|n| Texts::new(dataset::set(n))).collect();
    let order: Vec<u32> = (0..count as u32).collect();
    for _ in 0..3 {
        cpp.lookup_many(&sets, &order, count as u64);
    }
    let bytes = cpp.encode().len() as u64;
    let contender = Contender::new(Role::Peer, "prometheus-cpp", move |_, times| {
        for _ in 0..times {
            black_box(cpp.encode());
        }
    });
    Ok((contender.per(count), bytes))
}

/// Everything but the values, rendered beforehand; and the finished text.
struct Prerendered {
    heads: Vec<u8>,
    ends: Vec<usize>,
    values: Vec<u64>,
    text: Vec<u8>,
}

impl Prerendered {
    fn new(count: usize) -> Self {
        let mut made = Self { heads: vec![], ends: vec![], values: vec![], text: vec![] };
        for index in 0..count {
            let set = dataset::set(index);
            let pairs = LABELS.iter().zip(set).map(|(name, value)| format!("{name}=\"{value}\""));
            let head = format!("{NAME}{{{}}} ", pairs.collect::<Vec<_>>().join(","));
            made.heads.extend_from_slice(head.as_bytes());
            made.ends.push(made.heads.len());
            made.values.push(dataset::value(index));
            made.text.extend_from_slice(format!("{head}{}\n", dataset::value(index)).as_bytes());
        }
        made
    }

    fn write(&self) {
        let mut chunk = Vec::with_capacity(2 * CHUNK);
        let mut digits = itoa::Buffer::new();
        let mut start = 0;
        for (&end, &value) in self.ends.iter().zip(&self.values) {
            chunk.extend_from_slice(&self.heads[start..end]);
            chunk.extend_from_slice(digits.format(value).as_bytes());
            chunk.push(b'\n');
            start = end;
            if chunk.len() >= CHUNK {
                black_box(&chunk[..]);
                chunk.clear();
            }
        }
        black_box(&chunk[..]);
    }

    fn copy(&self) {
        let mut chunk = vec![0; CHUNK];
        for part in self.text.chunks(CHUNK) {
            chunk[..part.len()].copy_from_slice(part);
            black_box(&chunk[..]);
        }
    }
}

fn limits(count: usize) -> [(Contender, u64); 2] {
    let made = Arc::new(Prerendered::new(count));
    let bytes = made.text.len() as u64;
    let again = Arc::clone(&made);
    let format = Contender::new(Role::Limit, PRERENDERED, move |_, times| {
        (0..times).for_each(|_| made.write());
    });
    let copy = Contender::new(Role::Limit, "limit: memcpy of the text", move |_, times| {
        (0..times).for_each(|_| again.copy());
    });
    [(format.per(count), bytes), (copy.per(count), bytes)]
}

fn text(task: Task, count: usize) -> Result<Section, String> {
    let (mut contenders, bytes) = ours("prometheus", count)?;
    let mut sizes = vec![bytes; contenders.len()];
    let mut notes = vec![format!("ours writes {} B a line", per(bytes, count))];
    let mut add = |(contender, bytes): (Contender, u64), slow: bool| {
        contenders.push(if slow { contender.slow() } else { contender });
        sizes.push(bytes);
    };
    let slow = count > 500_000;
    add(peer("measured, fixed sets", count, measured::Fixed::default()), false);
    add(peer("measured, dynamic sets", count, measured::Dynamic::default()), false);
    add(peer("prometheus-client", count, client_rust::ClientRust::default()), slow);
    add(peer("fastmetrics", count, fastmetrics::FastMetrics::default()), slow);
    add(peer("prometheus (tikv)", count, tikv::Tikv::default()), slow);
    add(peer("metrics + prometheus recorder", count, metrics_rs::MetricsRs::default()), slow);
    add(peer("opentelemetry_sdk", count, opentelemetry::OpenTelemetry::default()), slow);
    match prometheus_cpp(count) {
        Ok(cpp) => add(cpp, slow),
        Err(error) => notes.push(format!("without prometheus-cpp: {error}")),
    }
    for limit in limits(count) {
        add(limit, false);
    }
    let rows = sized(compare(&contenders, 1, task.plan.slow()), &sizes, count);
    let title = format!("Prometheus text, {count} series");
    let mut section = Section::new("encode", title, "ns per series", rows);
    section.notes = notes;
    Ok(section)
}

fn per(bytes: u64, count: usize) -> String {
    format!("{:.1}", bytes as f64 / count as f64)
}

fn sized(mut rows: Vec<Row>, bytes: &[u64], count: usize) -> Vec<Row> {
    for (row, &bytes) in rows.iter_mut().zip(bytes) {
        row.bytes_per_part = Some(bytes as f64 / count as f64);
    }
    rows
}

/// A metric as our JSON has it, for serde_json.
#[derive(Serialize)]
struct Record {
    name: &'static str,
    r#type: &'static str,
    help: &'static str,
    labels: RecordLabels,
    value: u64,
}

#[derive(Serialize)]
struct RecordLabels {
    instance: &'static str,
    route: &'static str,
    code: &'static str,
}

/// A writer that looks at what it gets.
struct Looking;

impl Write for Looking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(black_box(bytes).len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn json_peer(count: usize) -> (Contender, u64) {
    let record = |index| {
        let [instance, route, code] = dataset::set(index);
        let labels = RecordLabels { instance, route, code };
        let value = dataset::value(index);
        Record { name: NAME, r#type: "counter", help: "", labels, value }
    };
    let records: Vec<Record> = (0..count).map(record).collect();
    let bytes = serde_json::to_vec(&records).map_or(0, |text| text.len() as u64);
    let contender = Contender::new(Role::Peer, "serde_json", move |_, times| {
        for _ in 0..times {
            let out = io::BufWriter::with_capacity(CHUNK, Looking);
            assert!(serde_json::to_writer(out, &records).is_ok());
        }
    });
    (contender.per(count), bytes)
}

fn csv_peer(count: usize) -> (Contender, u64) {
    let row = |index| {
        let set = dataset::set(index);
        let pairs = LABELS.iter().zip(set).map(|(name, value)| format!("\"{name}\":\"{value}\""));
        let labels = format!("{{{}}}", pairs.collect::<Vec<_>>().join(","));
        (labels, dataset::value(index))
    };
    let rows: Vec<(String, u64)> = (0..count).map(row).collect();
    let write = |rows: &[(String, u64)], out: &mut dyn Write| {
        let mut csv = csv::WriterBuilder::new().buffer_capacity(CHUNK).from_writer(out);
        let mut digits = itoa::Buffer::new();
        for (labels, value) in rows {
            let value = digits.format(*value);
            let done = csv.write_record([
                "2026-01-01T00:00:00.000Z",
                NAME,
                "counter",
                value,
                labels.as_str(),
            ]);
            assert!(done.is_ok());
        }
    };
    let mut all = Vec::new();
    write(&rows, &mut all);
    let bytes = all.len() as u64;
    let contender = Contender::new(Role::Peer, "csv", move |_, times| {
        (0..times).for_each(|_| write(&rows, &mut Looking));
    });
    (contender.per(count), bytes)
}

fn structured(
    task: Task,
    title: &str,
    format: &'static str,
    peer: (Contender, u64),
    count: usize,
) -> Result<Section, String> {
    let (mut contenders, bytes) = ours(format, count)?;
    let mut sizes = vec![bytes; contenders.len()];
    contenders.push(peer.0);
    sizes.push(peer.1);
    let rows = sized(compare(&contenders, 1, task.plan.slow()), &sizes, count);
    let title = format!("{title}, {count} series");
    let note = format!("{} B a series, the peer's {}", per(bytes, count), per(peer.1, count));
    Ok(Section::new("encode", title, "ns per series", rows).note(note))
}

/// Measures the group.
///
/// # Errors
/// What the engine says.
pub fn run(task: Task) -> Result<Vec<Section>, String> {
    let few = 100_000;
    let mut sections = vec![text(task, few)?];
    if !task.quick {
        sections.push(text(task, 1_000_000)?);
    }
    sections.push(structured(task, "JSON", "json", json_peer(few), few)?);
    sections.push(structured(task, "CSV", "csv", csv_peer(few), few)?);
    Ok(sections)
}
