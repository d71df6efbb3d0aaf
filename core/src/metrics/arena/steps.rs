//! Where a process may be killed while it makes something that processes share: a test stops there.

/// One more step is done.
#[inline(always)]
pub(crate) fn step() {
    #[cfg(test)]
    tests::step();
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    };

    use tallyport_plugin_api::Value;

    use crate::{
        metrics::{Cells, Limits, Metrics, Share},
        model::SystemClock,
        snapshot::Snapshots,
    };

    /// Steps until this process kills itself; 0: never.
    static LEFT: AtomicU32 = AtomicU32::new(0);

    pub(super) fn step() {
        if LEFT.load(SeqCst) != 0 && LEFT.fetch_sub(1, SeqCst) == 1 {
            // SAFETY: ends this process, as somebody else might.
            unsafe { libc::raise(libc::SIGKILL) };
        }
    }

    /// Forks; the child makes what `make` does and is killed at its `left`th step. Whether it was.
    fn killed_at(left: u32, make: impl Fn()) -> bool {
        // SAFETY: the child uses the engine, which is safe in one, and ends.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            // SAFETY: a child that hangs is ended, and told from one that was killed.
            unsafe { libc::alarm(20) };
            LEFT.store(left, SeqCst);
            make();
            // SAFETY: ends the child without the handlers of the parent.
            unsafe { libc::_exit(0) };
        }
        let mut status = -1;
        // SAFETY: waits for the child that was just made.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        let killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
        assert!(killed || status == 0, "the child hung or failed: {status:#x}");
        killed
    }

    #[test]
    fn who_is_killed_while_it_makes_a_series_holds_nobody_up() {
        let clock = Arc::new(SystemClock::default());
        let metrics =
            Metrics::new(Limits::default(), Cells::PerCpu, &Share::Auto, &[], clock).unwrap();
        metrics.counter("known_total", &[("a", "0")]).unwrap().add(1);
        let (mut rounds, mut left, mut kills) = (0_u64, 1, 0);
        while rounds < 200 || kills < 60 {
            rounds += 1;
            let text = rounds.to_string();
            let family = format!("family_{rounds}_total");
            let labels = [("a", &*text), ("b", "x")];
            let make = || {
                let series = metrics.counter("known_total", &labels[..1]);
                series.iter().for_each(|series| series.add(1));
                let series = metrics.counter(&family, &labels);
                series.iter().for_each(|series| series.add(1));
            };
            let killed = killed_at(left, make);
            kills += u64::from(killed);
            // On to the next step, and from the first one again when there was none more.
            left = if killed { left + 1 } else { 1 };
            // Others go on, with the same series too.
            let here = metrics.counter("known_total", &labels[..1]).unwrap();
            here.add(10);
            let there = metrics.counter(&family, &labels).unwrap();
            there.add(10);
            assert!(!killed_at(0, make));
            let snapshot = Snapshots::default().take(&metrics).unwrap();
            // known, and one in each of two families a round.
            assert_eq!(snapshot.series_count(), 1 + rounds * 2, "round {rounds}");
            let own = |value: u64| (11..=12).contains(&value);
            assert!(own(total(&snapshot, "known_total", &text)), "round {rounds}");
            assert!(own(total(&snapshot, &family, &text)), "round {rounds}");
        }
    }

    /// The value of the series with that first label value.
    fn total(snapshot: &crate::snapshot::Snapshot, family: &str, value: &str) -> u64 {
        let read = snapshot.read(|view| {
            let mut found = 0;
            for known in view.families().filter(|known| known.name() == family) {
                for series in known.series() {
                    if series.labels().any(|label| label == ("a", value))
                        && let Value::U64(counted) = series.value()
                    {
                        found += counted;
                    }
                }
            }
            Ok::<_, tallyport_plugin_api::Error>(found)
        });
        read.unwrap()
    }
}
