//! What a vendor is told: docs/PLUGINS.md, `plugins new` and `plugins doctor`, as a vendor tries them.
//!
//! The guide's Rust blocks are documentation tests of this crate (harness/lib.rs).

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tallyport_core::engine::Engine;
use tallyport_tests::{
    Compiler, Output, PLUGIN_LINK, build_folder, built, compile, plugin, repo_root, run,
};

fn tallyport() -> PathBuf {
    built("tallyport")
}

/// A shell with `tallyport` on its path, which stops at the first command that fails.
fn shell(folder: &Path, script: &str) -> Output {
    let command = tallyport();
    let bin = command.parent().unwrap().display();
    let path = format!("{bin}:{}", env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-euc", script]).current_dir(folder).env("PATH", path);
    // Go builds its runtime once for all tests, and downloads nothing.
    let cache = build_folder().join("go-cache");
    shell.env("GOCACHE", cache).env("GOPROXY", "off").env("GOTOOLCHAIN", "local");
    run(shell.env_remove("TALLYPORT_CONFIG").env_remove("MAKEFLAGS"))
}

/// The code blocks of a language in the guide.
fn blocks(language: &str) -> Vec<String> {
    let text = fs::read_to_string(repo_root().join("docs/PLUGINS.md")).unwrap();
    let open = format!("\n```{language}\n");
    text.split(&open).skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_commands_of_the_guide_run_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::os::unix::fs::symlink(repo_root().join("include"), at("include")).unwrap();
    let c = blocks("c");
    assert_eq!(c.len(), 2);
    fs::write(at("names.c"), format!("{}\n", c[0])).unwrap();
    // The second block takes the place of the first one's set.
    let two = format!("{}\n", c[0].replace("? &plugins", "? &two_plugins"));
    let (before, after) = two.split_once("TALLYPORT_PLUGIN_FILE").unwrap();
    let two = format!("{before}{}\n\nTALLYPORT_PLUGIN_FILE{after}", c[1]);
    fs::write(at("two.c"), two).unwrap();
    let link = PLUGIN_LINK.iter().copied().chain(["-Wno-unused"]).collect::<Vec<_>>();
    compile(Compiler::Gcc, "c99", &[&at("two.c")], &link, &at("two.so")).unwrap();
    let toml = blocks("toml");
    fs::write(at("tallyport.toml"), &toml[0]).unwrap();
    fs::write(at("go.toml"), &toml[1]).unwrap();
    fs::create_dir(at("go")).unwrap();
    for file in ["go.mod", "plugin.go", "plugin.c", "plugin.h"] {
        let source = repo_root().join("tests/plugins/go").join(file);
        fs::copy(source, at("go").join(file)).unwrap();
    }
    let engine = Engine::builder().build().unwrap();
    engine.metrics().counter("http_requests_total", &[("method", "GET")]).unwrap().inc();
    engine.save_snapshot(&at("app.snapshot")).unwrap();

    let sh = blocks("sh");
    assert!(sh.len() >= 5, "{sh:?}");
    let mut script = format!("{}\ncp ../tallyport.toml ../app.snapshot .\n", sh[0]);
    script.push_str(&format!("{}\ncd ..\n{}\n", sh[1], sh[2..].join("\n")));
    let said = shell(folder.path(), &script).success();
    let exported = "shop.http_requests_total;method=GET 1\n";
    assert!(said.stdout.contains(exported), "{said:#?}");
    assert!(said.stdout.contains("33 passed, 0 failed, 3 skipped"), "{said:#?}");
    assert!(said.stdout.contains("exporter second\n"), "{said:#?}");
    assert!(said.stdout.contains("http_requests_total:1|c|#method:GET\n"), "{said:#?}");
}

#[test]
fn the_cpp_block_of_the_guide_passes_the_kit() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("names.cpp");
    let found = blocks("cpp");
    fs::write(&source, format!("{}\n", found[0])).unwrap();
    for compiler in [Compiler::Gxx, Compiler::Clangxx] {
        let library = folder.path().join("names.so");
        compile(compiler, "c++17", &[&source], PLUGIN_LINK, &library).unwrap();
        let _ = run(Command::new(tallyport()).args(["plugins", "check"]).arg(library)).success();
    }
}

