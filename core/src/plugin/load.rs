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
use tallyport_plugin_api::{abi::tallyport_plugin_set, layout_check};

use super::{
    helper::find_helper,
    image::{entry, open, same_as_checked},
    manifest::Manifest,
    needed::load_needed,
    negotiate::Abi,
    pin::{PinnedLibrary, Sha256},
    policy::{Trust, open_pinned},
    probe::{self, Failed, Probe, ProbeJob},
    stage::{is_other_version, note_path, open_bytes, staged_without},
    table::Table,
    verify::{FileInfo, read, refused, verify},
};
use crate::model::{Error, ErrorKind, Mutex, gate};

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
    /// Copies of files that this process may map: of pinned ones, and of what was reloaded. They are
    /// never unmapped.
    pub max_images: usize,
}

impl Default for Policy {
    /// Trusts root and the user of this process; no probe, which is the configuration's to ask for.
    fn default() -> Self {
        Self {
            trust: Trust::default(),
            probe: Probe::Never,
            probe_timeout: Duration::from_secs(10),
            plugin_host: None,
            max_images: 64,
        }
    }
}

/// A file that is to be loaded.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its path.
    pub path: &'a Path,
    /// What it must be; the very bytes that are checked are loaded then, whoever owns the file.
    pub sha256: Option<Sha256>,
    /// What a pinned file needs besides the system's libraries.
    pub libraries: &'a [PinnedLibrary],
    /// What it must say of itself.
    pub manifest: Option<&'a Manifest>,
    /// Comes before the policy's.
    pub probe: Option<Probe>,
    /// What if the process has another version of the file loaded.
    pub known: Known,
}

/// What becomes of a file of which the process has another version loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It is refused: by its path the system's loader would give the other one.
    Refused,
    /// It is loaded beside the other one, from a copy.
    Beside,
}

