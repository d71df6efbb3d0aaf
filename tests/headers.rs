//! The C headers: every dialect and compiler accepts them, and C sees the layout that Rust has.

#![allow(clippy::expect_used)] // helpers of tests fail like tests

use std::{ffi::OsStr, fmt::Write as _, fs, path::PathBuf, process::Command};

use tallyport_plugin_api::{LAYOUTS, TALLYPORT_PLUGIN_LAYOUT_HASH, abi};
use tallyport_tests::{Compiler, build_folder, compile, repo_root, run, xtask};

const C: &[&str] = &["c99", "c11", "c17"];
const CXX: &[&str] = &["c++11", "c++14", "c++17", "c++20"];
/// More than [`tallyport_tests::WARNINGS`]: a header must not warn in the strictest host.
const STRICTER: &[&str] = &["-Wconversion", "-Wshadow", "-Wundef", "-Wcast-qual", "-c"];

/// Writes a source file whose name is unique to this test process.
fn source(name: &str, text: &str) -> PathBuf {
    let path = build_folder().join(format!("{}-{name}", std::process::id()));
    fs::write(&path, text).expect("a source file");
    path
}

/// Compiles `text` with both compilers of each dialect and returns what failed.
fn failures(name: &str, text: &str, dialects: &[&str], flags: &[&str]) -> Vec<String> {
    let mut failed = Vec::new();
    for dialect in dialects {
        let (compilers, extension) = if dialect.starts_with("c++") {
            ([Compiler::Gxx, Compiler::Clangxx], "cpp")
        } else {
            ([Compiler::Gcc, Compiler::Clang], "c")
        };
        let file = source(&format!("{name}.{extension}"), text);
        let object = file.with_extension("o");
        for compiler in compilers {
            if let Err(text) = compile(compiler, dialect, &[&file], flags, &object) {
                failed.push(format!("{} -std={dialect}: {text}", compiler.program()));
            }
        }
        let _ = fs::remove_file(file);
        let _ = fs::remove_file(object);
    }
    failed
}

