//! `cargo xtask headers`: the C headers, from the Rust types.
//!
//! cbindgen turns types and comments into C; this file adds what it cannot know: typed constants,
//! the part that both headers share, the layout hash, an assertion for every size and offset.
//! `--check` compares with what is checked in. Text that stands in a header lives in the crate's
//! cbindgen.toml, not here.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use cbindgen::{Builder, Config};
use tallyport_plugin_api::{
    LAYOUTS, TALLYPORT_PLUGIN_LAYOUT_HASH,
    abi::{TALLYPORT_PLUGIN_ABI_MAJOR, TALLYPORT_PLUGIN_ABI_MINOR},
};

use crate::{Outcome, constants};

const ABI: &str = "plugin-api/src/abi.rs";
const COMMON: &str = "plugin-api/cbindgen-common.toml";
const COMMON_GUARD: &str = "TALLYPORT_COMMON_";
const LICENCE: &str = "/* SPDX-License-Identifier: MIT OR Apache-2.0 */";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One generated header.
struct Header {
    output: &'static str,
    config: &'static str,
    /// A Rust file, or a folder whose files are all read.
    sources: &'static str,
    /// Files of that folder, each a section of the header, in this order; none: no sections.
    sections: &'static [&'static str],
    /// Goes before the types, after `after_includes` of the config.
    before: fn() -> String,
    /// Goes after the types, before `trailer` of the config.
    after: fn() -> String,
}

/// A header is made as soon as its config exists.
const HEADERS: &[Header] = &[
    Header {
        output: "include/tallyport_plugin.h",
        config: "plugin-api/cbindgen.toml",
        sources: ABI,
        sections: &[],
        before: layout_hash,
        after: layout_assertions,
    },
    Header {
        output: "include/tallyport.h",
        config: "ffi/cbindgen.toml",
        sources: "ffi/src",
        sections: &[
            "version",
            "error",
            "buf",
            "log_ring",
            "options",
            "engine",
            "family",
            "counter",
            "up_down_counter",
            "gauge",
            "histogram",
            "by_values",
            "collector",
            "snapshot",
            "export",
            "plugin",
            "event",
            "topic",
            "subscription",
            "handler",
            "registry",
            "sync",
            "store",
            "target",
            "serve",
            "fork",
        ],
        before: version_macros,
        after: String::new,
    },
];

/// Writes the headers, or with `--check` compares them.
pub(crate) fn run(root: &Path, args: &[&str]) -> Outcome {
    let check = match args {
        [] => false,
        ["--check"] => true,
        _ => return Err("usage: cargo xtask headers [--check]".to_owned()),
    };
    let mut stale = Vec::new();
    for header in HEADERS {
        if !root.join(header.config).exists() {
            println!("{}: skipped, no {}", header.output, header.config);
            continue;
        }
        let wanted = generate(root, header)?;
        let path = root.join(header.output);
        let present = fs::read_to_string(&path).unwrap_or_default();
        if wanted == present {
            println!("{}: up to date", header.output);
        } else if check {
            print_difference(header.output, &present, &wanted);
            stale.push(header.output);
        } else {
            fs::write(&path, wanted).map_err(|e| format!("{}: {e}", header.output))?;
            println!("{}: written", header.output);
        }
    }
    if stale.is_empty() {
        Ok(())
    } else {
        Err(format!("{} differ from the Rust types; run cargo xtask headers", stale.join(", ")))
    }
}

