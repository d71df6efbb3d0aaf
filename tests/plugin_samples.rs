//! The sample exporters in C, C++ and Rust, and the plugins under test, in a host of a few lines.
//!
//! `hosts/plugin_driver.c` calls through the tables and nothing else, so these tests hold what the
//! ABI itself promises; `loader.rs` holds what the engine makes of the same files.

#![allow(clippy::expect_used)] // helpers of tests fail like tests

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use tallyport_tests::{
    Compiler, Output, PLUGIN_LINK, build_folder, built, compile, plugin, repo_root, run,
};

fn driver() -> &'static Path {
    static DRIVER: OnceLock<PathBuf> = OnceLock::new();
    DRIVER.get_or_init(|| {
        let source = repo_root().join("tests/hosts/plugin_driver.c");
        let fresh = build_folder().join(format!("plugin_driver-{}", std::process::id()));
        compile(Compiler::Gcc, "c99", &[&source], &["-ldl", "-lm"], &fresh).expect("the driver");
        // One file for all runs; a run that goes on keeps the one that it started with.
        let driver = build_folder().join("plugin_driver");
        std::fs::rename(&fresh, &driver).expect("to replace the driver");
        driver
    })
}

fn drive(file: &Path, arguments: &[&str]) -> Output {
    run(Command::new(driver()).arg(file).args(arguments))
}

/// Runs the driver under valgrind: an error or a leak is exit code 9.
fn drive_under_valgrind(file: &Path, arguments: &[&str]) -> Output {
    let checks = ["--quiet", "--error-exitcode=9", "--leak-check=full"];
    run(Command::new("valgrind").args(checks).arg(driver()).arg(file).args(arguments))
}

/// The same exporter three times.
fn samples() -> [PathBuf; 3] {
    let rust = built("libtallyport_example_statsd.so");
    [plugin("statsd_lines.c"), plugin("statsd_lines.cpp"), rust]
}

const TAGGED: &str = "\
requests_total:7|c|#method:GET,status:2xx
requests_total:18446744073709551615|c|#method:a_b_c_d_e@f_g,status:é
queue_length:-5|g
temperature:0.30000000000000004|g|#site:sum
temperature:0|g|#site:zero
temperature:1e+300|g|#site:far
in_flight:-3|g
big_total:9007199254740993|c
odd_name_x_y:2.5|c
took_seconds_count:7|c
took_seconds_sum:123456.789|c
took_seconds_bucket:1|c|#le:0.005
took_seconds_bucket:3|c|#le:0.5
took_seconds_bucket:3|c|#le:1
took_seconds_bucket:6|c|#le:1e+15
took_seconds_bucket:7|c|#le:+Inf
took_seconds_count:0|c|#method:fast
took_seconds_sum:0|c|#method:fast
took_seconds_bucket:0|c|#method:fast,le:0.005
took_seconds_bucket:0|c|#method:fast,le:0.5
took_seconds_bucket:0|c|#method:fast,le:1
took_seconds_bucket:0|c|#method:fast,le:1e+15
took_seconds_bucket:0|c|#method:fast,le:+Inf
unbounded_count:3|c
unbounded_bucket:3|c|#le:+Inf
bytes_total:1e+15|c
bytes_total:0.3333333333333333|c|#site:v1.2
";

#[test]
fn c_cpp_and_rust_write_the_same_tagged_lines() {
    for sample in samples() {
        let said = drive(&sample, &[]).success();
        assert_eq!(said.stdout, TAGGED, "{}", sample.display());
        let warning = "log 2: 3 values are not finite and were left out";
        assert!(said.stderr.contains(warning), "{}", said.stderr);
    }
}

#[test]
fn plain_statsd_has_labels_in_the_name_and_no_signed_gauge_alone() {
    let options = r#" {"prefix": "a\u0070p|\ud83d\ude00.", "tags": false} "#;
    for sample in samples() {
        let said = drive(&sample, &["--options", options]).success();
        let lines: Vec<&str> = said.stdout.lines().collect();
        for line in [
            "app_😀.requests_total.method.GET.status.2xx:7|c",
            "app_😀.requests_total.method.a_b,c_d_e_f_g.status.é:18446744073709551615|c",
            "app_😀.took_seconds_bucket.method.fast.le.0_005:0|c",
            "app_😀.bytes_total.site.v1_2:0.3333333333333333|c",
        ] {
            assert!(lines.contains(&line), "{line} in {}\n{}", sample.display(), said.stdout);
        }
        let signed = ["app_😀.queue_length:0|g", "app_😀.queue_length:-5|g"];
        assert!(lines.windows(2).any(|pair| pair == signed), "{}", said.stdout);
        assert!(!said.stdout.contains('#'));
    }
}

