//! The texts of the Debian packages.

use std::{fs, path::Path, process::Command};

use super::tell;
use crate::install::plan::{Part, SOVERSION, VERSION};

/// The Debian revision: raised when the same version is packed anew.
const REVISION: u32 = 1;

/// Who packs: as Debian's own tools have it, DEBFULLNAME and DEBEMAIL.
fn maintainer() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let name = variable("DEBFULLNAME").unwrap_or("The Tallyport developers".to_owned());
    let mail = variable("DEBEMAIL").unwrap_or("tallyport@example.org".to_owned());
    format!("{name} <{mail}>")
}

/// One package.
pub(super) struct Package {
    pub(super) part: Part,
    section: &'static str,
    summary: &'static str,
    /// Lines of at most 79 characters.
    about: &'static [&'static str],
    /// Tags of lintian that do not apply, and why.
    overrides: &'static [(&'static str, &'static str)],
}

const LINKED_IN: (&str, &str) = (
    "embedded-library",
    "SQLite is linked in, so that hosts of the archive and of other systems need none installed",
);

const NO_UPLOAD: (&str, &str) = (
    "initial-upload-closes-no-bugs",
    "packed by Tallyport itself: this is no upload to Debian, and no bug of Debian's asks for it",
);

/// The library's first: the others depend on it.
pub(super) fn packages() -> [Package; 3] {
    [
        Package {
            part: Part::Library,
            section: "libs",
            summary: "embeddable metrics engine (shared library)",
            about: &[
                "Tallyport records counters, gauges and histograms at the speed of memory, in",
                "C, C++, Ruby and Rust programs, and exports them through exporters that are",
                "shared libraries.",
                "",
                "This package has the shared library, and the program in which it tries and",
                "isolates exporters.",
            ],
            overrides: &[LINKED_IN, NO_UPLOAD],
        },
        Package {
            part: Part::Development,
            section: "libdevel",
            summary: "embeddable metrics engine (development files)",
            about: &[
                "Tallyport records counters, gauges and histograms at the speed of memory, in",
                "C, C++, Ruby and Rust programs, and exports them through exporters that are",
                "shared libraries.",
                "",
                "This package has the headers for hosts and exporters, the static library, and",
                "what pkg-config and CMake find them by.",
            ],
            overrides: &[NO_UPLOAD],
        },
        Package {
            part: Part::Command,
            section: "utils",
            summary: "embeddable metrics engine (command)",
            about: &[
                "Tallyport records counters, gauges and histograms at the speed of memory, in",
                "C, C++, Ruby and Rust programs, and exports them through exporters that are",
                "shared libraries.",
                "",
                "This package has the command by which operators export what hosts recorded,",
                "check configurations and exporters, and the exporters that are files.",
            ],
            overrides: &[LINKED_IN, NO_UPLOAD],
        },
    ]
}

impl Package {
    pub(super) fn name(&self) -> String {
        match self.part {
            Part::Library => format!("libtallyport{SOVERSION}"),
            Part::Development => "libtallyport-dev".to_owned(),
            Part::Command => "tallyport".to_owned(),
        }
    }

    /// The files of `DEBIAN`.
    pub(super) fn metadata(
        &self,
        architecture: &str,
        depends: &str,
        kibibytes: u64,
    ) -> Vec<(&'static str, String)> {
        let (name, version) = (self.name(), format!("{VERSION}-{REVISION}"));
        let own = match self.part {
            Part::Library => String::new(),
            Part::Development => format!("libtallyport{SOVERSION} (= {version})"),
            Part::Command => format!("libtallyport{SOVERSION} (>= {version})"),
        };
        let depends = [own.as_str(), depends].into_iter().filter(|text| !text.is_empty());
        let depends: Vec<&str> = depends.collect();
        // The helper lies where one architecture has room, so the library is not for several at once.
        let multi = if self.part == Part::Command { "Multi-Arch: foreign\n" } else { "" };
        let about = self.about.iter().map(|line| if line.is_empty() { "." } else { line });
        let about: String = about.map(|line| format!(" {line}\n")).collect();
        let control = format!(
            "Package: {name}\n\
             Source: tallyport\n\
             Version: {version}\n\
             Architecture: {architecture}\n\
             Maintainer: {}\n\
             Installed-Size: {kibibytes}\n\
             Depends: {}\n\
             Section: {}\n\
             Priority: optional\n\
             {multi}\
             Description: {}\n{about}",
            maintainer(),
            depends.join(", "),
            self.section,
            self.summary,
        );
        let mut files = vec![("control", control)];
        if self.part == Part::Library {
            files.push(("shlibs", format!("libtallyport {SOVERSION} {name} (>= {VERSION})\n")));
            files.push(("triggers", "activate-noawait ldconfig\n".to_owned()));
        }
        files
    }

    /// What lies in the folder of documents, and what lintian is told.
    pub(super) fn documents(
        &self,
        root: &Path,
        time: &str,
    ) -> Result<Vec<(String, String)>, String> {
        let name = self.name();
        let read = |file: &str| {
            fs::read_to_string(root.join(file)).map_err(|error| format!("{file}: {error}"))
        };
        let mut date = Command::new("date");
        let date = tell(date.env("LC_ALL", "C").args(["-uR", &format!("--date=@{time}")]))?;
        let changelog = format!(
            "tallyport ({VERSION}-{REVISION}) unstable; urgency=medium\n\n\
             \x20 * Release {VERSION}; the changelog of tallyport says what is new.\n\n\
             \x20-- {}  {}\n",
            maintainer(),
            date.trim()
        );
        let doc = format!("usr/share/doc/{name}");
        let mut files = vec![
            (format!("{doc}/changelog.Debian"), changelog),
            (format!("{doc}/copyright"), copyright(&read("LICENSE-MIT")?)),
        ];
        if self.part == Part::Command {
            files.push((format!("{doc}/README.md"), read("README.md")?));
            files.push((format!("{doc}/changelog"), read("CHANGELOG.md")?));
        }
        let lines = self.overrides.iter().map(|(tag, why)| format!("# {why}\n{name}: {tag} *\n"));
        files.push((format!("usr/share/lintian/overrides/{name}"), lines.collect()));
        Ok(files)
    }
}

/// Debian's machine-readable form; `mit` is the licence's text.
fn copyright(mit: &str) -> String {
    let holder = mit.lines().find(|line| line.starts_with("Copyright")).unwrap_or("Copyright");
    let holder = holder.trim_start_matches("Copyright").trim().trim_start_matches("(c)").trim();
    let body: String = mit
        .lines()
        .skip_while(|line| !line.starts_with("Permission"))
        .map(|line| if line.trim().is_empty() { " .\n".to_owned() } else { format!(" {line}\n") })
        .collect();
    format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: Tallyport\n\n\
         Files: *\n\
         Copyright: {holder}\n\
         License: Expat or Apache-2.0\n\n\
         License: Expat\n{body}\n\
         License: Apache-2.0\n \
         On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.\n"
    )
}
