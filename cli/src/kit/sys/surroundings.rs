//! What belongs to the host and a guest leaves as it was.

use std::{collections::BTreeMap, env, ffi::CStr, fs, hint::black_box, mem::MaybeUninit, ptr};

/// Named facts of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Surroundings {
    facts: BTreeMap<String, String>,
    /// Open descriptors and what is behind them.
    pub(crate) descriptors: BTreeMap<String, String>,
    /// Names of the threads.
    pub(crate) threads: Vec<String>,
}

impl Surroundings {
    pub(crate) fn now() -> Self {
        let mut facts = BTreeMap::new();
        let mut fact = |name: &str, value: String| facts.insert(name.to_owned(), value);
        for signal in (1..=64).filter(|signal| !matches!(signal, 9 | 19 | 32 | 33)) {
            fact(&format!("the handler of {}", crate::words::signal(signal)), handler(signal));
        }
        fact("the signal mask", mask());
        let folder = env::current_dir().map_or_else(|e| e.to_string(), |p| p.display().to_string());
        fact("the working directory", folder);
        fact("the locale", locale());
        fact("the way floats are computed", floats());
        for (name, value) in env::vars_os() {
            fact(
                &format!("the environment variable {}", name.to_string_lossy()),
                value.to_string_lossy().into_owned(),
            );
        }
        for line in fs::read_to_string("/proc/self/status").unwrap_or_default().lines() {
            if let Some(mask) = line.strip_prefix("Umask:") {
                fact("the umask", mask.trim().to_owned());
            }
        }
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        fact("the resource limits", limits);
        fact("the process name", fs::read_to_string("/proc/self/comm").unwrap_or_default());
        for (number, name) in ["stdin", "stdout", "stderr"].iter().enumerate() {
            let file = fs::read_link(format!("/proc/self/fd/{number}"));
            fact(name, file.map_or_else(|_| "closed".to_owned(), |f| f.display().to_string()));
        }
        fact("the alarm timer", alarm());
        Self { facts, descriptors: descriptors(), threads: threads() }
    }

    /// What is different now, in words.
    pub(crate) fn changes(&self, now: &Self) -> Vec<String> {
        let gone = String::from("nothing");
        let names: std::collections::BTreeSet<&String> =
            self.facts.keys().chain(now.facts.keys()).collect();
        let changed = names.into_iter().filter_map(|name| {
            let before = self.facts.get(name).unwrap_or(&gone);
            let after = now.facts.get(name).unwrap_or(&gone);
            (before != after).then(|| {
                let (before, after) = (crate::words::short(before), crate::words::short(after));
                format!("{name} was {before} and is {after}")
            })
        });
        changed.collect()
    }
}

fn handler(signal: libc::c_int) -> String {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks only; the struct is ours.
    let status = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeroed is valid, and so is what was filled in.
    let action = unsafe { action.assume_init() };
    match (status, action.sa_sigaction) {
        (0, libc::SIG_DFL) => "the default".to_owned(),
        (0, libc::SIG_IGN) => "ignored".to_owned(),
        (0, address) => format!("a function at {address:#x} with flags {:#x}", action.sa_flags),
        _ => "unknown".to_owned(),
    }
}

fn mask() -> String {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: asks only; the struct is ours.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), set.as_mut_ptr()) };
    // SAFETY: zeroed is valid, and so is what was filled in.
    let set = unsafe { set.assume_init() };
    // SAFETY: asks a set of ours for a number that exists.
    let blocked =
        (1..=64).filter(|signal| unsafe { libc::sigismember(&raw const set, *signal) } == 1);
    let blocked: Vec<_> = blocked.map(crate::words::signal).collect();
    if blocked.is_empty() { "empty".to_owned() } else { blocked.join(", ") }
}

fn locale() -> String {
    // SAFETY: asks only; the text belongs to libc and is copied before anybody sets another.
    let name = unsafe { libc::setlocale(libc::LC_ALL, ptr::null()) };
    if name.is_null() {
        return "unknown".to_owned();
    }
    // SAFETY: not NULL: libc's own C text.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}

/// Rounding and subnormal numbers: a file that was linked with -ffast-math changes them.
fn floats() -> String {
    let small = black_box(f64::MIN_POSITIVE) / black_box(2.0);
    let third = black_box(1.0_f64) / black_box(3.0);
    let minus = black_box(-1.0) / black_box(3.0);
    let one = black_box(1.0) + black_box(1e-30);
    let subnormal = if small == 0.0 { "flushed to zero" } else { "kept" };
    let nearest = one == 1.0 && third == -minus && third.to_bits() == 0x3fd5_5555_5555_5555;
    let rounding = if nearest { "to nearest" } else { "another way" };
    format!("rounded {rounding}, subnormals {subnormal}")
}

fn alarm() -> String {
    let mut timer = MaybeUninit::<libc::itimerval>::zeroed();
    // SAFETY: asks only; the struct is ours.
    unsafe { libc::getitimer(libc::ITIMER_REAL, timer.as_mut_ptr()) };
    // SAFETY: zeroed is valid, and so is what was filled in.
    let timer = unsafe { timer.assume_init() };
    let set = timer.it_value.tv_sec != 0 || timer.it_value.tv_usec != 0;
    if set { "set".to_owned() } else { "off".to_owned() }
}

/// Open descriptors and what is behind them; the one that looks is not among them.
pub(crate) fn descriptors() -> BTreeMap<String, String> {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let known = entries.filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?.display().to_string();
        let number = entry.file_name().to_string_lossy().into_owned();
        (!target.starts_with("/proc/")).then_some((number, target))
    });
    known.collect()
}

/// Names of the threads of this process.
pub(crate) fn threads() -> Vec<String> {
    let entries = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let name = |entry: fs::DirEntry| {
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        name.trim().to_owned()
    };
    entries.map(name).collect()
}
