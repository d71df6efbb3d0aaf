//! How a gauge that several processes or instances set becomes one value.

/// How a gauge that several processes or instances set becomes one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum GaugeMode {
    /// Nobody said: one series for each that set it, as soon as there are several.
    #[default]
    Undeclared,
    /// The sum.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// The mean.
    Mean,
    /// The one that was set last.
    Last,
}

impl GaugeMode {
    const ALL: [Self; 6] =
        [Self::Undeclared, Self::Sum, Self::Max, Self::Min, Self::Mean, Self::Last];

    /// The mode of a number that `as u8` gave.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }

    /// Its name in configurations and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Undeclared => "undeclared",
            Self::Sum => "sum",
            Self::Max => "max",
            Self::Min => "min",
            Self::Mean => "mean",
            Self::Last => "last",
        }
    }

    /// The one value of several, each with the time at which it was set, and the latest time; `None`
    /// where there is none. Undeclared: the first.
    pub(crate) fn together(self, values: impl Iterator<Item = (f64, u64)>) -> Option<(f64, u64)> {
        let mut values = values;
        let (mut value, mut at) = values.next()?;
        let mut count = 1.0;
        for (other, set) in values {
            match self {
                Self::Sum | Self::Mean => value += other,
                Self::Max => value = value.max(other),
                Self::Min => value = value.min(other),
                Self::Last if set >= at => value = other,
                Self::Last | Self::Undeclared => {}
            }
            at = at.max(set);
            count += 1.0;
        }
        if self == Self::Mean {
            value /= count;
        }
        Some((value, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_values_become_one() {
        let values = [(3.0, 5), (7.0, 9), (2.0, 7)];
        for (mode, expected) in [
            (GaugeMode::Undeclared, 3.0),
            (GaugeMode::Sum, 12.0),
            (GaugeMode::Max, 7.0),
            (GaugeMode::Min, 2.0),
            (GaugeMode::Mean, 4.0),
            (GaugeMode::Last, 7.0),
        ] {
            assert_eq!(mode.together(values.into_iter()), Some((expected, 9)), "{mode:?}");
            assert_eq!(GaugeMode::from_byte(mode as u8), Some(mode));
        }
        assert_eq!(GaugeMode::Sum.together(std::iter::empty()), None);
        assert_eq!(GaugeMode::from_byte(6), None);
    }
}
