//! The helper program: code that may crash or hang runs in it and not in the host.
//!
//! `tallyport-plugin-host` comes with the library and speaks a protocol of its version. It is
//! looked for where the configuration says, else beside the library and where it was installed;
//! never in `PATH`. It is believed by the same rules as a plugin file.

use std::{
    env,
    hint::black_box,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    image::own_object,
    policy::{Reason, Trust},
};
use crate::model::{
    Error, ErrorKind,
    platform::{Mapping, close_inherited, fill_new_memory, reset_direction},
};

/// Its file name.
pub const HELPER_NAME: &str = "tallyport-plugin-host";

/// Where packages install it; the build can name another place.
const INSTALLED: &str = match option_env!("TALLYPORT_PLUGIN_HOST") {
    Some(path) => path,
    None => "/usr/libexec/tallyport/tallyport-plugin-host",
};

/// What a helper process may use that runs an exporter; what is `None` is the host's own limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HelperLimits {
    /// Bytes of address space: of code, stacks, the snapshot and all that is allocated.
    pub address_space_bytes: Option<u64>,
    /// Seconds of CPU time of one call.
    pub cpu_seconds: Option<u64>,
    /// Descriptors that are open at the same time.
    pub open_files: Option<u64>,
}

/// Finds the helper.
///
/// `configured` is `loading.plugin_host`: nothing else is looked at then.
///
/// # Errors
/// NotFound with every path that was looked at, and why it was not that one.
pub fn find_helper(configured: Option<&Path>, trust: &Trust) -> Result<PathBuf, Error> {
    let candidates = match configured {
        Some(path) => vec![path.to_owned()],
        None => candidates(own_object().as_deref()),
    };
    let mut why = Vec::new();
    for path in candidates {
        match usable(&path, trust) {
            Ok(real) => return Ok(real),
            Err(reason) => why.push(format!("`{}`: {reason}", path.display())),
        }
    }
    let message = format!("the helper program {HELPER_NAME} was not found: {}", why.join("; "));
    Err(Error::new(ErrorKind::NotFound, message).with_field("loading.plugin_host"))
}

/// Beside the library (or the program that it is linked into), then in its prefix, then installed.
fn candidates(own: Option<&Path>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    if let Some(folder) = own.and_then(Path::parent) {
        paths.push(folder.join(HELPER_NAME));
        paths.extend(
            folder.parent().map(|prefix| prefix.join("libexec/tallyport").join(HELPER_NAME)),
        );
    }
    paths.push(INSTALLED.into());
    paths.dedup();
    paths
}

fn usable(path: &Path, trust: &Trust) -> Result<PathBuf, Reason> {
    let (file, real) = trust.open(path)?;
    if file.metadata()?.permissions().mode() & 0o111 == 0 {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied).into());
    }
    Ok(real)
}

/// For the helper itself: it ends with its host, leaves no core file behind, and hands out memory
/// that is not zero, so that code which reads what nobody wrote does not go well by luck.
pub fn enter_helper() {
    fill_new_memory();
    guard_neighbours();
    // Where the system has no such thing, the host ends it.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
}

/// Gaps of 16 KiB that are filled.
const MAX_GAPS: usize = 16 << 10;

/// For the helper, before a file is loaded and after it: nothing that may be touched lies within
/// 2 GiB of the file's code, as far as an instruction of x86-64 reaches, so that a stray access that
/// would go well here by luck, and not in the host, does not.
pub fn guard_neighbours() {
    let guard = |bytes| {
        let guard = Mapping::untouchable(bytes).ok()?;
        let base = guard.base();
        // For as long as the helper runs.
        std::mem::forget(guard);
        Some(base)
    };
    let Some(large) = guard(2 << 30) else { return };
    // The gaps above it, where the file could find room between what may be touched.
    for _ in 0..MAX_GAPS {
        if guard(16 << 10).is_none_or(|small| small < large) {
            return;
        }
    }
}

/// For the helper, first of all, when it was not handed a descriptor: what its host left open without
/// close-on-exec is not kept open by it.
pub fn drop_inherited() {
    close_inherited();
}

/// For the helper, before each call into a plugin: leaves `round`'s pattern where the call's
/// variables will lie.
#[inline(never)]
pub fn litter_stack(round: usize) {
    // No address, then a small number, then nothing.
    let pattern = match round % 3 {
        0 => 0xa5a5_a5a5_a5a5_a5a5_u64,
        1 => 1,
        _ => 0,
    };
    black_box([black_box(pattern); LITTER_WORDS]);
}

/// 64 KiB.
const LITTER_WORDS: usize = 8192;

/// For the helper, after each call into a plugin: what the call damaged without a crash. Damage to
/// the heap is a crash here.
///
/// # Errors
/// PluginRefused, naming what it left wrong.
pub fn check_helper() -> Result<(), Error> {
    if reset_direction() {
        let message =
            "plugin file: its code is damaged, it left the processor's direction flag set";
        return Err(Error::new(ErrorKind::PluginRefused, message).with_field("path"));
    }
    // The C library's list of the environment lies where stray writes go: the host would find out
    // much later, and here it is a crash.
    black_box(env::vars_os().count());
    for _ in 0..2 {
        // More of each size than the allocator keeps aside, from the smallest to those that it maps.
        let sizes = (0..)
            .map(|step| (16_usize << (step / 2)) | (8 << (step % 2)))
            .take_while(|size| *size <= 1 << 18);
        let blocks: Vec<Vec<u8>> =
            sizes.flat_map(|size| (0..12).map(move |_| black_box(vec![0xa5; size]))).collect();
        // Freed in another order than they were made in.
        let (even, odd): (Vec<_>, Vec<_>) =
            blocks.into_iter().enumerate().partition(|(at, _)| at % 2 == 0);
        drop((odd, even));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_for_beside_the_library_first() {
        let names = |own: Option<&str>| {
            let found = candidates(own.map(Path::new));
            found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            names(Some("/opt/x/lib/libtallyport.so")),
            [
                "/opt/x/lib/tallyport-plugin-host",
                "/opt/x/libexec/tallyport/tallyport-plugin-host",
                INSTALLED
            ]
        );
        assert_eq!(names(None), [INSTALLED]);
    }

    #[test]
    fn an_error_names_every_path_and_why() {
        let trust = Trust::default();
        let error = find_helper(Some(Path::new("/nowhere/host")), &trust).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("`/nowhere/host`: No such file"), "{error}");
        let folder = find_helper(Some(Path::new("/etc")), &trust).unwrap_err();
        assert!(folder.to_string().contains("not a regular file"), "{folder}");
        let text = find_helper(Some(Path::new("/etc/passwd")), &trust).unwrap_err();
        assert!(text.to_string().contains("denied"), "{text}");
    }
}
