//! The helper program: code that may crash or hang runs in it and not in the host.
//!
//! `tallyport-plugin-host` comes with the library and speaks a protocol of its version. It is
//! looked for where the configuration says, else beside the library and where it was installed;
//! never in `PATH`. It is believed by the same rules as a plugin file.

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    image::own_object,
    policy::{Reason, Trust},
};
use crate::model::{Error, ErrorKind};

/// Its file name.
pub const HELPER_NAME: &str = "tallyport-plugin-host";

/// Where packages install it; the build can name another place.
const INSTALLED: &str = match option_env!("TALLYPORT_PLUGIN_HOST") {
    Some(path) => path,
    None => "/usr/libexec/tallyport/tallyport-plugin-host",
};

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

/// For the helper itself: it ends with its host, and leaves no core file behind.
pub fn enter_helper() {
    // Where the system has no such thing, the host ends it.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
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