#[test]
fn the_links_and_cases_of_the_guide_exist() {
    let text = fs::read_to_string(repo_root().join("docs/PLUGINS.md")).unwrap();
    let listed = run(Command::new(tallyport()).args(["plugins", "check", "--list"])).success();
    let cases: Vec<_> = listed.stdout.lines().filter_map(|l| l.split(' ').next()).collect();
    let rows = text.lines().filter(|line| line.starts_with("| ") && line.ends_with("` |"));
    let mut named = 0;
    for row in rows {
        let cells: Vec<_> = row.split(" | ").collect();
        for name in cells.last().unwrap().trim_end_matches(" |").split(", ") {
            let name = name.trim_matches('`');
            assert!(cases.contains(&name), "there is no case {name}");
            named += 1;
        }
    }
    assert!(named > 10, "{named}");
}

/// A new project in a folder of its own.
fn new(folder: &Path, words: &str) -> PathBuf {
    let said = run(Command::new(tallyport())
        .args(["plugins", "new"])
        .args(words.split(' '))
        .current_dir(folder));
    let said = said.success();
    assert!(said.stderr.contains("`my-lines` has a plugin; try: "), "{said:#?}");
    folder.join("my-lines")
}

#[test]
fn a_new_project_in_c_or_cpp_builds_with_every_warning_and_passes_test_and_kit() {
    for (lang, compilers) in [("c", ["CC=gcc", "CC=clang"]), ("cpp", ["CXX=g++", "CXX=clang++"])] {
        let folder = tempfile::tempdir().unwrap();
        let project = new(folder.path(), &format!("--lang {lang} my-lines"));
        for compiler in compilers {
            let flags = if lang == "c" { "CFLAGS='-O1 -Werror'" } else { "CXXFLAGS='-O1 -Werror'" };
            let make = format!("make clean && make {compiler} {flags} test check");
            let said = shell(&project, &make).success();
            assert!(said.stdout.contains("the output is as expected"), "{said:#?}");
            assert!(said.stdout.contains(" 0 failed,"), "{said:#?}");
        }
        // Against the headers of the repository too, and nothing to be advised on.
        let installed =
            format!("make clean && make TALLYPORT_INCLUDE={}/include", repo_root().display());
        let _ = shell(&project, &installed).success();
        let doctor = doctor(&project.join("build/libmy_lines.so"), &[]);
        assert_eq!(doctor["verdict"], "ok", "{doctor:#}");
    }
}

#[test]
fn a_new_project_in_rust_builds_against_the_crate_and_passes_test_and_kit() {
    let folder = tempfile::tempdir().unwrap();
    let sdk = repo_root().join("plugin-api");
    let project = new(folder.path(), &format!("--lang rust my-lines --sdk {}", sdk.display()));
    // The versions that are here already; a vendor's cargo asks the registry.
    fs::copy(repo_root().join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    let target = build_folder().join("new-rust");
    let cargo = env::var("CARGO").unwrap_or("cargo".into());
    for verb in ["build", "test"] {
        let mut command = Command::new(&cargo);
        command.args([verb, "--quiet", "--offline"]).current_dir(&project);
        let _ =
            run(command.env("CARGO_TARGET_DIR", &target).env("RUSTFLAGS", "-D warnings")).success();
    }
    let library = target.join("debug/libmy_lines.so");
    let _ = run(Command::new(tallyport()).args(["plugins", "check"]).arg(&library)).success();
    let doctor = doctor(&library, &[]);
    let steps = doctor["steps"].as_array().unwrap().iter();
    let advised: Vec<_> = steps.filter(|s| s["verdict"] != "ok" && s["name"] != "owner").collect();
    assert!(advised.is_empty(), "{advised:#?}");
}

/// What the doctor says of a file, as JSON.
fn doctor(file: &Path, flags: &[&str]) -> Value {
    let mut command = Command::new(tallyport());
    command.args(["plugins", "doctor"]).arg(file).args(["--report", "json"]).args(flags);
    let said = run(&mut command);
    serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}: {said:#?}"))
}

/// Verdict and text of the steps of that name.
fn steps<'a>(examined: &'a Value, name: &str) -> Vec<(&'a str, &'a str)> {
    let all = examined["steps"].as_array().unwrap().iter();
    let of = |step: &'a Value| (step["verdict"].as_str().unwrap(), step["text"].as_str().unwrap());
    all.filter(|step| step["name"] == name).map(of).collect()
}