fn headers(extension: &str) -> Vec<String> {
    let files = fs::read_dir(repo_root().join("include")).expect("the include folder");
    let names = files.filter_map(|file| {
        let path = file.ok()?.path();
        let matches = path.extension() == Some(OsStr::new(extension));
        Some(path.file_name()?.to_string_lossy().into_owned()).filter(|_| matches)
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    assert!(!names.is_empty(), "no *.{extension} in include");
    names
}

#[test]
fn every_c_header_included_twice_compiles_in_every_dialect() {
    for header in headers("h") {
        let text = format!("#include <{header}>\n#include \"{header}\"\nextern int something;\n");
        for dialects in [C, CXX] {
            let failed = failures(&format!("twice-{header}"), &text, dialects, STRICTER);
            assert!(failed.is_empty(), "{header}:\n{}", failed.join("\n"));
        }
    }
}

#[test]
fn every_cpp_header_included_twice_compiles_alone() {
    for header in headers("hpp") {
        let text = format!("#include <{header}>\n#include \"{header}\"\n");
        let failed = failures(&format!("twice-{header}"), &text, &["c++17"], STRICTER);
        assert!(failed.is_empty(), "{header}:\n{}", failed.join("\n"));
    }
}

#[test]
fn all_cpp_headers_compile_together_from_cpp17_on() {
    let text: String = headers("hpp").iter().map(|name| format!("#include \"{name}\"\n")).collect();
    let failed = failures("together", &text, &["c++17", "c++20"], STRICTER);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn all_c_headers_compile_together_in_either_order() {
    let mut names = headers("h");
    for order in ["forward", "backward"] {
        let text: String = names.iter().map(|name| format!("#include \"{name}\"\n")).collect();
        let text = text + "extern int something;\n";
        for dialects in [C, CXX] {
            let failed = failures(&format!("together-{order}"), &text, dialects, STRICTER);
            assert!(failed.is_empty(), "{}", failed.join("\n"));
        }
        names.reverse();
    }
}

#[test]
fn the_example_in_the_cpp_header_compiles() {
    let path = repo_root().join("include/tallyport_plugin.hpp");
    let header = fs::read_to_string(path).expect("read");
    let example = header.lines().filter_map(|line| line.strip_prefix(" *     "));
    let text = example
        .fold("#include \"tallyport_plugin.hpp\"\n".to_owned(), |text, line| text + line + "\n");
    assert!(text.contains("TALLYPORT_EXPORT_PLUGINS"), "the example is gone:\n{text}");
    let failed = failures("example", &text, &["c++17", "c++20"], STRICTER);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Each macro of the plugin header in each place that it promises.
const MACROS: &str = r#"
#include "tallyport_plugin.h"
TALLYPORT_PLUGIN_FILE("com.example.macros", "1.0.0");
static const tallyport_str in_a_static = TALLYPORT_STR_INIT("abc");
static const tallyport_format in_a_table[] = {{TALLYPORT_STR_INIT("a"), TALLYPORT_STR_INIT("b")}};
static size_t length(tallyport_str text) { return text.len; }
static const tallyport_plugin_set plugins = {
    sizeof(tallyport_plugin_set), 0, sizeof(tallyport_plugin_v1), 0, NULL};
const tallyport_plugin_set *tallyport_plugin_query_v1(uint32_t host_abi) {
    const tallyport_str in_an_array[2] = {TALLYPORT_STR("a"), TALLYPORT_STR("bc")};
    tallyport_str assigned = TALLYPORT_STR("d");
    assigned = TALLYPORT_STR("efg");
    if (length(TALLYPORT_STR("an argument")) + length(assigned) + length(in_an_array[1]) != 16)
        return NULL;
    if (!TALLYPORT_HAS(&plugins, tallyport_plugin_set, plugins)) return NULL;
    if (in_a_static.len != 3 || in_a_table[0].name.len != 1) return NULL;
    return TALLYPORT_PLUGIN_SERVES(host_abi) ? &plugins : NULL;
}
"#;

#[test]
fn the_macros_of_the_plugin_header_work_in_every_dialect() {
    for dialects in [C, CXX] {
        let failed = failures("macros", MACROS, dialects, STRICTER);
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    }
}

#[test]
fn a_file_id_that_is_too_long_does_not_compile() {
    let text = MACROS.replace("com.example.macros", &"x".repeat(64));
    let failed = failures("long-id", &text, &["c99", "c11", "c++11"], STRICTER);
    assert_eq!(failed.len(), 6, "{failed:#?}");
}

#[test]
fn a_layout_that_differs_does_not_compile() {
    let header = fs::read_to_string(repo_root().join("include/tallyport_plugin.h")).expect("read");
    let right = "TALLYPORT_OFFSET_(tallyport_call, format, 40)";
    let drifted = header.replace(right, "TALLYPORT_OFFSET_(tallyport_call, format, 48)");
    assert_ne!(drifted, header, "the assertion that this test plants its bug in is gone");
    let failed = failures("drift", &drifted, &["c99", "c11", "c++11"], &["-c"]);
    assert_eq!(failed.len(), 6, "{failed:#?}");
    assert!(failed.iter().all(|text| text.contains("offset_of_tallyport_call_format")));
}

#[test]
fn c_sees_the_layout_and_the_numbers_that_rust_has() {
    let mut program =
        "#include <stdio.h>\n#include \"tallyport_plugin.h\"\nint main(void) {\n".to_owned();
    let mut expected = String::new();
    for layout in LAYOUTS {
        let name = layout.name;
        let _ = writeln!(program, "printf(\"{name} %zu\\n\", sizeof({name}));");
        let _ = writeln!(expected, "{name} {}", layout.size);
        for (field, offset) in layout.fields {
            let _ =
                writeln!(program, "printf(\"{name}.{field} %zu\\n\", offsetof({name}, {field}));");
            let _ = writeln!(expected, "{name}.{field} {offset}");
        }
    }
    let numbers = [
        ("TALLYPORT_PLUGIN_ABI", u64::from(abi::TALLYPORT_PLUGIN_ABI)),
        ("TALLYPORT_PLUGIN_LAYOUT_HASH", TALLYPORT_PLUGIN_LAYOUT_HASH),
        ("TALLYPORT_FILE_MAGIC", abi::TALLYPORT_FILE_MAGIC),
        ("TALLYPORT_CAP_WRITES_SINK", abi::TALLYPORT_CAP_WRITES_SINK),
        ("TALLYPORT_COLUMN_HIST_BUCKETS", u64::from(abi::TALLYPORT_COLUMN_HIST_BUCKETS)),
        ("TALLYPORT_UNAVAILABLE", abi::TALLYPORT_UNAVAILABLE.unsigned_abs().into()),
    ];
    for (name, value) in numbers {
        let _ = writeln!(program, "printf(\"{name} %llu\\n\", (unsigned long long){name});");
        let _ = writeln!(expected, "{name} {value}");
    }
    program.push_str("return 0;\n}\n");
    for (compiler, std, extension) in [
        (Compiler::Gcc, "c99", "c"),
        (Compiler::Clang, "c17", "c"),
        (Compiler::Gxx, "c++11", "cpp"),
        (Compiler::Clangxx, "c++20", "cpp"),
    ] {
        let file = source(&format!("layout.{extension}"), &program);
        let binary = file.with_extension("run");
        let binary = compile(compiler, std, &[&file], &[], &binary).expect("it compiles");
        assert_eq!(run(&mut Command::new(&binary)).success().stdout, expected);
        let _ = fs::remove_file(file);
        let _ = fs::remove_file(binary);
    }
}

#[test]
fn the_headers_that_are_checked_in_are_the_generated_ones() {
    let _ = run(&mut xtask(&["headers", "--check"])).success();
}
