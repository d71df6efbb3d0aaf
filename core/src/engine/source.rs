//! From a plugin entry of the configuration to its file, with what the file must be.

use std::path::{Path, PathBuf};

use super::config::{Config, PluginConfig};
#[cfg(target_os = "linux")]
use crate::plugin::{ProbeJob, can_what_the_manifest_says};
use crate::{
    model::{Error, ErrorKind},
    plugin::{
        FileInfo, Found, Known, LoadedFile, Loader, Manifest, PinnedLibrary, Probe, Request,
        SearchPath, Sha256, is_manifest, manifest_beside,
    },
};

/// The file that a plugin entry means. Finding it runs none of its code.
#[derive(Debug, Clone)]
pub struct PluginFile {
    path: PathBuf,
    sha256: Option<Sha256>,
    libraries: Vec<PinnedLibrary>,
    manifest: Option<Manifest>,
    probe: Option<Probe>,
}

impl PluginFile {
    /// Finds the file of an entry: its path, or what the search path has under its name.
    ///
    /// # Errors
    /// NotFound (PluginRefused for a `path`) with every folder that was searched; what is wrong with a manifest; PluginRefused
    /// for pins that contradict each other.
    pub fn find(config: &Config, name: &str, plugin: &PluginConfig) -> Result<Self, Error> {
        let search = || config.search_path();
        let found = match &plugin.path {
            Some(path) => {
                let file = config.base_dir.join(path);
                let bare = path.to_str().filter(|path| !path.contains('/'));
                match bare.filter(|_| file.symlink_metadata().is_err()) {
                    // A file that is named is a file that could not be found.
                    Some(bare) => {
                        let found = search().find(bare);
                        found.map_err(|error| error.with_kind(ErrorKind::PluginRefused))?
                    }
                    None if is_manifest(&file) => Found::Manifest(file),
                    None => Found::Library(file),
                }
            }
            None => search().find(name)?,
        };
        Self::with_pins(config, plugin, found)
    }

    /// Puts the pins of the configuration and of the manifest together.
    fn with_pins(config: &Config, plugin: &PluginConfig, found: Found) -> Result<Self, Error> {
        let trust = config.policy().trust;
        let pin = plugin.sha256.as_deref().map(str::parse::<Sha256>).transpose();
        let pin = pin.map_err(|rule| Error::invalid("sha256", format!("`sha256` {rule}")))?;
        let (path, manifest) = match found {
            Found::Manifest(path) => {
                let manifest = Manifest::read(&path, &trust)?;
                (manifest.library.clone(), Some(manifest))
            }
            // What the configuration pins needs nobody else's word.
            Found::Library(path) if pin.is_some() => (path, None),
            Found::Library(path) => {
                let manifest = manifest_beside(&path, &trust)?;
                (path, manifest)
            }
        };
        let said = manifest.as_ref().and_then(|manifest| manifest.sha256);
        if let (Some(pin), Some(said), Some(manifest)) = (pin, said, &manifest)
            && pin != said
        {
            let message = format!(
                "plugin file `{}`: the configuration pins {pin}, its manifest `{}` {said}",
                path.display(),
                manifest.path.display()
            );
            return Err(Error::new(ErrorKind::PluginRefused, message).with_field("sha256"));
        }
        let mut libraries = manifest.as_ref().map_or_else(Vec::new, |it| it.libraries.clone());
        for (name, library) in &plugin.libraries {
            let sha256 = library.sha256.parse().map_err(|rule| {
                Error::invalid("libraries", format!("`sha256` of `{name}` {rule}"))
            })?;
            libraries.retain(|other| other.name != *name);
            let (name, path) = (name.clone(), config.base_dir.join(&library.path));
            libraries.push(PinnedLibrary { name, path, sha256 });
        }
        let probe = plugin.probe.map(Into::into);
        Ok(Self { path, sha256: pin.or(said), libraries, manifest, probe })
    }

    /// The library.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks all that can be checked without running any of its code.
    ///
    /// # Errors
    /// As [`Loader::check`].
    pub fn check(&self, loader: &Loader) -> Result<FileInfo, Error> {
        loader.check(&self.request(Known::Refused))
    }

    /// Loads it.
    ///
    /// # Errors
    /// As [`Loader::load`].
    pub fn load(&self, loader: &Loader) -> Result<LoadedFile, Error> {
        self.load_as(loader, Known::Refused)
    }

    /// As [`PluginFile::load`], with what becomes of it when another version is loaded.
    pub(super) fn load_as(&self, loader: &Loader, known: Known) -> Result<LoadedFile, Error> {
        loader.load(&self.request(known))
    }

    /// Checks it, and finds the helper process's program that loads it instead.
    ///
    /// # Errors
    /// As [`Loader::check`]; PluginRefused without a helper.
    #[cfg(target_os = "linux")]
    pub(super) fn for_helper(&self, loader: &Loader) -> Result<(PathBuf, ProbeJob), Error> {
        loader.for_helper(&self.request(Known::Refused))
    }

    /// Whether what a helper found in it (ids and capabilities) can what its manifest says.
    ///
    /// # Errors
    /// PluginAbi, naming the exporter that cannot.
    #[cfg(target_os = "linux")]
    pub(super) fn has_capabilities<'a>(
        &self,
        exporters: impl Iterator<Item = (&'a str, u64)>,
    ) -> Result<(), Error> {
        let manifest = self.manifest.as_ref();
        manifest.map_or(Ok(()), |said| can_what_the_manifest_says(&self.path, exporters, said))
    }

    fn request(&self, known: Known) -> Request<'_> {
        Request {
            path: &self.path,
            sha256: self.sha256,
            libraries: &self.libraries,
            manifest: self.manifest.as_ref(),
            probe: self.probe,
            known,
        }
    }
}

impl Config {
    /// The folders that plugins named without a path are searched in.
    #[must_use]
    pub fn search_path(&self) -> SearchPath {
        SearchPath::new(&self.base_dir, self.loading.search_path.as_deref())
    }

    /// Loads plugin files as this configuration says.
    #[must_use]
    pub fn loader(&self) -> Loader {
        Loader::new(self.policy())
    }
}