#[test]
fn the_doctor_tells_every_step_of_a_good_file_with_its_time() {
    let examined = doctor(&plugin("statsd_lines.c"), &[]);
    assert_eq!(examined["schema"], "tallyport.plugin-doctor/1");
    let all = examined["steps"].as_array().unwrap();
    let names: Vec<_> = all.iter().map(|step| step["name"].as_str().unwrap()).collect();
    let wanted = [
        "resolve",
        "owner",
        "verify",
        "hash",
        "needs",
        "run path",
        "system",
        "link flags",
        "visibility",
        "interposition",
        "dlopen",
        "entry",
        "negotiate",
        "create statsd",
        "export statsd",
        "stop statsd",
    ];
    assert_eq!(names, wanted);
    assert!(all.iter().all(|step| step["microseconds"].is_u64()));
    assert_eq!(steps(&examined, "needs")[0].1, "libc.so.6");
    let flags = steps(&examined, "link flags")[0].1;
    for flag in ["-z now", "-z nodelete", "-Bsymbolic", "-z relro"] {
        assert!(flags.contains(flag), "{flags}");
    }
    let rust = built("libtallyport_example_statsd.so");
    assert_eq!(steps(&doctor(&rust, &[]), "layout").len(), 1);
}

#[test]
fn the_doctor_finds_what_a_host_could_take_over_and_what_the_linker_was_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("open.so");
    let source = repo_root().join("tests/plugins/interposable.c");
    let flags = ["-fPIC", "-shared", "-Wl,-z,lazy,-z,norelro,-z,execstack,-rpath,$ORIGIN/lib"];
    compile(Compiler::Gcc, "c99", &[&source], &flags, &library).unwrap();
    let examined = doctor(&library, &[]);
    assert_eq!(examined["verdict"], "advice", "{examined:#}");
    assert_eq!(steps(&examined, "run path"), [("advice", "$ORIGIN/lib")]);
    let [(verdict, text)] = steps(&examined, "interposition")[..] else { panic!("{examined:#}") };
    assert_eq!(verdict, "advice");
    assert!(text.contains("`helper_of_this_plugin`"), "{text}");
    let flags: Vec<_> = steps(&examined, "link flags").iter().map(|(_, text)| *text).collect();
    for lacks in ["-z now", "-z nodelete", "-Bsymbolic", "-z relro", "no executable stack"] {
        assert!(flags.contains(&&*format!("lacks: {lacks}")), "{lacks}: {flags:?}");
    }
}

#[test]
fn the_doctor_names_the_step_at_which_a_host_gives_up() {
    for (file, step, texts) in [
        ("no_descriptor.c", "verify", ["descriptor", ""]),
        ("unresolved_symbol.c", "dlopen", ["undefined symbol", ""]),
        ("no_symbol.c", "entry", ["tallyport_plugin_query_v1", ""]),
        ("wrong_major.c", "verify", ["9.0", "1.0"]),
        ("missing_required.c", "negotiate", ["export_snapshot", ""]),
        ("create_fails.c", "create com.example.create-fails", ["INVALID_ARGUMENT", ""]),
        ("export_fails.c", "export com.example.export-fails", ["PLUGIN_FAILED", ""]),
        ("unfit/exits.c", "process", ["ended the process with code 0", ""]),
        ("unfit/hangs_at_load.c", "process", ["within 5 s", ""]),
    ] {
        let mut command = Command::new(tallyport());
        let file = plugin(file);
        command.args(["plugins", "doctor", "--timeout=5"]).arg(&file);
        let said = run(&mut command);
        assert_eq!(said.code, Some(9), "{said:#?}");
        for text in texts {
            assert!(said.stderr.contains(text) && said.stderr.contains(step), "{step}: {said:#?}");
        }
        assert!(said.stdout.contains("REFUSED"), "{said:#?}");
    }
}
