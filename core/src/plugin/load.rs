//! From a file to its exporters' tables: whose it is, what it is, the probe, dlopen, negotiation.
//!
//! Nothing here holds a lock of the engine: constructors of the file run inside dlopen, under the
//! system loader's own lock. A loaded file is never unmapped: unloading Rust, Go or threaded C
//! code is not safe.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use libloading::os::unix::Library;
use parking_lot::Mutex;
use tallyport_plugin_api::{abi::tallyport_plugin_set, layout_check};

use super::{
    helper::find_helper,
    image::{entry, open, same_as_checked},
    negotiate::Abi,
    pin::Sha256,
    policy::{Trust, open_pinned},
    probe::{self, Probe, ProbeJob},
    table::Table,
    verify::{FileInfo, read, refused, verify},
};
use crate::model::{Error, ErrorKind};

/// A loaded plugin file.
#[derive(Debug)]
pub struct LoadedFile {
    /// Absolute path.
    pub path: PathBuf,
    /// What its descriptor says.
    pub info: FileInfo,
    /// Its exporters.
    pub tables: Vec<Arc<Table>>,
}

/// How files are loaded.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Who may have written a file without a pin.
    pub trust: Trust,
    /// When a file is tried in the helper program first.
    pub probe: Probe,
    /// How long it may take there.
    pub probe_timeout: Duration,
    /// The helper program; `None`: it is looked for, see [`find_helper`].
    pub plugin_host: Option<PathBuf>,
}

impl Default for Policy {
    /// Trusts root and the user of this process; no probe, which is the configuration's to ask for.
    fn default() -> Self {
        Self {
            trust: Trust::default(),
            probe: Probe::Never,
            probe_timeout: Duration::from_secs(10),
            plugin_host: None,
        }
    }
}

/// Loads files by a policy. Any thread.
#[derive(Debug)]
pub struct Loader {
    policy: Policy,
    host: Abi,
    /// What passed the probe: the same bytes need no second one.
    probed: Mutex<BTreeSet<Sha256>>,
}

/// Most hashes of probed files that are kept.
const MAX_PROBED: usize = 1024;

impl Default for Loader {
    fn default() -> Self {
        Self::new(Policy::default())
    }
}

impl Loader {
    /// A loader with this policy.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { policy, host: Abi::OURS, probed: Mutex::default() }
    }

    /// Checks, probes and loads a plugin file, and negotiates with it; `probe` comes before the
    /// policy's.
    ///
    /// # Errors
    /// PluginRefused or PluginAbi, naming the file and the reason; the host lives.
    pub fn load(&self, path: &Path, probe: Option<Probe>) -> Result<LoadedFile, Error> {
        // Absolute, because dlopen searches elsewhere for a name without a slash.
        let path = std::path::absolute(path).map_err(|e| refused(path, e))?;
        let opened = self.policy.trust.open(&path);
        let (file, real) = opened.map_err(|reason| reason.of_plugin(&path))?;
        let bytes = read(&path, file)?;
        let info = verify(&path, &bytes, self.host)?;
        let probe = probe.unwrap_or(self.policy.probe);
        if probe != Probe::Never {
            self.probe(&path, &real, &bytes, probe)?;
        }
        load_checked(path, &real, &bytes, info, self.host)
    }

    /// Tries the file in the helper, unless these bytes were before.
    fn probe(&self, path: &Path, real: &Path, bytes: &[u8], probe: Probe) -> Result<(), Error> {
        let sha256 = Sha256::of(bytes);
        if self.probed.lock().contains(&sha256) {
            return Ok(());
        }
        let helper = match find_helper(self.policy.plugin_host.as_deref(), &self.policy.trust) {
            Ok(helper) => helper,
            Err(error) if probe == Probe::Always => {
                return Err(refused(
                    path,
                    format!("it cannot be tried before it is loaded: {error}"),
                ));
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), "loaded without a probe: {error}");
                return Ok(());
            }
        };
        let job = ProbeJob { file: real.to_owned(), sha256 };
        probe::run(&helper, &job, self.policy.probe_timeout)?;
        let mut probed = self.probed.lock();
        if probed.len() < MAX_PROBED {
            probed.insert(sha256);
        }
        Ok(())
    }
}

impl ProbeJob {
    /// Loads the file, in the helper.
    ///
    /// # Errors
    /// As [`Loader::load`]; PluginRefused for a file that changed since the host read it.
    pub fn load(&self) -> Result<LoadedFile, Error> {
        // The host has looked at who owns it.
        let file = open_pinned(&self.file).map_err(|reason| reason.of_plugin(&self.file))?;
        let bytes = read(&self.file, file)?;
        if Sha256::of(&bytes) != self.sha256 {
            return Err(refused(&self.file, "it changed while it was loaded"));
        }
        let info = verify(&self.file, &bytes, Abi::OURS)?;
        load_checked(self.file.clone(), &self.file, &bytes, info, Abi::OURS)
    }
}

/// Verifies and loads a plugin file with the default [`Policy`], and negotiates with it.
///
/// # Errors
/// As [`Loader::load`].
pub fn load_file(path: &Path) -> Result<LoadedFile, Error> {
    load_for(path, Abi::OURS)
}

/// As [`load_file`], for a host of `host`.
pub(super) fn load_for(path: &Path, host: Abi) -> Result<LoadedFile, Error> {
    Loader { host, ..Loader::default() }.load(path, None)
}

fn load_checked(
    path: PathBuf,
    real: &Path,
    bytes: &[u8],
    info: FileInfo,
    host: Abi,
) -> Result<LoadedFile, Error> {
    let library = open(&path, real)?;
    let query = entry(&path, &library)?;
    same_as_checked(&path, query as *const libc::c_void, bytes)?;
    // SAFETY: the entry point of a Tallyport plugin (its descriptor says so), with our ABI.
    // Test: plugin_defects_have_their_status.
    let set = unsafe { query(host.0) };
    let origin = path.display().to_string();
    // SAFETY: what the entry returns is a static set, by the ABI.
    let tables = unsafe { Table::read_set_for(set, &origin, host) }?;
    // The check's types are frozen for each minor: a file of another one has others.
    if info.rust && Abi::from(info.abi) == host {
        check_rust_types(&path, &library.library, set)?;
    }
    // The image stays mapped for ever, so its handle is never closed.
    std::mem::forget(library.library);
    Ok(LoadedFile { path, info, tables })
}

fn check_rust_types(
    path: &Path,
    library: &Library,
    set: *const tallyport_plugin_set,
) -> Result<(), Error> {
    // SAFETY: only the symbol's address is taken.
    let symbol = unsafe { library.get::<*const ()>(layout_check::SYMBOL.to_bytes_with_nul()) };
    let Ok(symbol) = symbol else {
        return Err(refused(
            path,
            "its descriptor names the Rust SDK, but it has no layout header",
        ));
    };
    let address = symbol.into_raw().cast_const().cast::<()>();
    // SAFETY: the SDK's static of that name, in a file that stays mapped.
    match unsafe { layout_check::check(address, set) } {
        Ok(()) => Ok(()),
        Err([line, full]) => {
            tracing::error!(path = %path.display(), "layout check: {full}");
            let message =
                format!("plugin file `{}`: its Rust types differ: {line}", path.display());
            Err(Error::new(ErrorKind::PluginAbi, message).with_field("path"))
        }
    }
}
