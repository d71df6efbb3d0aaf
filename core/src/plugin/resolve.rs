//! From a name to a file: the folders that are searched, in their order.
//!
//! 1. the configuration's folder and its `plugins` folder;
//! 2. `loading.search_path`, if the configuration has it, and then nothing else;
//! 3. `TALLYPORT_PLUGIN_PATH`;
//! 4. the user's: `$XDG_DATA_HOME/tallyport/plugins`, else `~/.local/share/tallyport/plugins`;
//! 5. the system's: `/usr/local/lib/tallyport/plugins`, then `/usr/lib/tallyport/plugins`.
//!
//! The environment (3 and 4) is read when a name is searched, and never by a process that has more
//! rights than who started it. The first folder that has something of that name decides: if that
//! is refused, nothing of a later folder takes its place. Discovery lists what is there; only what
//! the configuration or the program names is loaded.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use super::{
    manifest::{MANIFEST_SUFFIX, Manifest},
    policy::Trust,
    verify::{FileInfo, inspect_file},
};
use crate::model::{Error, ErrorKind, platform::is_secure_execution};

/// The variable that adds folders.
pub const PATH_VARIABLE: &str = "TALLYPORT_PLUGIN_PATH";
/// How the name of a library ends.
const SUFFIX: &str = if cfg!(target_os = "macos") { ".dylib" } else { ".so" };
/// The system's folders.
const SYSTEM: [&str; 2] = ["/usr/local/lib/tallyport/plugins", "/usr/lib/tallyport/plugins"];
/// Most entries of a folder that discovery looks at.
const MAX_ENTRIES: usize = 10_000;

/// A folder that is searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Its path.
    pub path: PathBuf,
    /// Why it is searched.
    pub source: &'static str,
}

/// The folders that plugins named without a path are searched in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPath {
    /// In the order in which they are searched.
    pub folders: Vec<Folder>,
}

/// What a name led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A library.
    Library(PathBuf),
    /// A manifest, which names the library.
    Manifest(PathBuf),
}

/// Something that could be loaded if the configuration named it.
#[derive(Debug, Clone)]
pub struct Discovered {
    /// The manifest or library.
    pub path: PathBuf,
    /// The name that a configuration calls it by.
    pub name: String,
    /// What it says of itself, or why it would be refused. None of its code was run.
    pub info: Result<FileInfo, Error>,
}

impl SearchPath {
    /// The folders for a configuration in `base_dir` with this `loading.search_path`.
    #[must_use]
    pub fn new(base_dir: &Path, configured: Option<&[PathBuf]>) -> Self {
        let variable = |name: &str| match is_secure_execution() {
            true => None,
            false => env::var_os(name).filter(|value| !value.is_empty()),
        };
        let mut folders = Vec::new();
        let mut add = |path: PathBuf, source| {
            // A folder of the environment that depends on where the process is says nothing.
            if path.is_absolute() {
                folders.push(Folder { path, source });
            }
        };
        // A program without a configuration file has no folder; the working directory is none.
        let base_dir = match base_dir.as_os_str().is_empty() {
            true => PathBuf::new(),
            false => std::path::absolute(base_dir).unwrap_or_default(),
        };
        add(base_dir.clone(), "the configuration's folder");
        add(base_dir.join("plugins"), "the configuration's folder");
        if let Some(configured) = configured {
            for path in configured {
                add(base_dir.join(path), "loading.search_path");
            }
            return Self { folders };
        }
        let listed = variable(PATH_VARIABLE);
        for path in listed.iter().flat_map(env::split_paths) {
            add(path, PATH_VARIABLE);
        }
        let data = variable("XDG_DATA_HOME").map(PathBuf::from);
        let home = || Some(PathBuf::from(variable("HOME")?).join(".local/share"));
        if let Some(data) = data.filter(|path| path.is_absolute()).or_else(home) {
            add(data.join("tallyport/plugins"), "the user's plugins");
        }
        for path in SYSTEM {
            add(path.into(), "the system's plugins");
        }
        Self { folders }
    }

