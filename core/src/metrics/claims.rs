//! Which sample names a family occupies, so that two families never write the same line.
//!
//! A counter `a` is written as `a_total` in OpenMetrics, a histogram `x` as `x_bucket`, `x_count`
//! and `x_sum`: a second family under one of those names would be a duplicate in the output.

use std::collections::HashMap;

use tallyport_plugin_api::Kind;

use crate::model::{Error, ErrorKind};

/// Sample names and the family that owns each.
#[derive(Debug, Default)]
pub(crate) struct Claims(HashMap<String, Box<str>>);

impl Claims {
    /// Claims the names of a new family, all or none.
    ///
    /// # Errors
    /// Conflict, naming the family that has one of them.
    pub(crate) fn claim(&mut self, name: &str, kind: Kind) -> Result<(), Error> {
        self.check(name, kind)?;
        self.0.extend(sample_names(name, kind).into_iter().map(|sample| (sample, name.into())));
        Ok(())
    }

    /// Whether a new family could have its names.
    ///
    /// # Errors
    /// As [`Claims::claim`].
    pub(crate) fn check(&self, name: &str, kind: Kind) -> Result<(), Error> {
        let names = sample_names(name, kind);
        if let Some((taken, owner)) = names.iter().find_map(|name| self.0.get_key_value(name)) {
            let message = format!(
                "metric `{name}` clashes with `{owner}`: both would be written as `{taken}`"
            );
            return Err(Error::new(ErrorKind::Conflict, message).with_field("name"));
        }
        Ok(())
    }
}

fn sample_names(name: &str, kind: Kind) -> Vec<String> {
    let with = |base: &str, suffixes: &[&str]| {
        suffixes.iter().map(|suffix| format!("{base}{suffix}")).collect()
    };
    match kind {
        Kind::Counter => {
            with(name.strip_suffix("_total").unwrap_or(name), &["", "_total", "_created"])
        }
        Kind::Histogram => with(name, &["", "_bucket", "_count", "_sum", "_created"]),
        Kind::Gauge | Kind::UpDownCounter => with(name, &[""]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_that_would_write_the_same_line_are_refused_in_both_orders() {
        let clashes = [
            (("a", Kind::Counter), ("a_total", Kind::Counter)),
            (("a_total", Kind::Counter), ("a", Kind::Gauge)),
            (("x", Kind::Histogram), ("x_count", Kind::Gauge)),
            (("x", Kind::Histogram), ("x_bucket", Kind::Counter)),
            (("a", Kind::Counter), ("a_created", Kind::Gauge)),
        ];
        for (one, two) in clashes {
            for (first, second) in [(one, two), (two, one)] {
                let mut claims = Claims::default();
                claims.claim(first.0, first.1).unwrap();
                let error = claims.claim(second.0, second.1).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Conflict, "{first:?} {second:?}");
            }
        }
    }

    #[test]
    fn unrelated_names_do_not_clash() {
        let mut claims = Claims::default();
        for (name, kind) in [
            ("a_total", Kind::Counter),
            ("a_total_bytes", Kind::Counter),
            ("x", Kind::Histogram),
            ("x_max", Kind::Gauge),
        ] {
            claims.claim(name, kind).unwrap();
        }
    }
}
