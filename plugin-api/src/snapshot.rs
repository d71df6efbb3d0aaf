//! The snapshot as an exporter reads it: families, series, labels and values over the columns.
//!
//! It owns nothing and copies nothing. Texts and ranges of families are checked when the view is made, so
//! walking it cannot fail; [`Snapshot::check`] also checks every id and label, for snapshots
//! that come from a file or another process. Pointers become slices in `raw.rs`.

use std::collections::HashSet;

use crate::{
    Error,
    abi::{
        TALLYPORT_KIND_COUNTER, TALLYPORT_KIND_GAUGE, TALLYPORT_KIND_HISTOGRAM,
        TALLYPORT_KIND_UP_DOWN_COUNTER, TALLYPORT_NUMBER_F64, TALLYPORT_NUMBER_I64,
        TALLYPORT_NUMBER_U64, tallyport_family, tallyport_label_pair, tallyport_range,
    },
    raw::Texts,
};

/// Longest name of a metric or label that an engine accepts.
const MAX_NAME_BYTES: usize = 1024;

/// Kind of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Monotonic sum.
    Counter,
    /// Sum that may fall; exported as a gauge.
    UpDownCounter,
    /// Last value.
    Gauge,
    /// Counts per bucket, count and sum.
    Histogram,
}

impl Kind {
    /// The kind of a `TALLYPORT_KIND_*`, or `None` for one that this version does not know.
    #[must_use]
    pub fn from_abi(kind: u32) -> Option<Self> {
        match kind {
            TALLYPORT_KIND_COUNTER => Some(Self::Counter),
            TALLYPORT_KIND_UP_DOWN_COUNTER => Some(Self::UpDownCounter),
            TALLYPORT_KIND_GAUGE => Some(Self::Gauge),
            TALLYPORT_KIND_HISTOGRAM => Some(Self::Histogram),
            _ => None,
        }
    }

    /// The `TALLYPORT_KIND_*`.
    #[must_use]
    pub fn to_abi(self) -> u32 {
        match self {
            Self::Counter => TALLYPORT_KIND_COUNTER,
            Self::UpDownCounter => TALLYPORT_KIND_UP_DOWN_COUNTER,
            Self::Gauge => TALLYPORT_KIND_GAUGE,
            Self::Histogram => TALLYPORT_KIND_HISTOGRAM,
        }
    }
}

/// Number type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Number {
    /// IEEE 754 double.
    F64,
    /// Unsigned integer.
    U64,
    /// Signed integer.
    I64,
}

impl Number {
    /// The number type of a `TALLYPORT_NUMBER_*`, or `None` for an unknown one.
    #[must_use]
    pub fn from_abi(number: u32) -> Option<Self> {
        match number {
            TALLYPORT_NUMBER_F64 => Some(Self::F64),
            TALLYPORT_NUMBER_U64 => Some(Self::U64),
            TALLYPORT_NUMBER_I64 => Some(Self::I64),
            _ => None,
        }
    }

    /// The `TALLYPORT_NUMBER_*`.
    #[must_use]
    pub fn to_abi(self) -> u32 {
        match self {
            Self::F64 => TALLYPORT_NUMBER_F64,
            Self::U64 => TALLYPORT_NUMBER_U64,
            Self::I64 => TALLYPORT_NUMBER_I64,
        }
    }
}

/// One value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// IEEE 754 double.
    F64(f64),
    /// Unsigned integer.
    U64(u64),
    /// Signed integer.
    I64(i64),
}

/// Metrics at one time, borrowed from the host for one call.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'a> {
    pub(crate) schema_id: u64,
    pub(crate) time_unix_ns: u64,
    pub(crate) series_count: u64,
    pub(crate) texts: Texts<'a>,
    pub(crate) families: Rows<'a>,
    pub(crate) label_ranges: &'a [tallyport_range],
    pub(crate) label_pairs: &'a [tallyport_label_pair],
    pub(crate) bounds: &'a [f64],
    pub(crate) created_ns: &'a [u64],
    pub(crate) values: &'a [u64],
    pub(crate) hist_count: &'a [u64],
    pub(crate) hist_buckets: &'a [u64],
}

