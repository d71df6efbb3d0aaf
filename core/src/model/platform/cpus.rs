//! How many CPUs the system may ever have.

/// One more than the highest number of a CPU that may come online; `None` where nobody says.
#[cfg(target_os = "linux")]
pub(crate) fn possible_cpus() -> Option<u32> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").ok()?;
    highest(&text).and_then(|cpu| cpu.checked_add(1)).filter(|cpus| *cpus <= MAX_CPUS)
}

/// One more than the highest number of a CPU that may come online; `None` where nobody says.
#[cfg(not(target_os = "linux"))]
pub(crate) fn possible_cpus() -> Option<u32> {
    None
}

/// More than any kernel is built for; a larger number is a misread file.
pub(crate) const MAX_CPUS: u32 = 8192;

/// The highest number in a list such as `0-3,8-11`.
#[cfg(target_os = "linux")]
fn highest(list: &str) -> Option<u32> {
    let ends = list.trim().split(',').map(|range| range.rsplit('-').next()?.parse().ok());
    ends.collect::<Option<Vec<u32>>>()?.into_iter().max()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        for (list, last) in [("0\n", 0), ("0-1\n", 1), ("0-3,8-11\n", 11), ("8-11,0", 11)] {
            assert_eq!(highest(list), Some(last), "{list}");
        }
        for list in ["", "a", "0-", "1,,2"] {
            assert_eq!(highest(list), None, "{list}");
        }
        assert!(possible_cpus().is_some_and(|cpus| cpus > 0));
    }
}
