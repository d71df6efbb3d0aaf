//! From a snapshot's columns to a publisher's series.

use tallyport_plugin_api::{self as api, Family, Series};

use super::Publisher;
use crate::{
    model::{Error, GaugeMode, Kind, Number, Value},
    snapshot::{GaugeModes, Snapshot},
    store::{Distribution, Text, Total, family_bytes, label_bytes},
};

/// Which series each row of a snapshot is, kept as long as the schema is the same.
#[derive(Debug, Default)]
pub(super) struct Columns {
    schema_id: Option<u64>,
    numbering: u64,
    rows: Vec<u32>,
}

impl Columns {
    /// Shows a publisher every cell, and which series are gone.
    pub(super) fn show(
        &mut self,
        snapshot: &Snapshot,
        modes: &GaugeModes,
        publisher: &mut Publisher,
    ) -> Result<(), Error> {
        snapshot.read(|view| {
            let same =
                self.schema_id == Some(view.schema_id()) && self.numbering == publisher.numbering();
            if !same {
                self.number(view, Modes { declared: &snapshot.modes, named: modes }, publisher);
            }
            let mut rows = self.rows.iter();
            for family in view.families() {
                for (series, number) in family.series().zip(&mut rows) {
                    let cells = cells(&family, &series, view.time_unix_ns());
                    publisher.observe(*number, series.created_ns(), cells);
                }
            }
            publisher.looked(view.time_unix_ns());
            Ok(())
        })
    }

    fn number(&mut self, view: &api::Snapshot<'_>, modes: Modes<'_>, publisher: &mut Publisher) {
        self.rows.clear();
        let mut present = vec![false; publisher.series()];
        for family in view.families() {
            let mode = mode_of(&family, modes);
            let parts = (family.kind(), family.number(), mode);
            let prefix = family_bytes(family.name(), parts, family.bounds());
            let zero = Total::zero(family.kind(), family.number(), family.bounds().len());
            let (mut help, mut unit) = (family.help(), family.unit());
            for series in family.series() {
                let mut key = prefix.clone();
                label_bytes(&mut key, series.labels());
                let text = Text {
                    key,
                    created_ns: series.created_ns(),
                    help: help.to_owned(),
                    unit: unit.to_owned(),
                };
                (help, unit) = ("", "");
                let number = publisher.series_number(&text, &zero);
                if let Some(present) = present.get_mut(number as usize) {
                    *present = true;
                }
                self.rows.push(number);
            }
        }
        let gone = present.iter().enumerate().filter(|(_, present)| !**present);
        gone.for_each(|(number, _)| publisher.vanish(number as u32));
        self.schema_id = Some(view.schema_id());
        self.numbering = publisher.numbering();
    }
}

/// Where the modes of gauges are said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Modes<'a> {
    /// With the families. They come first.
    pub(super) declared: &'a GaugeModes,
    /// In the settings of a session.
    pub(super) named: &'a GaugeModes,
}

/// The mode of a family: gauges have one, others do not.
pub(super) fn mode_of(family: &Family<'_>, modes: Modes<'_>) -> GaugeMode {
    let Modes { declared, named } = modes;
    let said = |name| declared.get(name).or_else(|| named.get(name));
    match family.kind() {
        Kind::Gauge => said(family.name()).copied().unwrap_or_default(),
        _ => GaugeMode::Undeclared,
    }
}

fn cells(family: &Family<'_>, series: &Series<'_>, now_ns: u64) -> Total {
    if let Some(histogram) = series.histogram() {
        let buckets = histogram.buckets.iter().map(|count| u128::from(*count)).collect();
        return Total::Histogram(Box::new(Distribution { sum: histogram.sum.into(), buckets }));
    }
    match (family.kind(), family.number(), series.value()) {
        (Kind::Gauge, _, Value::F64(value)) => Total::Gauge { value, at_ns: now_ns },
        (Kind::UpDownCounter, _, Value::I64(level)) => Total::Level(level.into()),
        (Kind::UpDownCounter, _, Value::F64(level)) => Total::LevelF64(level),
        (Kind::Counter, _, Value::U64(count)) => Total::Count(count.into()),
        (Kind::Counter, _, Value::F64(sum)) => Total::Sum(sum.into()),
        (kind, number, _) => Total::zero(kind, number, 0),
    }
}

/// What a family of this engine is, to tell conflicting ones apart.
pub(super) fn own_family(family: &Family<'_>, modes: Modes<'_>) -> (String, Vec<u8>) {
    let parts: (Kind, Number, GaugeMode) = (family.kind(), family.number(), mode_of(family, modes));
    (family.name().to_owned(), family_bytes(family.name(), parts, family.bounds()))
}
