//! Everyone's state as a snapshot that any exporter writes.

use std::collections::{BTreeMap, HashMap};

use xxhash_rust::xxh3::xxh3_64;

use super::aggregate::{Everyone, Merged};
use crate::{
    model::{Error, GaugeMode, Kind},
    snapshot::{Builder, Snapshot},
    store::{Distribution, Identity, Key, Total, family_bytes},
};

/// Label that tells instances apart.
const INSTANCE: &str = "instance";
/// What a series' own label of that name is called then.
const EXPORTED_INSTANCE: &str = "exported_instance";
/// Instance label of what ended instances counted.
const RETIRED: &str = "retired";

/// How everyone's state is shown.
#[derive(Debug, Default)]
pub struct View {
    /// One series per instance, always.
    pub include_instances: bool,
    /// Families by name as this engine has them: of conflicting ones these keep their name.
    pub own: BTreeMap<String, Vec<u8>>,
}

/// A family that not all instances agree on; each variant is shown on its own, nothing is added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The family.
    pub family: String,
    /// What the other variants are called.
    pub shown_as: Vec<String>,
}

/// Everyone's state, ready to export.
#[derive(Debug)]
pub struct Overview {
    /// All series.
    pub snapshot: Snapshot,
    /// Number of live instances.
    pub instances: usize,
    /// Families whose kind, number type, bounds or gauge mode differ.
    pub conflicts: Vec<Conflict>,
    /// Gauge families without a declared mode that several instances set.
    pub undeclared: Vec<String>,
    /// Values that did not fit the number type and were clamped.
    pub clamped: u64,
    /// Series that could not be read.
    pub damaged: u64,
}

/// One line of the result.
struct Line<'a> {
    labels: Vec<(&'a str, &'a str)>,
    created_ns: u64,
    value: Total,
}

/// Shows everyone's state at `time_unix_ns`.
///
/// # Errors
/// Limit, when there are more series than a snapshot can number.
pub fn overview(everyone: &Everyone, view: &View, time_unix_ns: u64) -> Result<Overview, Error> {
    let names = instance_names(everyone);
    let mut families: BTreeMap<&str, BTreeMap<Vec<u8>, Vec<&Merged>>> = BTreeMap::new();
    for merged in everyone.series.values() {
        let Key { name, kind, number, mode, bounds, .. } = &merged.key;
        let variant = family_bytes(name, (*kind, *number, *mode), bounds);
        families.entry(name).or_default().entry(variant).or_default().push(merged);
    }
    let mut shown = Shown::default();
    for (name, variants) in families {
        let own = view.own.get(name).filter(|own| variants.contains_key(*own));
        let keeps = own.or_else(|| variants.keys().next()).cloned().unwrap_or_default();
        let mut conflict = Conflict { family: name.to_owned(), shown_as: Vec::new() };
        for (variant, mut series) in variants {
            series.sort_by(|a, b| a.key.labels.cmp(&b.key.labels));
            if variant == keeps {
                shown.family(name, &series, &names, view.include_instances)?;
            } else {
                let other = format!("{name}_conflict_{:08x}", xxh3_64(&variant) as u32);
                shown.family(&other, &series, &names, view.include_instances)?;
                conflict.shown_as.push(other);
            }
        }
        if !conflict.shown_as.is_empty() {
            shown.conflicts.push(conflict);
        }
    }
    Ok(Overview {
        snapshot: shown.builder.finish(time_unix_ns)?,
        instances: everyone.instances.len(),
        conflicts: shown.conflicts,
        undeclared: shown.undeclared,
        clamped: shown.clamped,
        damaged: everyone.damaged,
    })
}

/// A name for each instance, none twice: those that several chose get a part of the identity.
fn instance_names(everyone: &Everyone) -> Vec<String> {
    let mut uses: HashMap<&str, usize> = HashMap::from([(RETIRED, 1), ("", 1)]);
    for (_, name) in &everyone.instances {
        *uses.entry(name).or_default() += 1;
    }
    let unlike = |(id, name): &(Identity, String)| match uses.get(name.as_str()) {
        _ if name.is_empty() => id.to_string(),
        Some(2..) => format!("{name}/{:.8}", id.to_string()),
        _ => name.clone(),
    };
    everyone.instances.iter().map(unlike).collect()
}

