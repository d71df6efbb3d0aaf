//! The interface of headers as a list: constants, functions, structs with sizes and offsets.
//!
//! What stands in a header is read from its text; what a compiler makes of it is asked from one.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    fs,
    path::Path,
    process::Command,
    str::FromStr,
};

use super::{HEADERS, read};
use crate::deb::tell;

/// Constants that say which version a header is of: they change with each.
const VERSIONS: &[&str] = &[
    "TALLYPORT_VERSION_",
    "TALLYPORT_ABI_VERSION",
    "TALLYPORT_PLUGIN_ABI",
    "TALLYPORT_PLUGIN_LAYOUT_HASH",
];

/// A field of a struct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) declaration: String,
}

/// A struct that hosts and plugins see inside of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Struct {
    pub(super) size: u64,
    /// In the order of their offsets.
    pub(super) fields: Vec<(String, Field)>,
}

/// What headers declare, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Interface {
    pub(super) constants: BTreeMap<String, String>,
    pub(super) functions: BTreeMap<String, String>,
    pub(super) structs: BTreeMap<String, Struct>,
}

/// A header without comments and without lines for the preprocessor.
fn code(header: &str) -> String {
    let mut code = String::new();
    let mut rest = header;
    while let Some((before, comment)) = rest.split_once("/*") {
        code.push_str(before);
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    code.push_str(rest);
    let lines = code.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

/// White space and `struct` before a name say nothing: where one is needed depends on the order in the
/// header.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace("( ", "(").replace("struct tallyport_", "tallyport_")
}

/// The declarations of functions, each on one line without its `;`, by name.
pub(super) fn functions(header: &str) -> BTreeMap<String, String> {
    let code = code(header);
    let mut found = BTreeMap::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let declares = line.starts_with(char::is_alphabetic) && line.contains('(');
        let other = ["typedef", "static", "extern", "_Static_assert", "struct "];
        let asserts = line.starts_with("TALLYPORT_") && !line.starts_with("TALLYPORT_EXPORT ");
        if !declares || asserts || other.iter().any(|word| line.starts_with(word)) {
            continue;
        }
        let mut text = line.to_owned();
        while !text.trim_end().ends_with(';') {
            let Some(next) = lines.next() else { break };
            text.push(' ');
            text.push_str(next);
        }
        let text = one_line(text.trim_end().trim_end_matches(';'));
        let head = text.split('(').next().unwrap_or_default();
        let name = head.rsplit([' ', '*']).next().unwrap_or_default().to_owned();
        if name.starts_with("tallyport_") {
            found.insert(name, text);
        }
    }
    found
}

/// Structs with the names and declarations of their fields.
fn structs(header: &str) -> Vec<(String, Vec<(String, String)>)> {
    let code = code(header);
    let mut found = Vec::new();
    for block in code.split("typedef struct ").skip(1) {
        let Some((name, rest)) = block.split_once('{') else { continue };
        let name = name.trim();
        let Some((body, _)) = rest.split_once('}').filter(|_| !name.contains([';', ' '])) else {
            continue;
        };
        let fields = body.split(';').map(one_line).filter(|text| !text.is_empty());
        let fields = fields.map(|text| (field_name(&text), text)).collect();
        found.push((name.to_owned(), fields));
    }
    found
}

fn field_name(declaration: &str) -> String {
    let name = match declaration.split_once("(*") {
        Some((_, rest)) => rest.split(')').next(),
        None => declaration.split('[').next().and_then(|text| text.rsplit([' ', '*']).next()),
    };
    name.unwrap_or_default().to_owned()
}

/// Names of the constants that are numbers.
fn constants(header: &str) -> Vec<String> {
    let defines = header.lines().filter_map(|line| line.strip_prefix("#define "));
    let numbers = defines.filter_map(|rest| rest.split_once(' ')).filter(|(name, value)| {
        let digit = |c: char| c.is_ascii_digit() || c == '(' || c == '-';
        name.starts_with("TALLYPORT_")
            && !name.contains('(')
            && !value.contains(['"', '{', 'p'])
            && value.trim().starts_with(digit)
            && !VERSIONS.iter().any(|version| name.starts_with(version))
    });
    numbers.map(|(name, _)| name.to_owned()).collect()
}