fn generate(root: &Path, header: &Header) -> Result<String, String> {
    let mut config = config(root, header.config)?;
    let guard =
        config.include_guard.take().ok_or(format!("{}: no include_guard", header.config))?;
    let title = config.header.take().unwrap_or_default();
    let prelude = config.after_includes.take().unwrap_or_default();
    let trailer = config.trailer.take().unwrap_or_default();
    let system = std::mem::take(&mut config.sys_includes);
    let own_includes = std::mem::take(&mut config.includes);

    let shared = Names::of_common(root)?;
    let files = rust_files(&root.join(header.sources))?;
    let mut source = String::new();
    for file in &files {
        source.push_str(&read(file)?);
    }
    let own = Names::of(&source);
    if header.sources == ABI {
        // Nothing refers to these types but each other, so cbindgen would drop them.
        config.export.include = own.types;
    }
    config.export.exclude.extend(shared.types.iter().chain(&shared.constants).cloned());
    let body = if header.sections.is_empty() {
        bindings(config, &files, &source)?
    } else {
        sections(root, header, &config, &files)?
    };
    let common = common(root, &shared)?;

    let mut out =
        format!("{LICENCE}\n/* Tallyport {VERSION}. Generated by cargo xtask headers. */\n");
    out.push_str(title.trim_start());
    let _ = writeln!(out, "\n#ifndef {guard}\n#define {guard}\n");
    for include in system {
        let _ = writeln!(out, "#include <{include}>");
    }
    for include in own_includes {
        let _ = writeln!(out, "#include \"{include}\"");
    }
    let _ = writeln!(out, "\n#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n{common}");
    for part in [prelude.trim(), (header.before)().trim(), body.trim(), (header.after)().trim()] {
        if !part.is_empty() {
            let _ = writeln!(out, "{part}\n");
        }
    }
    let _ = writeln!(out, "{}\n\n#ifdef __cplusplus\n}}\n#endif\n", trailer.trim());
    let _ = writeln!(out, "#endif /* {guard} */");
    Ok(out)
}

/// The bindings file by file, each under the title that the file's own comment begins with.
fn sections(
    root: &Path,
    header: &Header,
    config: &Config,
    files: &[PathBuf],
) -> Result<String, String> {
    let path = |name: &&str| root.join(header.sources).join(format!("{name}.rs"));
    let listed: Vec<PathBuf> = header.sections.iter().map(path).collect();
    for file in files.iter().filter(|file| !listed.contains(file)) {
        if read(file)?.contains("#[unsafe(no_mangle)]") {
            return Err(format!("{}: has C entries, and is no section here", file.display()));
        }
    }
    let mut out = String::new();
    for file in &listed {
        let source = read(file)?;
        let title = source.lines().next().and_then(|line| line.strip_prefix("//! "));
        let title = title.ok_or(format!("{}: begins with no //! title", file.display()))?;
        let mut config = config.clone();
        // A type that only other files use is of this section all the same.
        config.export.include = Names::of(&source).types;
        let body = bindings(config, std::slice::from_ref(file), &source)?;
        let _ = writeln!(out, "/* {} */\n/* {title} */\n\n{}\n", "-".repeat(92), body.trim());
    }
    Ok(out)
}

/// What both headers bring, behind a guard of its own.
fn common(root: &Path, shared: &Names) -> Result<String, String> {
    let mut config = config(root, COMMON)?;
    let prelude = config.after_includes.take().unwrap_or_default();
    let source = read(&root.join(ABI))?;
    let all = Names::of(&source);
    let unshared = |names: Vec<String>, keep: &[String]| {
        names.into_iter().filter(|name| !keep.contains(name)).collect::<Vec<_>>()
    };
    config.export.exclude = unshared(all.types, &shared.types);
    config.export.exclude.extend(unshared(all.constants, &shared.constants));
    let body = bindings(config, &[root.join(ABI)], &source)?;
    Ok(format!(
        "#ifndef {COMMON_GUARD}\n#define {COMMON_GUARD}\n\n{}\n\n{}\n\n#endif /* {COMMON_GUARD} */\n",
        prelude.trim(),
        body.trim()
    ))
}

/// Names of the types and constants that a header defines.
struct Names {
    types: Vec<String>,
    constants: Vec<String>,
}

impl Names {
    fn of(source: &str) -> Self {
        let types = source.lines().filter_map(|line| {
            let rest =
                line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub type "))?;
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
            rest.get(..end).map(str::to_owned)
        });
        Self { types: types.collect(), constants: constants::types(source).into_keys().collect() }
    }

    fn of_common(root: &Path) -> Result<Self, String> {
        let types = config(root, COMMON)?.export.include;
        // Statuses and log levels, the only signed numbers of the ABI; kinds and number types.
        let shared = |(name, ty): &(String, String)| {
            let prefixes = ["TALLYPORT_KIND_", "TALLYPORT_NUMBER_"];
            ty == "i32" || prefixes.iter().any(|prefix| name.starts_with(prefix))
        };
        let constants = constants::types(&read(&root.join(ABI))?).into_iter().filter(shared);
        Ok(Self { types, constants: constants.map(|(name, _)| name).collect() })
    }
}