/// Family rows, read with the stride that the host uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) stride: usize,
}

impl<'a> Rows<'a> {
    fn iter(self) -> impl Iterator<Item = tallyport_family> + 'a {
        self.bytes.chunks_exact(self.stride).filter_map(|row| {
            let word = |at: usize| row.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
            Some(tallyport_family {
                name: word(0)?,
                help: word(4)?,
                unit: word(8)?,
                kind: word(12)?,
                number: word(16)?,
                series_start: word(20)?,
                series_count: word(24)?,
                bounds_start: word(28)?,
                bounds_count: word(32)?,
                hist_start: word(36)?,
                bucket_start: row.get(40..48)?.try_into().ok().map(u64::from_ne_bytes)?,
            })
        })
    }
}

impl<'a> Snapshot<'a> {
    /// Identity of the schema: text rendered from names and labels may be kept by it.
    #[must_use]
    pub fn schema_id(&self) -> u64 {
        self.schema_id
    }

    /// When the values were read, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn time_unix_ns(&self) -> u64 {
        self.time_unix_ns
    }

    /// Number of series in all families.
    #[must_use]
    pub fn series_count(&self) -> u64 {
        self.series_count
    }

    /// The families of a known kind and number type, in the host's order.
    pub fn families(&self) -> impl Iterator<Item = Family<'a>> + use<'a> {
        let snapshot = *self;
        self.families.iter().filter_map(move |row| {
            let kind = Kind::from_abi(row.kind)?;
            let number = Number::from_abi(row.number)?;
            Some(Family { snapshot, row, kind, number })
        })
    }

    /// Checks that every range that a family names lies inside its column.
    pub(crate) fn check_families(&self) -> Result<(), Error> {
        let inside = |start: u64, count: u64, len: usize| {
            start.checked_add(count).is_some_and(|end| end <= len as u64)
        };
        for (index, row) in self.families.iter().enumerate() {
            let bad = |what: &str| Error::damaged(format!("family {index}: {what} out of range"));
            let (start, count) = (u64::from(row.series_start), u64::from(row.series_count));
            if !inside(start, count, self.label_ranges.len())
                || !inside(start, count, self.values.len())
            {
                return Err(bad("series"));
            }
            if row.kind != TALLYPORT_KIND_HISTOGRAM {
                continue;
            }
            let bounds = u64::from(row.bounds_count);
            if !inside(row.bounds_start.into(), bounds, self.bounds.len()) {
                return Err(bad("bounds"));
            }
            if !inside(row.hist_start.into(), count, self.hist_count.len())
                || !inside(row.bucket_start, count * (bounds + 1), self.hist_buckets.len())
            {
                return Err(bad("buckets"));
            }
        }
        Ok(())
    }

    /// Checks every string id, label, bound, bucket and counter, in time linear in the snapshot.
    ///
    /// Not needed for what the host lends; needed for what another process wrote.
    ///
    /// # Errors
    /// DAMAGED, naming the first family or row that is wrong.
    pub fn check(&self) -> Result<(), Error> {
        let known = |id: u32| (id as usize) < self.texts.len();
        if let Some(at) = self.label_pairs.iter().position(|p| !known(p.name) || !known(p.value)) {
            return Err(Error::damaged(format!("label pair {at}: unknown string id")));
        }
        let pairs = self.label_pairs.len() as u64;
        if let Some(at) =
            self.label_ranges.iter().position(|r| u64::from(r.start) + u64::from(r.count) > pairs)
        {
            return Err(Error::damaged(format!("series {at}: labels out of range")));
        }
        let (mut series, mut bounds, mut buckets) = (0_u64, 0_u64, 0_u64);
        for (index, row) in self.families.iter().enumerate() {
            if !known(row.name) || !known(row.help) || !known(row.unit) {
                return Err(Error::damaged(format!("family {index}: unknown string id")));
            }
            let end = u64::from(row.series_start) + u64::from(row.series_count);
            if end > self.created_ns.len() as u64 {
                return Err(Error::damaged(format!("family {index}: creation times are missing")));
            }
            series += u64::from(row.series_count);
            if row.kind == TALLYPORT_KIND_HISTOGRAM {
                let width = u64::from(row.bounds_count) + 1;
                bounds += u64::from(row.bounds_count);
                buckets = buckets.saturating_add(u64::from(row.series_count) * width);
            }
        }
        if series != self.series_count {
            return Err(Error::damaged("the number of series differs from the families'"));
        }
        // Rows that are used again and again make hours of work out of a small file.
        for (what, used, len) in [
            ("series", series, self.values.len()),
            ("bounds", bounds, self.bounds.len()),
            ("buckets", buckets, self.hist_buckets.len()),
        ] {
            if used > len as u64 {
                return Err(Error::damaged(format!("families share {what}")));
            }
        }
        let (mut names, mut labels) = (HashSet::new(), 0);
        for family in self.families() {
            let bounds = family.bounds();
            let increasing = bounds.iter().zip(bounds.iter().skip(1)).all(|(a, b)| a < b);
            if !increasing || !bounds.iter().all(|b| b.is_finite()) {
                return Err(Error::damaged(format!("bounds of `{}`", family.name())));
            }
            let name = family.name();
            if name.is_empty() || name.len() > MAX_NAME_BYTES || !names.insert(name) {
                return Err(Error::damaged(format!(
                    "the name of a family is empty or too long, or two are called `{name:.80}`"
                )));
            }
            for series in family.series() {
                labels += series.labels().len();
                if labels > self.label_pairs.len() {
                    return Err(Error::damaged("series share labels"));
                }
                series.check().map_err(|what| {
                    Error::damaged(format!(
                        "series {} of `{}`: {what}",
                        series.index,
                        family.name()
                    ))
                })?;
            }
        }
        Ok(())
    }
}

