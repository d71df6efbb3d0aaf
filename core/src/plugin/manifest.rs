//! Manifests: what a vendor says of a plugin in a TOML file, before the library is touched.
//!
//! `NAME.plugin.toml` lies beside the library or in a folder of the search path. It names the
//! library for each platform, and may pin it. It is believed by the rules for files without a pin
//! (`policy.rs`), so a pin of it replaces those rules for the library. Everything that is wrong in
//! it is reported at once, with line, column and key.
//!
//! ```toml
//! manifest = 1
//! id = "com.example.statsd"
//! version = "1.2.0"
//! description = "Lines for statsd"
//! vendor = "Example Inc."
//! homepage = "https://example.com/statsd"
//! capabilities = ["concurrent", "out_of_proc"]
//!
//! [library.linux-x86_64]
//! file = "libstatsd.so"
//! sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
//! ```

use std::{
    collections::BTreeMap,
    env::consts::{ARCH, OS},
    io::Read,
    path::{Component, Path, PathBuf},
};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tallyport_plugin_api::abi::{
    TALLYPORT_CAP_CANCEL, TALLYPORT_CAP_CONCURRENT, TALLYPORT_CAP_FORK_AWARE,
    TALLYPORT_CAP_OUT_OF_PROC, TALLYPORT_CAP_UNLOAD_SAFE, TALLYPORT_CAP_WRITES_SINK,
};

use super::{
    pin::{PinnedLibrary, Sha256},
    policy::Trust,
};
use crate::model::{
    Error, ErrorKind,
    document::Document,
    problems::ConfigErrors,
    schema::{KeyPath, Schema, Violation, ViolationKind},
};

/// How the name of a manifest ends.
pub const MANIFEST_SUFFIX: &str = ".plugin.toml";
/// A manifest past this size is a mistake.
const MAX_BYTES: u64 = 1 << 20;

/// A manifest, for this platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its path.
    pub path: PathBuf,
    /// Identity of the library.
    pub id: String,
    /// Version of the library.
    pub version: String,
    /// One line.
    pub description: String,
    /// Who makes it.
    pub vendor: String,
    /// Where there is more about it.
    pub homepage: String,
    /// What the exporters of the library can do, as `TALLYPORT_CAP_*` bits.
    pub capabilities: u64,
    /// The library for this platform.
    pub library: PathBuf,
    /// What the library must be.
    pub sha256: Option<Sha256>,
    /// What the library needs besides the system's, pinned.
    pub libraries: Vec<PinnedLibrary>,
}

/// The file, key by key. The first paragraph of each field is its description in the schema.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// The version of this format: 1.
    #[schemars(extend("const" = 1))]
    #[serde(rename = "manifest")]
    _manifest: u32,
    /// Identity: the id in the library's descriptor.
    #[schemars(length(min = 1))]
    id: String,
    /// Version: the one in the library's descriptor.
    #[schemars(length(min = 1))]
    version: String,
    /// One line for people.
    #[serde(default)]
    description: String,
    /// Who makes it.
    #[serde(default)]
    vendor: String,
    /// Where there is more about it.
    #[serde(default)]
    homepage: String,
    /// What every exporter of the library can do.
    #[serde(default)]
    capabilities: Vec<Capability>,
    /// The library for each platform: `linux-x86_64`, `linux-aarch64`, `macos-aarch64` …
    library: BTreeMap<String, LibraryKeys>,
}

/// The library for one platform.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LibraryKeys {
    /// The file, in the manifest's folder or below it.
    #[schemars(length(min = 1))]
    file: String,
    /// Its SHA-256: 64 hexadecimal digits.
    sha256: Option<String>,
    /// Libraries that it needs besides the system's, by the names under which it needs them.
    #[serde(default)]
    libraries: BTreeMap<String, NeededKeys>,
}

/// A library that the plugin needs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NeededKeys {
    /// The file, in the manifest's folder or below it.
    #[schemars(length(min = 1))]
    file: String,
    /// Its SHA-256: 64 hexadecimal digits.
    sha256: String,
}

#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Capability {
    Concurrent,
    Cancel,
    OutOfProc,
    UnloadSafe,
    ForkAware,
    WritesSink,
}