impl Interface {
    /// What the headers of a folder declare.
    pub(super) fn of(include: &Path) -> Result<Self, String> {
        let mut found = Self::default();
        let mut program = "#include <stdio.h>\n".to_owned();
        let mut body = String::new();
        let mut declared = BTreeMap::new();
        for header in HEADERS {
            let text = read(&include.join(header))?;
            let _ = writeln!(program, "#include \"{header}\"");
            found.functions.extend(functions(&text));
            for name in constants(&text) {
                let _ = writeln!(body, "printf(\"const {name} %lld\\n\", (long long){name});");
            }
            for (name, fields) in structs(&text) {
                let _ = writeln!(body, "printf(\"struct {name} %zu\\n\", sizeof({name}));");
                for (field, declaration) in fields {
                    let _ = writeln!(
                        body,
                        "printf(\"field {name}.{field} %zu %zu\\n\", offsetof({name}, {field}), \
                         sizeof((({name} *)0)->{field}));"
                    );
                    declared.insert(format!("{name}.{field}"), declaration);
                }
            }
        }
        let _ = write!(program, "int main(void) {{\n{body}return 0;\n}}\n");
        for line in ask_compiler(include, &program)?.lines() {
            let line = match line.strip_prefix("field ").and_then(|rest| rest.split(' ').next()) {
                Some(place) => {
                    let declaration = declared.get(place).map_or("", String::as_str);
                    format!("{line} {declaration}")
                }
                None => line.to_owned(),
            };
            found.add(&line)?;
        }
        Ok(found)
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        let wrong = || format!("{INTERFACE_LINE}: {line}");
        let (kind, rest) = line.split_once(' ').ok_or_else(wrong)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        match kind {
            "const" => {
                let (name, value) = rest.split_once(' ').ok_or_else(wrong)?;
                self.constants.insert(name.to_owned(), value.to_owned());
            }
            "fn" => {
                let known = functions(&format!("{rest};\n"));
                self.functions.extend(known);
            }
            "struct" => {
                let (name, size) = rest.split_once(' ').ok_or_else(wrong)?;
                self.structs.entry(name.to_owned()).or_default().size = number(size)?;
            }
            "field" => {
                let mut words = rest.splitn(4, ' ');
                let mut word = || words.next().ok_or_else(wrong);
                let (owner, name) = word()?.split_once('.').ok_or_else(wrong)?;
                let (offset, size) = (number(word()?)?, number(word()?)?);
                let declaration = word()?.to_owned();
                let field = Field { offset, size, declaration };
                let owner = self.structs.entry(owner.to_owned()).or_default();
                owner.fields.push((name.to_owned(), field));
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }

    /// Each thing on a line; what is added to a header is a line more.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let constants = self.constants.iter().map(|(name, value)| format!("const {name} {value}"));
        let functions = self.functions.values().map(|text| format!("fn {text}"));
        let structs = self.structs.iter().flat_map(|(name, about)| {
            let fields = about.fields.iter().map(move |(field, is)| {
                format!("field {name}.{field} {} {} {}", is.offset, is.size, is.declaration)
            });
            std::iter::once(format!("struct {name} {}", about.size)).chain(fields)
        });
        constants.chain(functions).chain(structs)
    }
}

const INTERFACE_LINE: &str = "not a line of an interface";

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl FromStr for Interface {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut found = Self::default();
        text.lines().try_for_each(|line| found.add(line))?;
        Ok(found)
    }
}

/// Compiles and runs a program in C, and returns what it writes.
fn ask_compiler(include: &Path, program: &str) -> Result<String, String> {
    let folder = super::dump::scratch()?;
    let (source, binary) = (folder.join("ask.c"), folder.join("ask"));
    let said = super::write(&source, program).and_then(|()| {
        let compiler = std::env::var("CC").unwrap_or("gcc".to_owned());
        let mut compile = Command::new(compiler);
        tell(compile.args(["-std=c11", "-I"]).arg(include).arg(&source).arg("-o").arg(&binary))?;
        tell(&mut Command::new(&binary))
    });
    let _ = fs::remove_dir_all(folder); // scratch
    said
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const HEADER: &str = r"
/** A comment; with (parentheses). */
#define TALLYPORT_OK 0
#define TALLYPORT_ABI_VERSION 1u
#define TALLYPORT_STR(x) ((x))
typedef struct tallyport_handle tallyport_handle;
typedef int32_t tallyport_status;
typedef struct tallyport_options {
    uint32_t size;
    int32_t (*function)(void *data,
                        size_t len);
    const tallyport_str *names;
} tallyport_options;
tallyport_status tallyport_open(const struct tallyport_options *options,
                                int32_t (*write)(void *data, size_t len),
                                tallyport_handle **handle);
const char *tallyport_version(void);
";

    #[test]
    fn a_header_is_read_as_it_is_written() {
        let found = functions(HEADER);
        assert_eq!(found.len(), 2, "{found:?}");
        let open = "tallyport_status tallyport_open(const tallyport_options *options, int32_t \
                    (*write)(void *data, size_t len), tallyport_handle **handle)";
        assert_eq!(found.get("tallyport_open").map(String::as_str), Some(open));
        assert!(found.contains_key("tallyport_version"));
        assert_eq!(constants(HEADER), ["TALLYPORT_OK"]);
        let structs = structs(HEADER);
        let names: Vec<_> = structs.iter().flat_map(|(_, fields)| fields).map(|f| &f.0).collect();
        assert_eq!(structs.len(), 1);
        assert_eq!(names, ["size", "function", "names"]);
    }
}