fn bindings(config: Config, files: &[PathBuf], source: &str) -> Result<String, String> {
    let builder = files.iter().fold(Builder::new().with_config(config), Builder::with_src);
    let mut bytes = Vec::new();
    builder.generate().map_err(|e| format!("cbindgen: {e}"))?.write(&mut bytes);
    let text = String::from_utf8(bytes).map_err(|e| format!("cbindgen: {e}"))?;
    constants::typed(&one_line_comments(&text), &constants::types(source))
}

/// `/**`, ` * text`, ` */` become `/** text */` where the line stays short.
fn one_line_comments(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let (mut rest, mut out) = (lines.as_slice(), String::with_capacity(text.len()));
    while let [first, after @ ..] = rest {
        rest = after;
        if let [middle, last, beyond @ ..] = after
            && first.trim() == "/**"
            && last.trim() == "*/"
            && let Some(words) = middle.trim().strip_prefix("* ")
        {
            let indent = first.len() - first.trim_start().len();
            let line = format!("{:indent$}/** {words} */", "");
            if line.chars().count() <= 100 {
                let _ = writeln!(out, "{line}");
                rest = beyond;
                continue;
            }
        }
        let _ = writeln!(out, "{first}");
    }
    out
}

fn layout_hash() -> String {
    format!(
        "/** ABI {TALLYPORT_PLUGIN_ABI_MAJOR}.{TALLYPORT_PLUGIN_ABI_MINOR}: hash of every name, \
         size and offset of the structs below. */\n\
         #define TALLYPORT_PLUGIN_LAYOUT_HASH UINT64_C(0x{TALLYPORT_PLUGIN_LAYOUT_HASH:016X})"
    )
}

fn layout_assertions() -> String {
    let mut out = "/* The layout that the host was built with, field by field. */\n".to_owned();
    for layout in LAYOUTS {
        let name = layout.name;
        let _ = writeln!(out, "TALLYPORT_SIZE_({name}, {});", layout.size);
        for (field, offset) in layout.fields {
            let _ = writeln!(out, "TALLYPORT_OFFSET_({name}, {field}, {offset});");
        }
    }
    out
}

fn version_macros() -> String {
    let mut parts = VERSION.split(['.', '-', '+']);
    let mut next = || parts.next().unwrap_or("0");
    format!(
        "/** Version of this header. */\n#define TALLYPORT_VERSION_STRING \"{VERSION}\"\n\
         #define TALLYPORT_VERSION_MAJOR {}\n#define TALLYPORT_VERSION_MINOR {}\n\
         #define TALLYPORT_VERSION_PATCH {}",
        next(),
        next(),
        next()
    )
}

fn config(root: &Path, path: &str) -> Result<Config, String> {
    Config::from_file(root.join(path)).map_err(|e| format!("{path}: {e}"))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// `path` itself, or every Rust file under it, in the order of their names.
pub(crate) fn rust_files(path: &Path) -> Result<Vec<PathBuf>, String> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    let fail = |e: std::io::Error| format!("{}: {e}", path.display());
    for entry in fs::read_dir(path).map_err(fail)? {
        let entry = entry.map_err(fail)?.path();
        if entry.is_dir() {
            files.extend(rust_files(&entry)?);
        } else if entry.extension().is_some_and(|ext| ext == "rs") {
            files.push(entry);
        }
    }
    files.sort();
    Ok(files)
}

/// The lines between the first and the last that differ: enough to see what to regenerate.
fn print_difference(name: &str, present: &str, wanted: &str) {
    let (old, new): (Vec<&str>, Vec<&str>) = (present.lines().collect(), wanted.lines().collect());
    let same = |pair: &(&&str, &&str)| pair.0 == pair.1;
    let head = old.iter().zip(&new).take_while(same).count();
    let longest_tail = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(longest_tail).take_while(same).count();
    println!("--- {name}, checked in, from line {}\n+++ {name}, generated", head + 1);
    for (sign, lines) in [('-', &old), ('+', &new)] {
        for line in lines.iter().take(lines.len() - tail).skip(head) {
            println!("{sign}{line}");
        }
    }
}
