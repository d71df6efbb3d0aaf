//! Everyone's state as a snapshot that any exporter writes.

use std::collections::{BTreeMap, HashMap};

use xxhash_rust::xxh3::xxh3_64;

use super::aggregate::{Everyone, Family, Merged};
use crate::{
    model::{Error, GaugeMode, Kind},
    snapshot::{Builder, Snapshot},
    store::{Distribution, Identity, Key, Total, checked_labels_of, family_bytes},
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

/// Families of one name by their bytes, each with its series.
type Variants<'a> = BTreeMap<Vec<u8>, (&'a Family, Vec<&'a Merged>)>;

/// Shows everyone's state at `time_unix_ns`.
///
/// # Errors
/// Limit, when there are more series than a snapshot can number.
pub fn overview(everyone: &Everyone, view: &View, time_unix_ns: u64) -> Result<Overview, Error> {
    let names = instance_names(everyone);
    let mut by_family = vec![Vec::new(); everyone.families.len()];
    for merged in everyone.series() {
        if let Some(series) = by_family.get_mut(merged.family) {
            series.push(merged);
        }
    }
    let mut families: BTreeMap<&str, Variants<'_>> = BTreeMap::new();
    for (number, series) in by_family.into_iter().enumerate() {
        let Some(family) = everyone.families.get(number) else { continue };
        let Key { name, kind, number, mode, bounds, .. } = &family.key;
        let variant = family_bytes(name, (*kind, *number, *mode), bounds);
        families.entry(name).or_default().insert(variant, (family, series));
    }
    let of = Of { everyone, names: &names, include_instances: view.include_instances };
    let mut shown = Shown::default();
    for (name, variants) in families {
        let own = view.own.get(name).filter(|own| variants.contains_key(*own));
        let keeps = own.or_else(|| variants.keys().next()).cloned().unwrap_or_default();
        let mut conflict = Conflict { family: name.to_owned(), shown_as: Vec::new() };
        for (variant, (family, series)) in variants {
            if variant == keeps {
                shown.family(name, family, &series, of)?;
            } else {
                let other = format!("{name}_conflict_{:08x}", xxh3_64(&variant) as u32);
                shown.family(&other, family, &series, of)?;
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

/// What is shown, and how.
#[derive(Debug, Clone, Copy)]
struct Of<'a> {
    everyone: &'a Everyone,
    /// Of its instances.
    names: &'a [String],
    include_instances: bool,
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
        family: &Family,
        series: &[&Merged],
        Of { everyone, names, include_instances }: Of<'_>,
    ) -> Result<(), Error> {
        if series.is_empty() {
            return Ok(());
        }
        let Key { kind, number, bounds, mode, .. } = &family.key;
        let several = series.iter().any(|merged| merged.published > 1);
        let undeclared = *kind == Kind::Gauge && *mode == GaugeMode::Undeclared && several;
        if undeclared && !include_instances {
            self.undeclared.push(name.to_owned());
        }
        self.builder.family(name, (*kind, *number), (&family.help, &family.unit), bounds)?;
        for merged in series {
            let (labels, retired) = (everyone.labels(merged), everyone.retired(merged));
            let live = everyone.published(merged);
            if undeclared || include_instances {
                let live = live.map(|(instance, value)| {
                    (names.get(instance).map_or("", String::as_str), value)
                });
                let retired = retired.map(|total| (RETIRED, total));
                for (instance, value) in retired.into_iter().chain(live) {
                    let labels = with_instance(labels, instance);
                    self.line(labels.into_iter(), merged.created_ns, value)?;
                }
            } else if let Some(value) = together(&family.key, retired, live.map(|(_, total)| total))
            {
                self.line(checked_labels_of(labels), merged.created_ns, &value)?;
            }
        }
        Ok(())
    }

    fn line<'a>(
        &mut self,
        labels: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        created_ns: u64,
        value: &Total,
    ) -> Result<(), Error> {
        let clamped = &mut self.clamped;
        match value {
            Total::Count(count) => {
                let count = clamp(*count, u64::MAX, clamped);
                self.builder.series(labels, created_ns, count)
            }
            Total::Level(level) => {
                let fits = i64::try_from(*level);
                *clamped += u64::from(fits.is_err());
                let level = fits.unwrap_or(if *level < 0 { i64::MIN } else { i64::MAX });
                self.builder.series(labels, created_ns, level.cast_unsigned())
            }
            Total::Sum(sum) => self.builder.series(labels, created_ns, sum.value().to_bits()),
            Total::LevelF64(value) | Total::Gauge { value, .. } => {
                self.builder.series(labels, created_ns, value.to_bits())
            }
            Total::Histogram(all) => {
                let Distribution { sum, buckets } = &**all;
                self.builder.series(labels, created_ns, sum.value().to_bits())?;
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

/// The labels of a series of one instance.
fn with_instance<'a>(labels: &'a [u8], instance: &'a str) -> Vec<(&'a [u8], &'a [u8])> {
    let own = |(name, value): (&'a [u8], &'a [u8])| {
        (if name == INSTANCE.as_bytes() { EXPORTED_INSTANCE.as_bytes() } else { name }, value)
    };
    let mut labels: Vec<(&[u8], &[u8])> = checked_labels_of(labels).map(own).collect();
    labels.push((INSTANCE.as_bytes(), instance.as_bytes()));
    labels.sort_unstable();
    labels.dedup_by_key(|(name, _)| *name);
    labels
}

/// The one value of a series of all instances; `None` for a gauge that nobody has.
fn together<'a>(
    family: &Key,
    retired: Option<&'a Total>,
    values: impl Iterator<Item = &'a Total> + Clone,
) -> Option<Total> {
    if family.kind != Kind::Gauge {
        let mut parts = retired.into_iter().chain(values);
        let mut sum = parts.next()?.clone();
        for part in parts {
            if let Err(error) = sum.add(part) {
                // Kinds were checked when the parts were read.
                tracing::error!(family = family.name, "not added: {error}");
            }
        }
        return Some(sum);
    }
    let gauge = |value: &Total| match value {
        Total::Gauge { value, at_ns } => Some((*value, *at_ns)),
        _ => None,
    };
    let (value, at_ns) = family.mode.together(values.filter_map(gauge))?;
    Some(Total::Gauge { value, at_ns })
}
