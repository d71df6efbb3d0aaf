//! The README, docs/EVENTS.md and docs/HOSTS.md, as a new user would try them: every block compiles, parses or runs.
//!
//! Their Rust blocks are documentation tests of this crate (harness/lib.rs).

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{fs, path::Path, process::Command};

use tallyport_core::engine::{Engine, config::Config};
use tallyport_tests::{Compiler, built, compile, plugin, repo_root, run};

const README: &str = "README.md";

/// The code blocks of a language.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let text = fs::read_to_string(repo_root().join(document)).unwrap();
    let open = format!("\n```{language}\n");
    text.split(&open).skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect()
}

/// Compiles a block, its `#include` lines first and the rest inside a function.
fn compiles(document: &str, language: &str, compiler: Compiler, std: &str, wrap: [&str; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let found = blocks(document, language);
    assert!(!found.is_empty(), "{document} has no {language} block");
    for (index, block) in found.iter().enumerate() {
        let (includes, body): (Vec<_>, Vec<_>) =
            block.lines().partition(|line| line.starts_with('#'));
        let source = folder.path().join(format!("block{index}.{language}"));
        let [before, after] = wrap;
        let text = format!("{}\n{before}\n{}\n{after}\n", includes.join("\n"), body.join("\n"));
        fs::write(&source, &text).unwrap();
        let object = folder.path().join("block.o");
        if let Err(said) = compile(compiler, std, &[&source], &["-c"], &object) {
            panic!("{said}\n{text}");
        }
    }
}

#[test]
fn the_c_block_compiles() {
    for compiler in [Compiler::Gcc, Compiler::Clang] {
        let after = "return 0;\nfail:\nreturn 1;\n}";
        compiles(README, "c", compiler, "c11", ["int readme(void);\nint readme(void) {", after]);
    }
}

#[test]
fn the_cpp_block_compiles() {
    for compiler in [Compiler::Gxx, Compiler::Clangxx] {
        let before = "std::string readme();\nstd::string readme() {";
        compiles(README, "cpp", compiler, "c++17", [before, "return text;\n}"]);
    }
}

#[test]
fn the_ruby_blocks_run_and_export() {
    let block = |document| format!("require 'logger'\n{}", blocks(document, "ruby")[0]);
    let example = fs::read_to_string(repo_root().join("examples/hello.rb")).unwrap();
    for first in [block(README), block("docs/RUBY.md"), example] {
        let mut command = Command::new("ruby");
        command.arg("-I").arg(repo_root().join("bindings/ruby/lib")).args(["-e", &first]);
        let library = built("libtallyport.so");
        let said = run(command.env("TALLYPORT_LIBRARY", library)).success();
        assert!(said.stdout.contains("http_requests_total{method=\"GET\"} 1\n"), "{}", said.stdout);
    }
}

#[test]
fn the_blocks_of_the_guides_compile() {
    for (compiler, std, language) in [
        (Compiler::Gcc, "c11", "c"),
        (Compiler::Clang, "c99", "c"),
        (Compiler::Gxx, "c++17", "cpp"),
        (Compiler::Clangxx, "c++20", "cpp"),
    ] {
        for document in ["docs/EVENTS.md", "docs/HOSTS.md"] {
            compiles(document, language, compiler, std, ["", ""]);
        }
    }
}

#[test]
fn the_configuration_block_is_valid_and_loads() {
    let folder = tempfile::tempdir().unwrap();
    let config = stage(folder.path());
    let engine = Engine::builder().linked(&tallyport_builtin_exporters::EXPORTERS);
    let engine = engine.config(Config::load(config).unwrap()).build().unwrap();
    assert!(engine.load_failures().is_empty(), "{:?}", engine.load_failures());
    assert!(engine.plugins().by_name("statsd").is_some());
}

/// What the README's commands expect to find: the configuration, its plugin, a snapshot.
fn stage(folder: &Path) -> std::path::PathBuf {
    let blocks = blocks(README, "toml");
    assert_eq!(blocks.len(), 1);
    let config = folder.join("tallyport.toml");
    fs::write(&config, &blocks[0]).unwrap();
    fs::create_dir(folder.join("plugins")).unwrap();
    fs::copy(plugin("statsd_lines.c"), folder.join("plugins/statsd_lines.so")).unwrap();
    let engine = Engine::builder().build().unwrap();
    engine.metrics().counter("http_requests_total", &[("method", "GET")]).unwrap().inc();
    engine.save_snapshot(&folder.join("app.snapshot")).unwrap();
    config
}

#[test]
fn the_commands_run() {
    let folder = tempfile::tempdir().unwrap();
    let _config = stage(folder.path());
    let command = built("tallyport");
    let text = blocks(README, "sh").join("\n");
    let lines = text.lines().filter_map(|line| line.strip_prefix("tallyport "));
    let lines = lines.map(|line| line.split('#').next().unwrap().trim());
    // It serves until it is told to end: tests/serve_life.rs.
    let lines: Vec<_> = lines.filter(|line| !line.starts_with("serve ")).collect();
    assert!(lines.len() >= 5, "{lines:?}");
    for line in lines {
        let said = run(Command::new(&command)
            .args(line.split_whitespace())
            .current_dir(folder.path())
            .env_remove("TALLYPORT_CONFIG"));
        assert_eq!(said.code, Some(0), "tallyport {line}\n{}{}", said.stdout, said.stderr);
    }
    assert!(folder.path().join("app.csv").exists() && folder.path().join("shop.prom").exists());
}

#[test]
fn the_targets_and_links_exist() {
    let root = repo_root();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let makefile = fs::read_to_string(root.join("Makefile")).unwrap();
    for target in ["demo", "test", "build", "help"] {
        assert!(readme.contains(&format!("make {target}")), "make {target} is not in the README");
        assert!(makefile.contains(&format!("\n{target}:")), "the Makefile has no {target}");
    }
    let links: Vec<_> = readme.split("](").skip(1).map(|l| l.split(')').next().unwrap()).collect();
    assert!(links.len() > 3);
    for link in links {
        assert!(root.join(link).exists(), "the README links to {link}");
    }
}