#[test]
fn an_option_that_does_not_fit_is_refused_by_its_name() {
    let long = format!(r#"{{"prefix":"{}"}}"#, "x".repeat(256));
    for (options, named) in [
        (r#"{"prefx":"a"}"#, "detail option=prefx"),
        (r#"{"tags":1}"#, "detail option=tags"),
        (r#"{"tags":"true"}"#, "detail option=tags"),
        (r#"{"prefix":true}"#, "detail option=prefix"),
        (&long, "detail option=prefix"),
        (r#"{"prefix":"a""#, ""),
        (r#"{"prefix":"\x"}"#, ""),
        (r#"{"prefix":"\ud800"}"#, ""),
        ("{\"prefix\":\"a\nb\"}", ""),
        (r#"{"prefix":"a"} x"#, ""),
        ("[]", ""),
        ("{", ""),
    ] {
        for sample in samples() {
            let said = drive(&sample, &["--options", options]);
            assert_eq!(said.code, Some(1), "{options}: {}", said.stderr);
            assert!(said.stderr.contains("create 1\n"), "{options}: {}", said.stderr);
            assert!(said.stderr.contains(named), "{options}: {}", said.stderr);
        }
    }
    // What serde would let pass, the reader in C refuses too: it names the option that is twice.
    let twice = drive(&plugin("statsd_lines.c"), &["--options", r#"{"tags":true,"tags":true}"#]);
    assert!(twice.stderr.contains("error 1: option `tags`: given twice\ndetail option=tags\n"));
}

#[test]
fn a_sink_that_is_full_ends_the_export_with_its_status() {
    for sample in samples() {
        let said = drive(&sample, &["--sink-limit", "100"]);
        assert!(said.stderr.contains("export 6\n"), "{}", said.stderr);
        assert_eq!(said.stdout, "");
    }
}

#[test]
fn the_samples_are_clean_under_valgrind() {
    let [c, cpp, rust] = samples();
    for sample in [c, cpp, rust, plugin("template.c")] {
        let fine = drive_under_valgrind(&sample, &["--exports", "3"]);
        assert_eq!(fine.code, Some(0), "{}: {}", sample.display(), fine.stderr);
        // The way out through an error frees what the way in took.
        let refused = drive_under_valgrind(&sample, &["--sink-limit", "10"]);
        assert_eq!(refused.code, Some(1), "{}: {}", sample.display(), refused.stderr);
    }
    let options = ["--options", r#"{"prefix":"app.","tags":"#];
    let broken = drive_under_valgrind(&plugin("statsd_lines.c"), &options);
    assert_eq!(broken.code, Some(1), "{}", broken.stderr);
}

#[test]
fn valgrind_reports_a_leak_that_was_planted() {
    let source = build_folder().join(format!("leaks-{}.c", std::process::id()));
    let good = "static inline void good_destroy(tallyport_exporter *self) { free(self); }";
    let header = repo_root().join("tests/plugins/good.h");
    let text = std::fs::read_to_string(header).expect("good.h");
    assert!(text.contains(good));
    let text = text.replace("free(self);", "(void)self;")
        + "static const tallyport_plugin_v1 plugin = {GOOD_TABLE(\"leaks\")};\n\
           GOOD_ENTRY(&plugin, 1)\n";
    std::fs::write(&source, text).expect("a source file");
    let leaks = source.with_extension("so");
    compile(Compiler::Gcc, "c99", &[&source], PLUGIN_LINK, &leaks).expect("it compiles");
    assert_eq!(drive_under_valgrind(&leaks, &[]).code, Some(9));
    let _ = std::fs::remove_file(source);
    let _ = std::fs::remove_file(leaks);
}

#[test]
fn the_samples_are_accepted_by_clang_and_by_later_dialects() {
    let folder = repo_root().join("examples/plugins");
    for (compiler, stds, file) in [
        (Compiler::Clang, ["c99", "c17"], "template.c"),
        (Compiler::Clang, ["c99", "c17"], "statsd_lines.c"),
        (Compiler::Gcc, ["c11", "c17"], "statsd_lines.c"),
        (Compiler::Clangxx, ["c++17", "c++20"], "statsd_lines.cpp"),
    ] {
        for std in stds {
            let output = build_folder().join(format!("sample-{}", std::process::id()));
            let flags = [PLUGIN_LINK, &["-Wl,-z,defs", "-O2", "-Wshadow"]].concat();
            let made = compile(compiler, std, &[&folder.join(file)], &flags, &output);
            assert!(made.is_ok(), "{} -std={std} {file}: {made:?}", compiler.program());
            let _ = std::fs::remove_file(output);
        }
    }
}

#[test]
fn a_plugin_exports_its_entry_and_no_function_of_its_own() {
    for sample in samples() {
        let said = run(Command::new("nm").args(["-D", "--defined-only"]).arg(&sample)).success();
        // The C++ library marks its own templates as visible; -Bsymbolic binds them at home.
        let own = said.stdout.lines().filter_map(|line| line.split_whitespace().nth(2));
        let own: Vec<&str> = own.filter(|name| !name.starts_with("_Z")).collect();
        assert!(own.contains(&"tallyport_plugin_query_v1"));
        let known = ["tallyport_plugin_query_v1", "tallyport_layout_v1_0"];
        assert!(own.iter().all(|name| known.contains(name)), "{}: {own:?}", sample.display());
    }
}

#[test]
fn what_a_plugin_reports_reaches_the_host() {
    let poisons = built("libtallyport_test_rust_panics.so");
    let twice = ["--exports", "2", "--sink-limit", "9000"];
    for (file, lines) in [
        (plugin("good_minimal.c"), &["create 0", "export 0", "export 0"][..]),
        (
            plugin("create_fails.c"),
            &["error 1: option `endpoint`: it is required", "detail option=endpoint", "create 1"],
        ),
        (plugin("export_fails.c"), &["error 13: the peer hung up", "export 13"]),
        (plugin("returns_panic.c"), &["error 14: panic: contained", "export 14"]),
        (plugin("floods.c"), &["export 6", "export 6"]),
        (plugin("throws.cpp"), &["error 14: thrown on purpose", "export 14", "export 15"]),
        (poisons, &["error 14: panic at ", "on purpose", "export 14", "export 15"]),
        (plugin("no_symbol.c"), &["no exporters for this ABI"]),
        (plugin("null_set.c"), &["no exporters for this ABI"]),
        (plugin("unresolved_symbol.c"), &["undefined symbol: tallyport_nobody_defines_this"]),
    ] {
        let said = drive(&file, &twice).stderr;
        let mut rest = said.as_str();
        for line in lines {
            let (_, after) = rest
                .split_once(line)
                .unwrap_or_else(|| panic!("{}: `{line}` is not next in\n{said}", file.display()));
            rest = after;
        }
    }
}
