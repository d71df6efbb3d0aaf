//! `tallyport plugins new`: a vendor's project that builds, passes its test and the kit.
//!
//! The files are templates of this folder and the headers of this very build, so what comes out
//! fits the command that wrote it.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use crate::{
    console::Console,
    exit::{Exit, Failure},
};

pub(super) const HELP: &str = "\
Examples:
  tallyport plugins new --lang c graphite
  tallyport plugins new --lang cpp graphite ./exporters/graphite
  tallyport plugins new --lang rust graphite --sdk ../tallyport/plugin-api

The project needs a compiler and nothing of Tallyport: the headers are copied into it. A Rust
project needs the crate tallyport-plugin-api: --sdk says where it lies.
Nothing is overwritten: the folder must not be there, or be empty.";

const PLUGIN_H: &str = include_str!("../../../include/tallyport_plugin.h");
const PLUGIN_HPP: &str = include_str!("../../../include/tallyport_plugin.hpp");
const SNAPSHOT_HPP: &str = include_str!("../../../include/tallyport_plugin_snapshot.hpp");
const FLAT_JSON_H: &str = include_str!("../../../examples/plugins/flat_json.h");
const MAKEFILE: &str = include_str!("templates/common/Makefile.in");
const README: &str = include_str!("templates/common/README.md.in");
const TEST: &str = include_str!("templates/common/test.c.in");

/// Longest name of a project.
const MAX_NAME_BYTES: usize = 40;

/// Words of C, C++ and Rust, and names that cargo or a build keeps for itself.
const TAKEN: &[&str] = &[
    "abstract",
    "alignas",
    "alloc",
    "and",
    "as",
    "asm",
    "async",
    "auto",
    "await",
    "become",
    "bench",
    "bitand",
    "bitor",
    "bool",
    "box",
    "break",
    "build",
    "case",
    "catch",
    "char",
    "class",
    "compl",
    "concept",
    "const",
    "constexpr",
    "continue",
    "core",
    "crate",
    "debug",
    "decltype",
    "default",
    "delete",
    "deps",
    "do",
    "double",
    "dyn",
    "else",
    "enum",
    "examples",
    "explicit",
    "export",
    "extern",
    "false",
    "final",
    "float",
    "fn",
    "for",
    "friend",
    "gen",
    "goto",
    "if",
    "impl",
    "in",
    "incremental",
    "inline",
    "int",
    "let",
    "long",
    "loop",
    "macro",
    "main",
    "match",
    "mod",
    "move",
    "mut",
    "mutable",
    "namespace",
    "new",
    "noexcept",
    "not",
    "nullptr",
    "operator",
    "or",
    "override",
    "priv",
    "private",
    "proc-macro",
    "proc_macro",
    "protected",
    "pub",
    "public",
    "ref",
    "register",
    "release",
    "requires",
    "restrict",
    "return",
    "self",
    "short",
    "signed",
    "sizeof",
    "static",
    "std",
    "struct",
    "super",
    "switch",
    "tallyport",
    "template",
    "test",
    "tests",
    "this",
    "throw",
    "trait",
    "true",
    "try",
    "type",
    "typedef",
    "typeof",
    "typename",
    "union",
    "unsafe",
    "unsigned",
    "unsized",
    "use",
    "using",
    "virtual",
    "void",
    "volatile",
    "where",
    "while",
    "xor",
    "yield",
];

/// The language of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    // No help for each: clap would then spread every option over three lines.
    C,
    Cpp,
    Rust,
}

/// The flags of `plugins new`.
#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// Language of the project
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    lang: Language,
    /// Name of the exporter: lower-case letters, digits, `-` and `_`
    name: String,
    /// Folder of the project [default: NAME, here]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Folder of the crate tallyport-plugin-api, for Rust [default: the registry's]
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

/// Makes the project.
pub(crate) fn run(args: &NewArgs, console: Console) -> Result<(), Failure> {
    check_name(&args.name).map_err(|reason| {
        let failure = Failure::usage(format_args!("the name `{}` {reason}", args.name));
        failure.hint("a name is like `graphite` or `my-exporter`")
    })?;
    if args.sdk.is_some() && args.lang != Language::Rust {
        return Err(Failure::usage("--sdk is for --lang rust"));
    }
    let folder = args.folder.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    let files = files(args)?;
    check_folder(&folder)?;
    for (name, text) in &files {
        write(&folder.join(name), text).map_err(|error| {
            Failure::write(format_args!("`{}`", folder.join(name).display()), &error)
        })?;
    }
    let steps = match args.lang {
        Language::Rust => "cargo test && cargo build --release",
        Language::C | Language::Cpp => "make test && make check",
    };
    console.note(format_args!("`{}` has a plugin; try: {steps}", folder.display()));
    Ok(())
}

fn check_name(name: &str) -> Result<(), String> {
    let right = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(format!("is not 1 to {MAX_NAME_BYTES} characters long"));
    }
    if !name.bytes().all(right) {
        return Err("has other characters than a-z, 0-9, `-` and `_`".to_owned());
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || name.ends_with(['-', '_']) {
        return Err("does not start with a letter and end with a letter or digit".to_owned());
    }
    if TAKEN.contains(&name) {
        return Err("is a word of a language or a build".to_owned());
    }
    Ok(())
}

/// The folder must not be there, or be empty.
fn check_folder(folder: &Path) -> Result<(), Failure> {
    let refused = |reason: &str| {
        let what = format!("folder `{}`", folder.display());
        Err(Failure::new(Exit::Usage, what, reason).hint("nothing is overwritten; name another"))
    };
    match fs::read_dir(folder).map(|mut entries| entries.next().is_some()) {
        Ok(true) => refused("it is not empty"),
        Ok(false) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => refused("it is no folder"),
        Err(error) => Err(Failure::write(format_args!("folder `{}`", folder.display()), &error)),
    }
}

