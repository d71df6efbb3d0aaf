//! Who runs this process, and whether its environment is somebody else's.

/// Whether the process has more rights than who started it (a setuid program, file capabilities):
/// what that user controls, the environment above all, must not be believed then.
pub(crate) fn is_secure_execution() -> bool {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: reads a number that the kernel gave at the start of the program.
        // Test: a_setuid_host_believes_no_environment.
        let flag = unsafe { libc::getauxval(libc::AT_SECURE) };
        flag != 0
    }
    #[cfg(not(target_os = "linux"))]
    {
        use rustix::process::{getegid, geteuid, getgid, getuid};
        getuid() != geteuid() || getgid() != getegid()
    }
}

/// Closes every descriptor but the standard ones: for a program at its very beginning, which must
/// not keep what its parent left open.
pub(crate) fn close_inherited() {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: nothing of this program has a descriptor yet, so none of its own is closed.
        // Test: the_helper_keeps_no_descriptor_of_its_host.
        unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    }
}

/// Which process this is.
pub(crate) fn process_id() -> u32 {
    std::process::id()
}

/// Whether the process of that number is there and began at that time ([`start_time`]); 0: at
/// whatever time. One that ended and was not waited for yet is not.
pub(crate) fn is_alive(pid: u32, started: u64) -> bool {
    #[cfg(target_os = "linux")]
    {
        match linux::stat(pid) {
            Some((b'Z' | b'X', _)) => false,
            Some((_, start)) => started == 0 || start == started,
            // No /proc: whether there is one of that number.
            None => exists(pid),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = started;
        exists(pid)
    }
}

/// As [`is_alive`], where of the start only the low half is known.
pub(crate) fn is_alive_since(pid: u32, started: u32) -> bool {
    #[cfg(target_os = "linux")]
    {
        match linux::stat(pid) {
            Some((b'Z' | b'X', _)) => false,
            Some((_, start)) => started == 0 || start as u32 == started,
            None => exists(pid),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = started;
        exists(pid)
    }
}

fn exists(pid: u32) -> bool {
    use rustix::{io::Errno, process};
    let pid = i32::try_from(pid).ok().and_then(process::Pid::from_raw);
    pid.is_some_and(|pid| process::test_kill_process(pid) != Err(Errno::SRCH))
}

/// When this process began, in ticks since the boot; 0 where nobody says. Async-signal-safe.
pub(crate) fn start_time() -> u64 {
    #[cfg(target_os = "linux")]
    {
        linux::stat(process_id()).map_or(0, |(_, start)| start)
    }
    #[cfg(not(target_os = "linux"))]
    {
        0
    }
}

/// A number that changes with every boot and machine; zeros where nobody says.
pub(crate) fn boot_id() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let half = |range| digits.get(range).and_then(|half| u64::from_str_radix(half, 16).ok());
    [half(0..16).unwrap_or(0), half(16..32).unwrap_or(0)]
}

/// Which namespace numbers this process; 0 where there are none.
pub(crate) fn process_numbering() -> u64 {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata("/proc/self/ns/pid").map_or(0, |about| about.ino())
    }
    #[cfg(not(target_os = "linux"))]
    {
        0
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use rustix::fs::{CWD, Mode, OFlags, openat};

    /// State and start time of a process. No allocation, no lock.
    pub(super) fn stat(pid: u32) -> Option<(u8, u64)> {
        let mut path = [0_u8; 32];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            for byte in bytes {
                if let Some(place) = path.get_mut(at) {
                    *place = *byte;
                    at += 1;
                }
            }
        };
        put(b"/proc/");
        let mut digits = [0_u8; 10];
        let (mut rest, mut first) = (pid, digits.len());
        while first == digits.len() || rest > 0 {
            first -= 1;
            *digits.get_mut(first)? = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        put(digits.get(first..)?);
        put(b"/stat\0");
        let path = std::ffi::CStr::from_bytes_until_nul(&path).ok()?;
        let file = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mut text = [0_u8; 1024];
        let len = rustix::io::read(&file, &mut text).ok()?;
        let text = text.get(..len)?;
        // The name may hold anything, a parenthesis too.
        let after = text.iter().rposition(|byte| *byte == b')')?;
        let mut fields = text.get(after + 1..)?.split(|byte| *byte == b' ').skip(1);
        let state = *fields.next()?.first()?;
        // The 22nd of all: the third is the state.
        let start = fields.nth(18)?;
        let start = start.iter().try_fold(0_u64, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
        })?;
        Some((state, start))
    }
}

/// The user whose rights count.
pub(crate) fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_number_and_its_start() {
        let (me, started) = (process_id(), start_time());
        assert!(started > 0);
        assert!(is_alive(me, started) && is_alive(me, 0));
        assert!(!is_alive(me, started + 1));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        // Ended, and not waited for: it is there no more.
        while is_alive(pid, 0) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(!is_alive(pid, 0));
        assert!(!is_alive(u32::MAX, 0));
    }

    #[test]
    fn a_boot_has_an_id() {
        assert_ne!(boot_id(), [0, 0]);
        assert_eq!(boot_id(), boot_id());
        assert_ne!(process_numbering(), 0);
    }
}