impl Capability {
    fn bit(self) -> u64 {
        match self {
            Self::Concurrent => TALLYPORT_CAP_CONCURRENT,
            Self::Cancel => TALLYPORT_CAP_CANCEL,
            Self::OutOfProc => TALLYPORT_CAP_OUT_OF_PROC,
            Self::UnloadSafe => TALLYPORT_CAP_UNLOAD_SAFE,
            Self::ForkAware => TALLYPORT_CAP_FORK_AWARE,
            Self::WritesSink => TALLYPORT_CAP_WRITES_SINK,
        }
    }
}

/// This platform, as manifests call it.
#[must_use]
pub fn platform() -> String {
    format!("{OS}-{ARCH}")
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// PluginRefused for one that is missing or that somebody who is not trusted could have
    /// written; Config with every key that is wrong and its line; Unsupported for one that names no
    /// library for this platform.
    pub fn read(path: &Path, trust: &Trust) -> Result<Self, Error> {
        let refused = |reason: &dyn std::fmt::Display| {
            let message = format!("plugin manifest `{}`: {reason}", path.display());
            Error::new(ErrorKind::PluginRefused, message).with_field("path")
        };
        let (file, real) = trust.open(path).map_err(|reason| refused(&reason))?;
        let mut bytes = Vec::new();
        let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| refused(&error))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(refused(&format!("it is larger than {MAX_BYTES} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|_| refused(&"it is not UTF-8"))?;
        Self::parse(&text, &path.display().to_string(), real)?.ok_or_else(|| {
            let message =
                format!("plugin manifest `{}` names no library for {}", path.display(), platform());
            Error::new(ErrorKind::Unsupported, message).with_field("library")
        })
    }

    /// `None`: it has nothing for this platform.
    fn parse(text: &str, origin: &str, path: PathBuf) -> Result<Option<Self>, ConfigErrors> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let document = Document::parse(text, origin)?;
        let (root, mut violations) = document.to_json();
        let root = Value::Object(root);
        let bug = |error: &dyn std::fmt::Display| {
            ConfigErrors::of_file(origin, format!("a bug in Tallyport: {error}"))
        };
        let schema = Schema::compile(&Self::json_schema()).map_err(|error| bug(&error))?;
        violations.extend(schema.check(&root));
        if !violations.is_empty() {
            return Err(document.errors(&violations));
        }
        let keys: Keys = serde_json::from_value(root).map_err(|error| bug(&error))?;
        let violations = rules(&keys);
        if !violations.is_empty() {
            return Err(document.errors(&violations));
        }
        Ok(Self::of(keys, path))
    }

    fn of(mut keys: Keys, path: PathBuf) -> Option<Self> {
        let LibraryKeys { file, sha256, libraries } = keys.library.remove(&platform())?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let libraries = libraries.into_iter().filter_map(|(name, needed)| {
            let sha256 = needed.sha256.parse().ok()?;
            Some(PinnedLibrary { name, path: folder.join(needed.file), sha256 })
        });
        Some(Self {
            libraries: libraries.collect(),
            library: folder.join(file),
            sha256: sha256.and_then(|text| text.parse().ok()),
            path,
            id: keys.id,
            version: keys.version,
            description: keys.description,
            vendor: keys.vendor,
            homepage: keys.homepage,
            capabilities: keys.capabilities.iter().fold(0, |all, one| all | one.bit()),
        })
    }

    /// The JSON Schema of manifests.
    #[must_use]
    pub fn json_schema() -> Value {
        schemars::schema_for!(Keys).to_value()
    }
}

/// What a schema cannot say.
fn rules(keys: &Keys) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut wrong = |path: KeyPath, message: &str| {
        violations.push(Violation::new(path, ViolationKind::NotAllowed, message));
    };
    for (platform, library) in &keys.library {
        let table = KeyPath::keys(&["library", platform]);
        if let Some(message) = outside(&library.file) {
            wrong(table.clone().then("file"), message);
        }
        if let Some(Err(message)) = library.sha256.as_ref().map(|text| text.parse::<Sha256>()) {
            wrong(table.clone().then("sha256"), message);
        }
        if library.sha256.is_none() && !library.libraries.is_empty() {
            wrong(table.clone().then("libraries"), "needs a `sha256` beside it");
        }
        for (name, needed) in &library.libraries {
            let table = table.clone().then("libraries").then(name.as_str());
            if let Some(message) = outside(&needed.file) {
                wrong(table.clone().then("file"), message);
            }
            if let Err(message) = needed.sha256.parse::<Sha256>() {
                wrong(table.clone().then("sha256"), message);
            }
        }
    }
    violations
}