/// One family: a name, what it means, and its series.
#[derive(Debug, Clone, Copy)]
pub struct Family<'a> {
    snapshot: Snapshot<'a>,
    row: tallyport_family,
    kind: Kind,
    number: Number,
}

impl<'a> Family<'a> {
    /// Name, as it was registered.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.snapshot.texts.get(self.row.name)
    }

    /// Help text, or "".
    #[must_use]
    pub fn help(&self) -> &'a str {
        self.snapshot.texts.get(self.row.help)
    }

    /// Unit, or "".
    #[must_use]
    pub fn unit(&self) -> &'a str {
        self.snapshot.texts.get(self.row.unit)
    }

    /// Kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Number type.
    #[must_use]
    pub fn number(&self) -> Number {
        self.number
    }

    /// Finite upper bounds of a histogram, increasing; empty for other kinds.
    #[must_use]
    pub fn bounds(&self) -> &'a [f64] {
        if self.kind != Kind::Histogram {
            return &[];
        }
        let start = self.row.bounds_start as usize;
        self.snapshot.bounds.get(start..start + self.row.bounds_count as usize).unwrap_or(&[])
    }

    /// Number of series.
    #[must_use]
    pub fn len(&self) -> usize {
        self.row.series_count as usize
    }

    /// Whether the family has no series.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.row.series_count == 0
    }

    /// The series.
    #[inline]
    pub fn series(&self) -> impl ExactSizeIterator<Item = Series<'a>> + use<'a> {
        let family = *self;
        (0..self.row.series_count).map(move |index| Series { family, index })
    }
}

/// One series: a label set and a value.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    family: Family<'a>,
    index: u32,
}

