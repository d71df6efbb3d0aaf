//! What is installed, where, and which package of Debian's it belongs to.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::texts;

/// The version of the workspace.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The number in the library's SONAME: the ABI's major (docs/ABI.md).
pub(crate) const SOVERSION: u32 = 1;
/// What a static host links besides the archive: `cargo rustc -- --print native-static-libs`.
pub(crate) const STATIC_LIBS: &[&str] = &["gcc_s", "util", "rt", "pthread", "m", "dl"];

/// The folders of an installation.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// `/usr/local`, `/usr`.
    pub(crate) prefix: String,
    /// Below it: `lib`, `lib64`, `lib/x86_64-linux-gnu`.
    pub(crate) libdir: String,
}

impl Layout {
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self { prefix, libdir } = self;
        if !prefix.starts_with('/') {
            return Err(format!("--prefix {prefix}: a prefix is an absolute path"));
        }
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        if !libdir.split('/').all(plain) || !prefix.split('/').skip(1).all(plain) {
            return Err(format!("{prefix}/{libdir}: `.`, `..` and `//` are no part of a prefix"));
        }
        // What goes into pkg-config and CMake files unquoted.
        match prefix.chars().chain(libdir.chars()).find(|c| " \"'\\$;#\n".contains(*c)) {
            Some(c) => Err(format!("{prefix}/{libdir}: pkg-config and CMake cannot carry {c:?}")),
            None => Ok(()),
        }
    }
}

/// Who a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Programs that run.
    Library,
    /// Programs that are compiled.
    Development,
    /// Operators.
    Command,
}

/// Where a file's content comes from.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// A copy, with these permissions.
    Copy(PathBuf, u32),
    /// A text, readable by all.
    Text(String),
    /// A symbolic link to a name beside it.
    Link(String),
}

/// One file of an installation.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// Below the root of the system, without a leading `/`.
    pub(crate) path: String,
    pub(crate) part: Part,
    pub(crate) content: Content,
}

/// Everything that is installed.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) files: Vec<File>,
}

/// An exporter that is a library of its own.
pub(crate) struct Exporter {
    pub(crate) package: String,
    /// The file that cargo makes.
    built: String,
    /// Its name in the folder of plugins: what a configuration calls it by.
    name: String,
}

/// The crates of `exporters/` and the built-in exporters as a file: every library with the entry point.
pub(crate) fn exporters(root: &Path) -> Result<Vec<Exporter>, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let said = Command::new(cargo).current_dir(root).args(arguments).output();
    let said = said.map_err(|error| format!("cargo metadata: {error}"))?;
    let metadata: Value = serde_json::from_slice(&said.stdout)
        .map_err(|e| format!("cargo metadata: {e}: {}", String::from_utf8_lossy(&said.stderr)))?;
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned();
    let text = |value: &Value, key: &str| {
        value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let mut found = Vec::new();
    for package in list(&metadata, "packages").unwrap_or_default() {
        let manifest = PathBuf::from(text(&package, "manifest_path"));
        let place = manifest.strip_prefix(root).unwrap_or(&manifest);
        if !place.starts_with("exporters") && !place.starts_with("builtin-exporters/loadable") {
            continue;
        }
        for target in list(&package, "targets").unwrap_or_default() {
            let kinds = list(&target, "crate_types").unwrap_or_default();
            if !kinds.iter().any(|kind| kind == "cdylib") {
                continue;
            }
            let lib = text(&target, "name").replace('-', "_");
            let short = lib.strip_prefix("tallyport_").unwrap_or(&lib);
            let short = short.strip_suffix("_loadable").unwrap_or(short);
            let short = short.strip_suffix("_exporter").unwrap_or(short);
            let short = short.strip_prefix("exporter_").unwrap_or(short);
            found.push(Exporter {
                package: text(&package, "name"),
                built: format!("lib{lib}.so"),
                name: format!("{}.so", short.replace('_', "-")),
            });
        }
    }
    match found.is_empty() {
        true => Err("no exporter was found in the workspace".to_owned()),
        false => Ok(found),
    }
}