/// Writes a file that must not be there.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// The files of the project: path and text.
fn files(args: &NewArgs) -> Result<Vec<(String, String)>, Failure> {
    let name = &args.name;
    let filled = Filled { name, lang: args.lang };
    let mut files = match args.lang {
        Language::Rust => {
            let [sdk, sdk_testing] = sdk(args.sdk.as_deref())?;
            let manifest = filled.text(include_str!("templates/rust/Cargo.toml.in"));
            let manifest = manifest.replace("@SDK@", &sdk).replace("@SDK_TESTING@", &sdk_testing);
            vec![
                ("Cargo.toml".to_owned(), manifest),
                ("build.rs".to_owned(), filled.text(include_str!("templates/rust/build.rs.in"))),
                ("src/lib.rs".to_owned(), filled.text(include_str!("templates/rust/lib.rs.in"))),
                ("README.md".to_owned(), filled.text(include_str!("templates/rust/README.md.in"))),
            ]
        }
        Language::C => {
            let source = include_str!("templates/c/plugin.c.in");
            vec![(format!("src/{name}.c"), filled.text(source)), test(&filled)]
        }
        Language::Cpp => {
            let source = include_str!("templates/cpp/plugin.cpp.in");
            let header = |name: &str, text: &str| (format!("include/{name}"), text.to_owned());
            vec![
                (format!("src/{name}.cpp"), filled.text(source)),
                test(&filled),
                header("tallyport_plugin.hpp", PLUGIN_HPP),
                header("tallyport_plugin_snapshot.hpp", SNAPSHOT_HPP),
            ]
        }
    };
    if args.lang != Language::Rust {
        files.extend([
            ("Makefile".to_owned(), filled.text(MAKEFILE)),
            ("README.md".to_owned(), filled.text(README)),
            ("src/flat_json.h".to_owned(), FLAT_JSON_H.to_owned()),
            ("include/tallyport_plugin.h".to_owned(), PLUGIN_H.to_owned()),
        ]);
    }
    let ignored = if args.lang == Language::Rust { "/target\n" } else { "/build\n" };
    files.push((".gitignore".to_owned(), ignored.to_owned()));
    Ok(files)
}

fn test(filled: &Filled<'_>) -> (String, String) {
    (format!("tests/test.{}", filled.extension()), filled.text(TEST))
}

/// How Cargo.toml names the SDK: as it is used, and with its feature for tests.
fn sdk(folder: Option<&Path>) -> Result<[String; 2], Failure> {
    let Some(folder) = folder else {
        let version = env!("CARGO_PKG_VERSION");
        return Ok([
            format!("\"{version}\""),
            format!("{{ version = \"{version}\", features = [\"testing\"] }}"),
        ]);
    };
    if !folder.join("Cargo.toml").is_file() {
        let reason = format!("--sdk: `{}` has no Cargo.toml", folder.display());
        return Err(
            Failure::usage(reason).hint("it is the folder plugin-api of Tallyport's source")
        );
    }
    let folder = fs::canonicalize(folder);
    let folder = folder.map_err(|e| Failure::new(Exit::Unexpected, "--sdk", e))?;
    let Some(folder) = folder.to_str().filter(|path| !path.contains(['"', '\\', '\n'])) else {
        return Err(Failure::usage("--sdk: the path cannot be written into Cargo.toml"));
    };
    Ok([
        format!("{{ path = \"{folder}\" }}"),
        format!("{{ path = \"{folder}\", features = [\"testing\"] }}"),
    ])
}

/// What stands in a template for `@…@`.
struct Filled<'a> {
    name: &'a str,
    lang: Language,
}

impl Filled<'_> {
    fn extension(&self) -> &'static str {
        match self.lang {
            Language::C => "c",
            Language::Cpp => "cpp",
            Language::Rust => "rs",
        }
    }

    fn text(&self, template: &str) -> String {
        let (language, compiler, standard) = match self.lang {
            Language::C => ("C", "C", "c99"),
            Language::Cpp => ("C++", "CXX", "c++17"),
            Language::Rust => ("Rust", "", ""),
        };
        // CC and CFLAGS, CXX and CXXFLAGS.
        let program = if self.lang == Language::C { "CC" } else { "CXX" };
        template
            .replace("@NAME@", self.name)
            .replace("@IDENT@", &self.name.replace('-', "_"))
            .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
            .replace("@LANGUAGE@", language)
            .replace("@EXT@", self.extension())
            .replace("@STD@", standard)
            .replace("@VAR@FLAGS", &format!("{compiler}FLAGS"))
            .replace("@VAR@", program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_serves_as_a_file_a_crate_and_part_of_an_identifier() {
        for name in ["a", "graphite", "my-exporter", "x_2", &"x".repeat(40)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in [
            "", "Graphite", "2x", "-x", "x-", "x_", "a b", "a/b", "../x", "é", "x\0", "match",
            "class",
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_name(&"x".repeat(41)).is_err());
    }

    #[test]
    fn nothing_is_left_to_be_filled_in() {
        for lang in [Language::C, Language::Cpp, Language::Rust] {
            let args = NewArgs { lang, name: "my-name".into(), folder: None, sdk: None };
            for (path, text) in files(&args).unwrap() {
                assert!(!text.contains("@NAME@") && !text.contains("@VAR"), "{path}");
                assert!(!text.contains("@SDK") && !text.contains("@EXT"), "{path}");
            }
        }
    }
}
