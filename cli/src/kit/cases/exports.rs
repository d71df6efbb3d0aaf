//! One export: of every kind of data, in every layout, again and again.

use tallyport_plugin_api::testing::Frozen;

use crate::{
    data,
    sys::{
        call::CallShape,
        desk::Sink,
        instance::{Ask, Instance},
        snapshot::{Layout, Lent},
    },
    trial::{Done, Stop, Trial, broken, expect_no_panic, expect_same, lend},
};

pub(super) fn export(trial: &mut Trial<'_>) -> Done {
    trial.needs_metrics()?;
    let instance = trial.create()?;
    let snapshot = lend(&data::standard())?;
    let mut wrote = false;
    for format in &trial.exporter.table.formats {
        let bytes = trial.export(&instance, &format.name, &snapshot)?;
        wrote |= !bytes.is_empty();
        expect_utf8(&format.name, &format.content_type, &bytes)?;
    }
    if trial.needs_output().is_ok() && !wrote {
        return Stop::fail("it declares WRITES_SINK, and wrote nothing in any format");
    }
    if trial.needs_output().is_err() && wrote {
        return Stop::fail("it wrote to the sink, and does not declare WRITES_SINK");
    }
    trial.shutdown(&instance)
}

/// Text and JSON are UTF-8, unless the media type names another charset.
fn expect_utf8(format: &str, content_type: &str, bytes: &[u8]) -> Done {
    let lower = content_type.to_ascii_lowercase();
    let text = lower.starts_with("text/") || lower.contains("json") || lower.contains("xml");
    let other = lower.contains("charset=") && !lower.contains("utf-8");
    match std::str::from_utf8(bytes) {
        Err(error) if text && !other => {
            let at = error.valid_up_to();
            Stop::fail(format!("`{format}` is `{content_type}`, and not UTF-8 at byte {at}"))
        }
        _ => Ok(()),
    }
}

/// Exports data in every format; a failure is named with what the data is.
fn every_format(trial: &Trial<'_>, frozen: &Frozen, what: &str) -> Done {
    every_format_up_to(trial, frozen, what, 0)
}

/// As [`every_format`], of up to so many bytes.
fn every_format_up_to(trial: &Trial<'_>, frozen: &Frozen, what: &str, most: usize) -> Done {
    trial.needs_metrics()?;
    let instance = trial.create()?;
    let snapshot = lend(frozen)?;
    for format in &trial.exporter.table.formats {
        let sink = Sink { most, ..Sink::default() };
        let ask = Ask { sink, ..Ask::default() };
        let done = trial.ask(&instance, &format.name, &snapshot, ask)?;
        if !done.answer.ok() {
            let text = format!("{what}: `{}` answered {}", format.name, done.answer);
            return Stop::fail(text);
        }
        expect_utf8(&format.name, &format.content_type, &done.sink.bytes)?;
    }
    Ok(())
}

pub(super) fn empty(trial: &mut Trial<'_>) -> Done {
    every_format(trial, &data::empty(), "without families")?;
    every_format(trial, &data::hollow(), "with families without series")
}

pub(super) fn numbers(trial: &mut Trial<'_>) -> Done {
    every_format(trial, &data::numbers(), "with odd numbers")
}

pub(super) fn hostile(trial: &mut Trial<'_>) -> Done {
    every_format(trial, &data::hostile(), "with hostile text")
}

pub(super) fn many(trial: &mut Trial<'_>) -> Done {
    const BYTES_PER_SERIES: usize = 1024;
    let what = format!("with {} series", trial.series);
    let most = trial.series as usize * BYTES_PER_SERIES;
    every_format_up_to(trial, &data::many(trial.series), &what, most)
}

pub(super) fn unknown(trial: &mut Trial<'_>) -> Done {
    every_format(trial, &data::unknown(), "with kinds and number types of a later version")?;
    // Flags and columns of tomorrow mean nothing today, so they change nothing.
    let frozen = data::standard();
    for format in trial.formats() {
        let instance = trial.create()?;
        let plain = trial.export(&instance, format, &lend(&frozen)?)?;
        let layout = Layout { unknown: true, ..Layout::default() };
        let marked = Lent::new(&frozen, layout).map_err(broken)?;
        let call = CallShape { flags: 1 << 31, ..CallShape::default() };
        let done = trial.ask(&instance, format, &marked, Ask { call, ..Ask::default() })?;
        if !done.answer.ok() {
            let text =
                format!("with unknown flags and columns, `{format}` answered {}", done.answer);
            return Stop::fail(text);
        }
        let what = "an export with unknown flags and columns, and one without,";
        expect_same(&done.sink.bytes, &plain, what)?;
    }
    Ok(())
}

pub(super) fn layouts(trial: &mut Trial<'_>) -> Done {
    trial.needs_metrics()?;
    for frozen in [data::standard(), data::numbers(), data::hollow(), data::empty()] {
        for format in trial.formats() {
            let plain = trial.reference(format, &frozen)?;
            let instance = trial.create()?;
            for round in 0..4 {
                let shuffled = if round == 0 { 0 } else { trial.rng.next() | 1 };
                let layout = Layout { apart: true, shuffled, ..Layout::default() };
                let lent = Lent::new(&frozen, layout).map_err(broken)?;
                let bytes = trial.export(&instance, format, &lent)?;
                expect_same(&bytes, &plain, "exports of one snapshot in two layouts")?;
            }
        }
    }
    Ok(())
}

pub(super) fn deterministic(trial: &mut Trial<'_>) -> Done {
    trial.needs_output()?;
    let frozen = data::standard();
    for format in trial.formats() {
        let instance = trial.create()?;
        let first = trial.export(&instance, format, &lend(&frozen)?)?;
        let again = trial.export(&instance, format, &lend(&frozen)?)?;
        expect_same(&first, &again, &format!("two exports of one snapshot in `{format}`"))?;
        let other = trial.reference(format, &frozen)?;
        expect_same(&first, &other, &format!("exports by two exporters in `{format}`"))?;
    }
    Ok(())
}

pub(super) fn schema_id(trial: &mut Trial<'_>) -> Done {
    trial.needs_output()?;
    // One schema with other values, then other schemas and back: as a host does over time.
    let (first, later) = {
        let fixture = data::fixture();
        let mut changed = fixture.clone();
        changed.set(0, tallyport_plugin_api::Value::U64(2054));
        (fixture.freeze(), changed.freeze())
    };
    let (numbers, empty) = (data::numbers(), data::empty());
    for format in trial.formats() {
        let instance = trial.create()?;
        for (frozen, what) in [
            (&first, "the first snapshot"),
            (&later, "later values of the same schema"),
            (&numbers, "another schema"),
            (&empty, "an empty schema"),
            (&first, "the first schema again"),
        ] {
            let expected = trial.reference(format, frozen)?;
            let bytes = one(trial, &instance, format, frozen)?;
            let what = format!("{what}: an exporter that has seen others and a new one");
            expect_same(&bytes, &expected, &what)?;
        }
    }
    Ok(())
}

fn one(
    trial: &Trial<'_>,
    instance: &Instance<'_>,
    format: &str,
    frozen: &Frozen,
) -> Result<Vec<u8>, Stop> {
    let done = trial.ask(instance, format, &lend(frozen)?, Ask::default())?;
    expect_no_panic(&done.answer, "an export")?;
    if !done.answer.ok() {
        return Stop::fail(format!("an export in `{format}` answered {}", done.answer));
    }
    Ok(done.sink.bytes)
}