impl Plan {
    /// What an installation has, from what was built in `from`.
    pub(crate) fn new(root: &Path, from: &Path, layout: &Layout) -> Result<Self, String> {
        let prefix = layout.prefix.trim_start_matches('/');
        let below = |folder: &str, name: &str| format!("{prefix}/{folder}/{name}");
        let library = |name: &str| below(&layout.libdir, name);
        let mut files = Vec::new();
        let mut add = |part, path: String, content| files.push(File { path, part, content });

        let real = format!("libtallyport.so.{SOVERSION}.{VERSION}");
        let soname = format!("libtallyport.so.{SOVERSION}");
        let built = |name: &str, mode| Content::Copy(from.join(name), mode);
        add(Part::Library, library(&real), built("libtallyport.so", 0o644));
        add(Part::Library, library(&soname), Content::Link(real));
        let host = "tallyport-plugin-host";
        add(Part::Library, below("libexec/tallyport", host), built(host, 0o755));

        add(Part::Development, library("libtallyport.so"), Content::Link(soname));
        add(Part::Development, library("libtallyport.a"), built("libtallyport.a", 0o644));
        for header in names_in(&root.join("include"))? {
            let content = Content::Copy(root.join("include").join(&header), 0o644);
            add(Part::Development, below("include", &header), content);
        }
        for (name, text) in texts::pkg_config(layout) {
            let path = library(&format!("pkgconfig/{name}"));
            add(Part::Development, path, Content::Text(text));
        }
        for (name, text) in texts::cmake(layout) {
            let path = library(&format!("cmake/tallyport/{name}"));
            add(Part::Development, path, Content::Text(text));
        }

        add(Part::Command, below("bin", "tallyport"), built("tallyport", 0o755));
        // Where the library looks for plugins without a path, whatever the folder of libraries is.
        for exporter in exporters(root)? {
            let path = below("lib/tallyport/plugins", &exporter.name);
            add(Part::Command, path, built(&exporter.built, 0o644));
        }
        for (path, content) in papers(&from.join("tallyport"), layout)? {
            add(Part::Command, format!("{prefix}/share/{path}"), content);
        }
        Ok(Self { files })
    }
}

/// Manual pages and completions, as the command itself writes them; below `share`.
fn papers(command: &Path, layout: &Layout) -> Result<Vec<(String, Content)>, String> {
    let mut found = Vec::new();
    let folder = std::env::temp_dir().join(format!("tallyport-man-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let told = tell(command, &["man", &folder.to_string_lossy()]);
    let pages = told.and_then(|_| {
        for name in names_in(&folder)? {
            let text =
                fs::read_to_string(folder.join(&name)).map_err(|e| format!("{name}: {e}"))?;
            found.push((format!("man/man1/{name}"), Content::Text(text)));
        }
        Ok(())
    });
    // Left behind it is a few files in the system's folder for such.
    let _ = fs::remove_dir_all(&folder);
    pages?;
    // Debian's zsh reads what packages install elsewhere than what administrators do.
    let zsh = match layout.prefix.as_str() {
        "/usr" => "zsh/vendor-completions/_tallyport",
        _ => "zsh/site-functions/_tallyport",
    };
    for (shell, path) in [
        ("bash", "bash-completion/completions/tallyport"),
        ("zsh", zsh),
        ("fish", "fish/vendor_completions.d/tallyport.fish"),
    ] {
        found.push((path.to_owned(), Content::Text(tell(command, &["completions", shell])?)));
    }
    Ok(found)
}

/// What the command that was built writes.
fn tell(command: &Path, arguments: &[&str]) -> Result<String, String> {
    let what = || format!("{} {}", command.display(), arguments.join(" "));
    let said = Command::new(command).args(arguments).output();
    let said = said.map_err(|e| format!("{}: {e}; build it first: make build", what()))?;
    match said.status.success() {
        true => String::from_utf8(said.stdout).map_err(|e| format!("{}: {e}", what())),
        false => Err(format!("{}: {}", what(), String::from_utf8_lossy(&said.stderr))),
    }
}

/// The files of a folder, by name.
fn names_in(folder: &Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| format!("{}: {e}", folder.display()))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(prefix: &str, libdir: &str) -> Layout {
        Layout { prefix: prefix.to_owned(), libdir: libdir.to_owned() }
    }

    #[test]
    fn a_prefix_that_no_file_can_carry_is_refused_by_name() {
        layout("/opt/a-b_c.d", "lib/x86_64-linux-gnu").check().unwrap();
        for (prefix, libdir) in [
            ("usr", "lib"),
            ("/a b", "lib"),
            ("/a/../b", "lib"),
            ("/a", "../lib"),
            ("/a", ""),
            ("/$x", "lib"),
            ("/a//b", "lib"),
        ] {
            let said = layout(prefix, libdir).check().unwrap_err();
            assert!(said.contains(prefix), "{said}");
        }
    }
}