/// What a histogram series holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Histogram<'a> {
    /// Number of observations.
    pub count: u64,
    /// Sum of the observations.
    pub sum: f64,
    /// Observations per bucket, not cumulative; the last one is up to +Inf.
    pub buckets: &'a [u64],
}

impl<'a> Series<'a> {
    #[inline]
    fn row(&self) -> usize {
        self.family.row.series_start as usize + self.index as usize
    }

    #[inline]
    fn bits(&self) -> u64 {
        self.family.snapshot.values.get(self.row()).copied().unwrap_or(0)
    }

    /// What the engine never does, and so no exporter has to expect.
    fn check(&self) -> Result<(), &'static str> {
        let names = self.labels().map(|(name, _)| name);
        if names.clone().any(|name| name.is_empty() || name.len() > MAX_NAME_BYTES) {
            return Err("a label name is empty or too long");
        }
        if names.clone().zip(names.skip(1)).any(|(name, next)| name >= next) {
            return Err("label names are not sorted, or twice");
        }
        if self.family.kind == Kind::Counter {
            return match self.value() {
                Value::F64(value) if value.is_nan() || value < 0.0 => {
                    Err("a counter below 0 or NaN")
                }
                Value::I64(value) if value < 0 => Err("a counter below 0"),
                _ => Ok(()),
            };
        }
        let total = |buckets: &[u64]| {
            buckets.iter().try_fold(0_u64, |total, &count| total.checked_add(count))
        };
        match self.histogram() {
            Some(hist) if total(hist.buckets) != Some(hist.count) => {
                Err("the count is not the sum of the buckets")
            }
            _ => Ok(()),
        }
    }

    /// Labels, sorted by name.
    #[inline]
    pub fn labels(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> + Clone + use<'a> {
        let (snapshot, texts) = (&self.family.snapshot, self.family.snapshot.texts);
        let range = snapshot.label_ranges.get(self.row()).copied();
        let range = range.unwrap_or(tallyport_range { start: 0, count: 0 });
        let start = range.start as usize;
        let pairs = snapshot.label_pairs.get(start..start + range.count as usize).unwrap_or(&[]);
        pairs.iter().map(move |pair| (texts.get(pair.name), texts.get(pair.value)))
    }

    /// When the series was created, in nanoseconds since the Unix epoch; 0 = not known.
    #[must_use]
    pub fn created_ns(&self) -> u64 {
        self.family.snapshot.created_ns.get(self.row()).copied().unwrap_or(0)
    }

    /// The value; of a histogram its sum.
    #[inline]
    #[must_use]
    pub fn value(&self) -> Value {
        let bits = self.bits();
        match (self.family.kind, self.family.number) {
            (Kind::Histogram, _) | (_, Number::F64) => Value::F64(f64::from_bits(bits)),
            (_, Number::U64) => Value::U64(bits),
            (_, Number::I64) => Value::I64(bits.cast_signed()),
        }
    }

    /// Count, sum and buckets of a histogram series; `None` for other kinds.
    #[must_use]
    pub fn histogram(&self) -> Option<Histogram<'a>> {
        if self.family.kind != Kind::Histogram {
            return None;
        }
        let (row, index) = (&self.family.row, self.index as usize);
        let width = row.bounds_count as usize + 1;
        let start = usize::try_from(row.bucket_start).ok()? + index * width;
        Some(Histogram {
            count: *self.family.snapshot.hist_count.get(row.hist_start as usize + index)?,
            sum: f64::from_bits(self.bits()),
            buckets: self.family.snapshot.hist_buckets.get(start..start + width)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fixture, Frozen};

    fn checked(fill: impl FnOnce(&mut Fixture)) -> Result<(), Error> {
        let mut fixture = Fixture::at(1);
        fill(&mut fixture);
        fixture.freeze().view()?.check()
    }

    fn says(result: Result<(), Error>, part: &str) {
        let error = result.unwrap_err();
        assert_eq!(error.status(), crate::abi::TALLYPORT_DAMAGED);
        assert!(error.message().contains(part), "{error}");
    }

    fn mixed() -> Frozen {
        let mut fixture = Fixture::at(77);
        let rows = fixture.family("c", Kind::Counter, Number::U64).help("how many").unit("one");
        rows.created(5).series(&[("a", "1"), ("b", "2")], Value::U64(u64::MAX));
        fixture.unknown("later", 77, 1).series(&[], Value::U64(0));
        fixture.unknown("later", 1, 77).series(&[], Value::U64(0));
        fixture.family("u", Kind::UpDownCounter, Number::I64).series(&[], Value::I64(-3));
        fixture.histogram("h", &[1.0, 2.0]).observed(&[], &[1, 0, 2], 9.5).observed(
            &[("x", "")],
            &[0, 0, 1],
            2.5,
        );
        fixture.family("none", Kind::Gauge, Number::F64);
        fixture.freeze()
    }

    #[test]
    fn a_snapshot_reads_back_what_was_put_in() {
        let frozen = mixed();
        let snapshot = frozen.view().unwrap();
        snapshot.check().unwrap();
        assert_eq!((snapshot.time_unix_ns(), snapshot.series_count()), (77, 6));
        let families: Vec<_> = snapshot.families().collect();
        let names: Vec<_> = families.iter().map(Family::name).collect();
        assert_eq!(names, ["c", "u", "h", "none"], "unknown kinds and number types are skipped");
        assert_eq!(
            (families[0].help(), families[0].unit(), families[1].help()),
            ("how many", "one", "")
        );
        let counter = families[0].series().next().unwrap();
        assert_eq!(counter.labels().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert_eq!((counter.value(), counter.created_ns()), (Value::U64(u64::MAX), 5));
        assert_eq!(families[1].series().next().unwrap().value(), Value::I64(-3));
        let second = families[2].series().nth(1).unwrap();
        let expected = Histogram { count: 1, sum: 2.5, buckets: &[0, 0, 1] };
        assert_eq!(second.histogram(), Some(expected));
        assert!(families[3].is_empty());
    }

    #[test]
    fn a_check_finds_what_the_engine_never_writes() {
        checked(|_| ()).unwrap();
        let gauge = |labels: &'static [(&str, &str)]| {
            move |fixture: &mut Fixture| {
                fixture.family("g", Kind::Gauge, Number::F64).series(labels, Value::F64(f64::NAN));
            }
        };
        checked(gauge(&[("a", "1"), ("b", "")])).unwrap();
        says(checked(gauge(&[("b", "1"), ("a", "1")])), "series 0 of `g`: label names");
        says(checked(gauge(&[("a", "1"), ("a", "2")])), "label names are not sorted, or twice");
        for value in [Value::F64(f64::NAN), Value::F64(-0.5), Value::I64(-1)] {
            let number = if let Value::I64(_) = value { Number::I64 } else { Number::F64 };
            says(
                checked(|fixture| {
                    fixture.family("c", Kind::Counter, number).series(&[], value);
                }),
                "a counter below 0",
            );
        }
        for bounds in [&[2.0, 1.0][..], &[1.0, 1.0], &[f64::NAN], &[f64::INFINITY]] {
            let bad = checked(|fixture| {
                fixture.histogram("h", bounds).observed(&[], &[], 0.0);
            });
            says(bad, "bounds of `h`");
        }
    }

    #[test]
    fn a_count_that_differs_from_its_buckets_is_damaged() {
        let mut frozen = mixed();
        // Shifts the counts by one row.
        let columns = frozen.columns_mut();
        let column = columns.iter_mut().find(|c| c.id == crate::abi::TALLYPORT_COLUMN_HIST_COUNT);
        column.unwrap().offset += 8;
        says(frozen.view().and_then(|snapshot| snapshot.check()), "the count is not the sum");
    }
}