#[derive(Default)]
struct Shown {
    builder: Builder,
    conflicts: Vec<Conflict>,
    undeclared: Vec<String>,
    clamped: u64,
}

impl Shown {
    fn family(
        &mut self,
        name: &str,
        series: &[&Merged],
        names: &[String],
        include_instances: bool,
    ) -> Result<(), Error> {
        let Some(first) = series.first() else { return Ok(()) };
        let Key { kind, number, bounds, mode, .. } = &first.key;
        let several = series.iter().any(|merged| merged.live.len() > 1);
        let undeclared = *kind == Kind::Gauge && *mode == GaugeMode::Undeclared && several;
        if undeclared && !include_instances {
            self.undeclared.push(name.to_owned());
        }
        let text = |of: fn(&Merged) -> &str| {
            series.iter().map(|merged| of(merged)).find(|text| !text.is_empty()).unwrap_or("")
        };
        let texts = (text(|merged| &merged.help), text(|merged| &merged.unit));
        self.builder.family(name, (*kind, *number), texts, bounds)?;
        for merged in series {
            if undeclared || include_instances {
                if let Some(total) = &merged.retired {
                    self.line(&line(merged, Some(RETIRED), total.clone()))?;
                }
                for (instance, value) in &merged.live {
                    let instance = names.get(*instance).map_or("", String::as_str);
                    self.line(&line(merged, Some(instance), value.clone()))?;
                }
            } else if let Some(value) = together(merged) {
                self.line(&line(merged, None, value))?;
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &Line<'_>) -> Result<(), Error> {
        let labels = line.labels.iter().copied();
        let clamped = &mut self.clamped;
        match &line.value {
            Total::Count(count) => {
                let count = clamp(*count, u64::MAX, clamped);
                self.builder.series(labels, line.created_ns, count)
            }
            Total::Level(level) => {
                let fits = i64::try_from(*level);
                *clamped += u64::from(fits.is_err());
                let level = fits.unwrap_or(if *level < 0 { i64::MIN } else { i64::MAX });
                self.builder.series(labels, line.created_ns, level.cast_unsigned())
            }
            Total::Sum(value) | Total::LevelF64(value) | Total::Gauge { value, .. } => {
                self.builder.series(labels, line.created_ns, value.to_bits())
            }
            Total::Histogram(all) => {
                let Distribution { sum, buckets } = &**all;
                self.builder.series(labels, line.created_ns, sum.to_bits())?;
                // The count is the sum of the buckets, and has to be a u64 too.
                let mut room = u64::MAX;
                self.builder.buckets(buckets.iter().map(|count| {
                    let count = clamp(*count, room, clamped);
                    room -= count;
                    count
                }));
                Ok(())
            }
        }
    }
}

fn clamp(count: u128, most: u64, clamped: &mut u64) -> u64 {
    match u64::try_from(count) {
        Ok(count) if count <= most => count,
        _ => {
            *clamped += 1;
            most
        }
    }
}

fn line<'a>(merged: &'a Merged, instance: Option<&'a str>, value: Total) -> Line<'a> {
    let labels = merged.key.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut labels: Vec<(&str, &str)> = labels.collect();
    if let Some(instance) = instance {
        for (name, _) in &mut labels {
            if *name == INSTANCE {
                *name = EXPORTED_INSTANCE;
            }
        }
        labels.push((INSTANCE, instance));
        labels.sort_unstable();
        labels.dedup_by_key(|(name, _)| *name);
    }
    Line { labels, created_ns: merged.created_ns, value }
}

/// The one value of a series of all instances; `None` for a gauge that nobody has.
fn together(merged: &Merged) -> Option<Total> {
    let values = merged.live.iter().map(|(_, value)| value);
    if merged.key.kind != Kind::Gauge {
        let mut parts = merged.retired.iter().chain(values);
        let mut sum = parts.next()?.clone();
        for part in parts {
            if let Err(error) = sum.add(part) {
                // Kinds were checked when the parts were read.
                tracing::error!(series = %merged.key, "not added: {error}");
            }
        }
        return Some(sum);
    }
    let gauge = |value: &Total| match value {
        Total::Gauge { value, at_ns } => Some((*value, *at_ns)),
        _ => None,
    };
    let (value, at_ns) = merged.key.mode.together(values.filter_map(gauge))?;
    Some(Total::Gauge { value, at_ns })
}