/// Why a file is not one of the manifest's folder.
fn outside(file: &str) -> Option<&'static str> {
    if file.contains('\0') {
        return Some("must not contain a NUL character");
    }
    let inside = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
    (!inside).then_some("must be a file in the manifest's folder or below it, without `..`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Manifest>, String> {
        let path = PathBuf::from("/v/x.plugin.toml");
        Manifest::parse(text, "x.plugin.toml", path).map_err(|errors| errors.to_string())
    }

    fn minimal(rest: &str) -> String {
        format!("manifest = 1\nid = 'com.example.x'\nversion = '1'\n{rest}")
    }

    #[test]
    fn a_manifest_names_the_library_of_this_platform() {
        let sha = Sha256::of(b"");
        let text = minimal(&format!(
            "capabilities = ['concurrent', 'writes_sink']\nvendor = 'V'\n\
             [library.{p}]\nfile = 'lib/x.so'\nsha256 = '{sha}'\n\
             [library.{p}.libraries.'liby.so.1']\nfile = 'y.so'\nsha256 = '{sha}'\n\
             [library.plan9-vax]\nfile = 'x.a'\n",
            p = platform()
        ));
        let manifest = parse(&text).unwrap().unwrap();
        assert_eq!(manifest.library, Path::new("/v/lib/x.so"));
        assert_eq!((manifest.sha256, &*manifest.vendor), (Some(sha), "V"));
        assert_eq!(manifest.capabilities, TALLYPORT_CAP_CONCURRENT | TALLYPORT_CAP_WRITES_SINK);
        let path = PathBuf::from("/v/y.so");
        let library = PinnedLibrary { name: "liby.so.1".to_owned(), path, sha256: sha };
        assert_eq!(manifest.libraries, [library]);
        assert_eq!(parse(&minimal("library.plan9-vax.file = 'x'")), Ok(None));
    }

    #[test]
    fn every_key_that_is_wrong_has_its_line() {
        let said = |text: &str| parse(text).unwrap_err();
        assert_eq!(
            said("manifest = 2\nversion = ''\ncapabilites = []\n"),
            "x.plugin.toml:1:1: missing key `id`\n\
             x.plugin.toml:1:1: missing key `library`\n\
             x.plugin.toml:1:12: `manifest`: must be 1\n\
             x.plugin.toml:2:11: `version`: must have at least 1 character, has 0\n\
             x.plugin.toml:3:1: unknown key `capabilites` (did you mean `capabilities`?)"
        );
        let capability = said(&minimal("library = {}\ncapabilities = ['cancle']"));
        assert!(capability.starts_with("x.plugin.toml:5:17: `capabilities[0]`:"), "{capability}");
        assert!(capability.ends_with("(did you mean `cancel`?)"), "{capability}");
        for file in ["/etc/x.so", "../x.so", "a/../../x.so", ".", "", "x\\u0000y"] {
            let said = said(&minimal(&format!("[library.a]\nfile = \"{file}\"")));
            assert!(said.starts_with("x.plugin.toml:5:8: `library.a.file`: must"), "{said}");
        }
        assert_eq!(
            said(&minimal("[library.a]\nfile = 'x'\nsha256 = 'abc'")),
            "x.plugin.toml:6:10: `library.a.sha256`: is no SHA-256: 64 hexadecimal digits, as \
             `sha256sum` prints them"
        );
        let needed = "[library.a]\nfile = 'x'\nlibraries.b = { file = '/y', sha256 = '' }";
        assert_eq!(said(&minimal(needed)).lines().count(), 3);
        assert!(said("manifest =").starts_with("x.plugin.toml:1:"));
    }
}