    /// Finds what a name means: a file name of a library, or a plugin's name.
    ///
    /// # Errors
    /// NotFound with every folder that was searched and what it lacks; InvalidArgument for a name
    /// with a `/`, or that is no name.
    pub fn find(&self, name: &str) -> Result<Found, Error> {
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(Error::invalid("path", format!("{name:?} is no name of a plugin")));
        }
        let names = candidates(name);
        let mut why = Vec::new();
        for Folder { path, source } in &self.folders {
            for candidate in &names {
                let file = path.join(candidate);
                match fs::symlink_metadata(&file) {
                    Ok(_) if candidate.ends_with(MANIFEST_SUFFIX) => {
                        return Ok(Found::Manifest(file));
                    }
                    Ok(_) => return Ok(Found::Library(file)),
                    Err(error) if is_absent(&error) => {}
                    // It may be there: nothing of a later folder takes its place.
                    Err(error) => {
                        let what = format!("plugin `{name}`: `{}`", file.display());
                        return Err(Error::io(what, &error)
                            .with_kind(ErrorKind::PluginRefused)
                            .with_field("path"));
                    }
                }
            }
            let lacks = match fs::metadata(path) {
                Ok(metadata) if metadata.is_dir() => format!("has no {}", names.join(", ")),
                Ok(_) => "is no folder".to_owned(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    "does not exist".to_owned()
                }
                Err(error) => error.to_string(),
            };
            why.push(format!("`{}` ({source}) {lacks}", path.display()));
        }
        let searched = match why.is_empty() {
            true => "there is no folder to search".to_owned(),
            false => why.join("; "),
        };
        let message = format!("no plugin file of the name `{name}` was found: {searched}");
        Err(Error::new(ErrorKind::NotFound, message).with_field("path"))
    }

    /// Lists what is there, by folder and name. Nothing is loaded.
    #[must_use]
    pub fn discover(&self, trust: &Trust) -> Vec<Discovered> {
        let mut found: Vec<Discovered> = Vec::new();
        for folder in &self.folders {
            let entries = fs::read_dir(&folder.path).into_iter().flatten().flatten();
            let paths = entries.take(MAX_ENTRIES).map(|entry| entry.path());
            let mut here: Vec<Discovered> = paths.filter_map(|path| look(path, trust)).collect();
            // What a manifest names is listed once.
            let named: Vec<PathBuf> = here
                .iter()
                .filter(|one| is_manifest(&one.path))
                .filter_map(|one| Manifest::read(&one.path, trust).ok())
                .map(|manifest| manifest.library)
                .collect();
            let real = |path: &Path| fs::canonicalize(path).ok();
            here.retain(|one| !named.iter().any(|library| real(library) == real(&one.path)));
            here.sort_by(|a, b| a.path.cmp(&b.path));
            found.append(&mut here);
        }
        found
    }
}

/// The manifest that lies beside a library and is about it.
pub(crate) fn manifest_beside(library: &Path, trust: &Trust) -> Result<Option<Manifest>, Error> {
    let stem = library.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let short = stem.strip_prefix("lib").unwrap_or(stem);
    for name in [short, stem] {
        let path = library.with_file_name(format!("{name}{MANIFEST_SUFFIX}"));
        if fs::symlink_metadata(&path).is_err() {
            continue;
        }
        let manifest = Manifest::read(&path, trust)?;
        if manifest.library.file_name() == library.file_name() {
            return Ok(Some(manifest));
        }
    }
    Ok(None)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn candidates(name: &str) -> Vec<String> {
    if name.ends_with(SUFFIX) || name.contains(".so.") || name.ends_with(MANIFEST_SUFFIX) {
        return vec![name.to_owned()];
    }
    vec![
        format!("{name}{MANIFEST_SUFFIX}"),
        format!("lib{name}{SUFFIX}"),
        format!("{name}{SUFFIX}"),
    ]
}

/// Whether a path is a manifest's, by its name.
pub(crate) fn is_manifest(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.ends_with(MANIFEST_SUFFIX))
}

/// A manifest or a Tallyport plugin; any other file is nothing.
fn look(path: PathBuf, trust: &Trust) -> Option<Discovered> {
    let file = path.file_name()?.to_str()?;
    if let Some(name) = file.strip_suffix(MANIFEST_SUFFIX) {
        let name = name.to_owned();
        let info =
            Manifest::read(&path, trust).and_then(|manifest| inspect_file(&manifest.library));
        return Some(Discovered { path, name, info });
    }
    let stem = file.strip_suffix(SUFFIX)?;
    let name = stem.strip_prefix("lib").unwrap_or(stem).to_owned();
    let info = match inspect_file(&path) {
        Ok(info) => trust.open(&path).map(|_| info).map_err(|reason| reason.of_plugin(&path)),
        // Some other library, or a damaged one.
        Err(error) if error.kind() == ErrorKind::PluginRefused => return None,
        Err(error) => Err(error),
    };
    Some(Discovered { path, name, info })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_search_path_takes_the_place_of_the_others() {
        let configured = [PathBuf::from("/opt/p"), PathBuf::from("own")];
        let path = SearchPath::new(Path::new("/etc/x"), Some(&configured));
        let folders: Vec<_> = path.folders.iter().map(|one| one.path.to_str().unwrap()).collect();
        assert_eq!(folders, ["/etc/x", "/etc/x/plugins", "/opt/p", "/etc/x/own"]);
    }

    #[test]
    fn names_lead_to_files_and_file_names_to_themselves() {
        assert_eq!(candidates("statsd"), ["statsd.plugin.toml", "libstatsd.so", "statsd.so"]);
        for file in ["libx.so", "libx.so.1", "x.plugin.toml"] {
            assert_eq!(candidates(file), [file]);
        }
        let path = SearchPath { folders: Vec::new() };
        for name in ["", ".", "..", "a/b", "a\0b"] {
            assert_eq!(path.find(name).unwrap_err().kind(), ErrorKind::InvalidArgument, "{name}");
        }
    }
}