impl<'a> Request<'a> {
    /// A file without a pin and without a manifest.
    #[must_use]
    pub fn new(path: &'a Path) -> Self {
        Self {
            path,
            sha256: None,
            libraries: &[],
            manifest: None,
            probe: None,
            known: Known::Refused,
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

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Checks, probes and loads a plugin file, and negotiates with it.
    ///
    /// # Errors
    /// PluginRefused or PluginAbi, naming the file and the reason; the host lives.
    pub fn load(&self, request: &Request<'_>) -> Result<LoadedFile, Error> {
        let checked = self.checked(request)?;
        let probe = match request.probe.unwrap_or(self.policy.probe) {
            Probe::Auto if request.sha256.is_some() => Probe::Never,
            probe => probe,
        };
        if probe != Probe::Never {
            self.probe(&checked, probe)?;
        }
        let beside = request.known == Known::Beside
            && is_other_version(&checked.job.file, checked.job.sha256);
        let copied = beside || checked.job.pinned;
        if copied {
            self.check_room(&checked)?;
        }
        let loaded = checked.load(self.host, copied)?;
        match request.manifest {
            Some(manifest) => loaded.can_what_the_manifest_says(manifest),
            None => Ok(loaded),
        }
    }

    /// Checks whose a file is and what it is. None of its code runs, here or elsewhere.
    ///
    /// # Errors
    /// As [`Loader::load`].
    pub fn check(&self, request: &Request<'_>) -> Result<FileInfo, Error> {
        self.checked(request).map(|checked| checked.info)
    }

    /// Checks a plugin file that a helper is to load, and finds the helper.
    ///
    /// # Errors
    /// As [`Loader::check`]; PluginRefused without a helper.
    #[cfg(target_os = "linux")]
    pub(crate) fn for_helper(&self, request: &Request<'_>) -> Result<(PathBuf, ProbeJob), Error> {
        let Checked { path, job, .. } = self.checked(request)?;
        let helper = find_helper(self.policy.plugin_host.as_deref(), &self.policy.trust);
        let helper = helper.map_err(|error| {
            refused(&path, format!("it cannot run in another process: {error}"))
        })?;
        Ok((helper, job))
    }

    fn checked(&self, request: &Request<'_>) -> Result<Checked, Error> {
        // Absolute, because dlopen searches elsewhere for a name without a slash.
        let path = std::path::absolute(request.path).map_err(|e| refused(request.path, e))?;
        let opened = match request.sha256 {
            Some(_) => open_pinned(&path).map(|file| (file, path.clone())),
            None => self.policy.trust.open(&path),
        };
        let (file, real) = opened.map_err(|reason| reason.of_plugin(&path))?;
        let bytes = read(&path, file)?;
        let sha256 = Sha256::of(&bytes);
        if let Some(wanted) = request.sha256.filter(|wanted| *wanted != sha256) {
            return Err(refused(&path, format!("its sha256 is {sha256}; the pin says {wanted}")));
        }
        let pinned = request.sha256.is_some();
        let job = ProbeJob { file: real, sha256, pinned, libraries: request.libraries.to_vec() };
        let info = verify(&path, &bytes, self.host)?;
        let checked = Checked { path, bytes, info, job };
        if let Some(manifest) = request.manifest {
            checked.is_what_the_manifest_says(manifest)?;
        }
        Ok(checked)
    }

    /// Checks that one more copy may be mapped.
    fn check_room(&self, checked: &Checked) -> Result<(), Error> {
        match staged_without(checked.job.sha256) {
            Some(count) if count >= self.policy.max_images => {
                let message = format!(
                    "plugin file `{}`: {count} copies of plugin files are mapped, and they are never \
                     unmapped (`loading.max_images`); restart the process to load further ones",
                    checked.path.display()
                );
                Err(Error::new(ErrorKind::Limit, message).with_field("path"))
            }
            _ => Ok(()),
        }
    }

    /// Tries the file in the helper, unless these bytes were before.
    fn probe(&self, checked: &Checked, probe: Probe) -> Result<(), Error> {
        let (path, job) = (&checked.path, &checked.job);
        if self.probed.lock().contains(&job.sha256) {
            return Ok(());
        }
        let unable = |why: String| match probe {
            Probe::Always => {
                Err(refused(path, format!("it cannot be tried before it is loaded: {why}")))
            }
            _ => {
                tracing::warn!(path = %path.display(), "loaded without a probe: {why}");
                Ok(())
            }
        };
        let helper = match find_helper(self.policy.plugin_host.as_deref(), &self.policy.trust) {
            Ok(helper) => helper,
            Err(error) => return unable(error.to_string()),
        };
        match probe::run(&helper, job, self.policy.probe_timeout) {
            Ok(()) => {}
            Err(Failed::NotStarted(error)) => {
                return unable(format!("`{}`: {error}", helper.display()));
            }
            Err(Failed::Refused(error)) => return Err(error),
        }
        let mut probed = self.probed.lock();
        if probed.len() < MAX_PROBED {
            probed.insert(job.sha256);
        }
        Ok(())
    }
}

/// A plugin file that was read once and checked. Nothing of it ran.
struct Checked {
    /// As the configuration has it.
    path: PathBuf,
    bytes: Vec<u8>,
    info: FileInfo,
    /// What is loaded, here or in the helper.
    job: ProbeJob,
}

impl Checked {
    fn is_what_the_manifest_says(&self, manifest: &Manifest) -> Result<(), Error> {
        let FileInfo { id, version, .. } = &self.info;
        for (what, own, said) in [("id", id, &manifest.id), ("version", version, &manifest.version)]
        {
            if own != said {
                let reason = format!(
                    "its {what} is `{own}`; its manifest `{}` says `{said}`",
                    manifest.path.display()
                );
                return Err(refused(&self.path, reason).with_kind(ErrorKind::PluginAbi));
            }
        }
        Ok(())
    }

    /// Has the system's loader open it, or a copy of the bytes, and negotiates.
    fn load(self, host: Abi, copied: bool) -> Result<LoadedFile, Error> {
        let Self { path, bytes, info, job } = self;
        let (library, code) = if copied {
            load_needed(&path, &bytes, &job.libraries)?;
            open_bytes(&path, &bytes, job.sha256)?
        } else {
            (open(&path, &job.file)?, false)
        };
        let query = entry(&path, &library)?;
        same_as_checked(&path, query as *const libc::c_void, &bytes, code)?;
        if !copied {
            note_path(&job.file, job.sha256);
        }
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
        library.keep();
        Ok(LoadedFile { path, info, tables })
    }
}

impl LoadedFile {
    fn can_what_the_manifest_says(self, manifest: &Manifest) -> Result<Self, Error> {
        let capabilities = self.tables.iter().map(|table| (table.id.as_str(), table.caps));
        can_what_the_manifest_says(&self.path, capabilities, manifest)?;
        Ok(self)
    }
}

impl ProbeJob {
    /// Loads the file, in the helper.
    ///
    /// # Errors
    /// As [`Loader::load`]; PluginRefused for a file that changed since the host read it.
    pub fn load(self) -> Result<LoadedFile, Error> {
        // The host has looked at who owns it.
        let path = self.file.clone();
        let file = open_pinned(&path).map_err(|reason| reason.of_plugin(&path))?;
        let bytes = read(&path, file)?;
        if Sha256::of(&bytes) != self.sha256 {
            return Err(refused(&path, "it changed since it was looked at"));
        }
        let info = verify(&path, &bytes, Abi::OURS)?;
        let checked = Checked { path, bytes, info, job: self };
        let copied = checked.job.pinned;
        checked.load(Abi::OURS, copied)
    }
}

/// Whether each exporter of a file (its id and its capabilities) can what the manifest says.
pub(crate) fn can_what_the_manifest_says<'a>(
    file: &Path,
    mut exporters: impl Iterator<Item = (&'a str, u64)>,
    manifest: &Manifest,
) -> Result<(), Error> {
    let lacking = exporters.find(|(_, caps)| caps & manifest.capabilities != manifest.capabilities);
    let Some((id, _)) = lacking else { return Ok(()) };
    let reason = format!(
        "its exporter `{id}` lacks a capability that its manifest `{}` names",
        manifest.path.display()
    );
    Err(refused(file, reason).with_kind(ErrorKind::PluginAbi))
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
    Loader { host, ..Loader::default() }.load(&Request::new(path))
}

fn check_rust_types(
    path: &Path,
    library: &Library,
    set: *const tallyport_plugin_set,
) -> Result<(), Error> {
    // SAFETY: only the symbol's address is taken.
    let symbol = gate::within(|| unsafe {
        library.get::<*const ()>(layout_check::SYMBOL.to_bytes_with_nul())
    });
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
