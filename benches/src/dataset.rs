//! The same series, values and observations for every contender.

use std::sync::LazyLock;

/// Name of the family, its help and its label names.
pub const NAME: &str = "http_server_requests_total";
/// Help text.
pub const HELP: &str = "Requests served";
/// Label names.
pub const LABELS: [&str; 3] = ["instance", "route", "code"];
/// Upper bounds of histograms: 11, so 12 buckets.
pub const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Values per label; a million series is every combination.
pub const PER_LABEL: usize = 100;

/// Values of one series' labels.
pub type Set = [&'static str; 3];

static TEXTS: LazyLock<[Vec<&'static str>; 3]> = LazyLock::new(|| {
    let texts = |text: fn(usize) -> String| {
        (0..PER_LABEL).map(|n| &*text(n).leak()).collect::<Vec<&'static str>>()
    };
    [
        texts(|n| format!("node-{n:03}.example")),
        texts(|n| format!("/api/v1/items/{n:03}")),
        texts(|n| format!("{}", 200 + n)),
    ]
});

/// The values that a label can have.
#[must_use]
pub fn values(label: usize) -> &'static [&'static str] {
    &TEXTS[label]
}

/// Labels of series `index` of a million.
#[must_use]
pub fn set(index: usize) -> Set {
    let at = |label: usize, n: usize| TEXTS[label][n % PER_LABEL];
    [at(0, index), at(1, index / PER_LABEL), at(2, index / (PER_LABEL * PER_LABEL))]
}

/// A thousand label sets with ten values per label.
#[must_use]
pub fn thousand() -> Vec<Set> {
    let at = |label: usize, n: usize| TEXTS[label][n % 10];
    (0..1000).map(|n| [at(0, n), at(1, n / 10), at(2, n / 100)]).collect()
}

/// What series `index` counts: numbers of seven digits.
#[must_use]
pub fn value(index: usize) -> u64 {
    1_000_000 + (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % 9_000_000
}

/// Numbers that a seed determines (xorshift64*).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Begins at `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15))
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Indices below `count` in an order that no predictor learns; a power of two of them.
#[must_use]
pub fn order(count: usize, seed: u64) -> Vec<u32> {
    let mut random = Random::new(seed);
    (0..8192).map(|_| ((random.next() >> 32) % count as u64) as u32).collect()
}

/// Observations from 1 ms to 20 s, evenly spread over the buckets; 4096 of them.
#[must_use]
pub fn observations() -> Vec<f64> {
    let mut random = Random::new(7);
    (0..4096)
        .map(|_| {
            let unit = (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
            0.001 * 20_000_f64.powf(unit)
        })
        .collect()
}
