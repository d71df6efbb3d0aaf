//! measured, with label values known beforehand (`fixed`) and with any (`dynamic`).

use ::measured::{
    Counter, CounterVec, Histogram, LabelGroup, MetricGroup,
    label::LabelGroupSet,
    lasso::{Rodeo, RodeoReader, Spur, ThreadedRodeo},
    metric::histogram::Thresholds,
    text::TextEncoder,
};

use super::Family;
use crate::dataset::{self, BOUNDS, Set};

/// A held counter.
#[must_use]
pub fn counter() -> Counter {
    Counter::new()
}

/// A held histogram.
#[must_use]
pub fn histogram() -> Histogram<11> {
    Histogram::with_metadata(Thresholds::with_buckets(BOUNDS))
}

#[derive(Clone, Copy, PartialEq, Debug, LabelGroup)]
#[label(set = FixedSet)]
struct FixedLabels<'a> {
    #[label(fixed_with = RodeoReader<Spur>)]
    instance: &'a str,
    #[label(fixed_with = RodeoReader<Spur>)]
    route: &'a str,
    #[label(fixed_with = RodeoReader<Spur>)]
    code: &'a str,
}

#[derive(Clone, Copy, PartialEq, Debug, LabelGroup)]
#[label(set = DynamicSet)]
struct DynamicLabels<'a> {
    #[label(dynamic_with = ThreadedRodeo<Spur>)]
    instance: &'a str,
    #[label(dynamic_with = ThreadedRodeo<Spur>)]
    route: &'a str,
    #[label(dynamic_with = ThreadedRodeo<Spur>)]
    code: &'a str,
}

#[derive(MetricGroup)]
struct Group<L: LabelGroupSet> {
    /// Requests served
    http_server_requests_total: CounterVec<L>,
}

/// Label values that were all named when the family was made: an array holds the values.
pub struct Fixed(Group<FixedSet>);

/// Label values of any text.
pub struct Dynamic(Group<DynamicSet>);

impl Default for Fixed {
    fn default() -> Self {
        let reader = |label| Rodeo::from_iter(dataset::values(label)).into_reader();
        let set = FixedSet { instance: reader(0), route: reader(1), code: reader(2) };
        Self(Group { http_server_requests_total: CounterVec::with_label_set(set) })
    }
}

impl Default for Dynamic {
    fn default() -> Self {
        let set = DynamicSet {
            instance: ThreadedRodeo::new(),
            route: ThreadedRodeo::new(),
            code: ThreadedRodeo::new(),
        };
        Self(Group { http_server_requests_total: CounterVec::with_label_set(set) })
    }
}

impl Family for Fixed {
    #[inline]
    fn add(&self, [instance, route, code]: Set, amount: u64) {
        let labels = FixedLabels { instance, route, code };
        self.0.http_server_requests_total.inc_by(labels, amount);
    }

    fn encode(&self, out: &mut Vec<u8>) {
        encode(&self.0, out);
    }
}

impl Family for Dynamic {
    #[inline]
    fn add(&self, [instance, route, code]: Set, amount: u64) {
        let labels = DynamicLabels { instance, route, code };
        self.0.http_server_requests_total.inc_by(labels, amount);
    }

    fn encode(&self, out: &mut Vec<u8>) {
        encode(&self.0, out);
    }
}

fn encode<'a, G: MetricGroup<TextEncoder<&'a mut Vec<u8>>>>(group: &G, out: &'a mut Vec<u8>) {
    let mut encoder = TextEncoder::new(out);
    let done = group.collect_group_into(&mut encoder).and_then(|()| encoder.flush());
    assert!(done.is_ok());
}
