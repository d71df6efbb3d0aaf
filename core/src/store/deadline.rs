use std::time::{Duration, Instant};

/// How long each step of a store may take, and when all that it is a part of has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    each: Duration,
    end: Option<Instant>,
}

impl From<Duration> for Deadline {
    fn from(each: Duration) -> Self {
        Self { each, end: None }
    }
}

impl Deadline {
    /// The same steps, none of which lasts beyond `end`.
    #[must_use]
    pub fn by(self, end: Option<Instant>) -> Self {
        Self { end, ..self }
    }

    /// When a step that begins now has to end.
    #[must_use]
    pub fn of_step(&self) -> Instant {
        let step = Instant::now() + self.each;
        self.end.map_or(step, |end| end.min(step))
    }

    /// How long a step that begins now may take.
    #[must_use]
    pub fn left(&self) -> Duration {
        let left = self.end.map(|end| end.saturating_duration_since(Instant::now()));
        left.map_or(self.each, |left| left.min(self.each))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_ends_with_what_it_is_a_part_of() {
        let hour = Duration::from_secs(3600);
        let alone = Deadline::from(hour);
        assert_eq!(alone.left(), hour);
        assert!(alone.of_step() >= Instant::now() + hour / 2);
        let end = Instant::now() + hour / 2;
        let part = alone.by(Some(end));
        assert_eq!(part.of_step(), end);
        assert!(part.left() <= hour / 2);
        let over = alone.by(Instant::now().checked_sub(Duration::from_millis(1)));
        assert_eq!(over.left(), Duration::ZERO);
        assert_eq!(part.by(None), alone);
    }
}
