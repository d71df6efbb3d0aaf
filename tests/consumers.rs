//! Projects that use an installed Tallyport as their users would: built out of an installation, run as
//! they are, under valgrind, and with AddressSanitizer.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail like tests

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tallyport_tests::{Output, build_folder, installed, repo_root, run};

/// What every consumer writes of what it recorded.
const HITS: &str = "http_requests_total{method=\"GET\"} 2\n";
const DEPTH: &str = "queue_depth 3\n";

const VALGRIND: [&str; 4] =
    ["--quiet", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"];
const ASAN: &str = "-O1 -g -fsanitize=address -fno-omit-frame-pointer";
/// Debian 12's valgrind cannot read the DWARF 5 of clang.
const PLAIN: &str = "-O1 -gdwarf-4";
const PLANTED: &str = " -DPLANTED_BUG -Wno-error=use-after-free";

fn project(name: &str) -> PathBuf {
    repo_root().join("tests/consumers").join(name)
}

/// A folder of this process for what a project makes.
fn folder(name: &str) -> PathBuf {
    let folder = build_folder().join(format!("consumer-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Builds a project that has a Makefile.
fn make(name: &str, compiler: &str, flags: &str) -> PathBuf {
    let tag: String = flags.chars().filter(char::is_ascii_alphanumeric).collect();
    let out = folder(&format!("{name}-{compiler}-{tag}"));
    let mut make = installed().command("make");
    // The variables of a make that runs these tests are not this one's.
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").arg("-C").arg(project(name));
    make.arg(format!("CC={compiler}")).arg(format!("CFLAGS={flags}"));
    let _ = run(make.arg(format!("OUT={}", out.display()))).success();
    out.join("consumer")
}

/// Runs a program with every symbol looked up at its start.
fn start(program: &Path, arguments: &[&Path]) -> Output {
    let mut command = installed().command(program);
    run(command.env("LD_BIND_NOW", "1").args(arguments))
}

fn under_valgrind(program: &Path, arguments: &[&Path]) -> Output {
    run(installed().command("valgrind").args(VALGRIND).arg(program).args(arguments))
}

/// What a program writes, silently, as it is and under valgrind.
fn says(program: &Path, arguments: &[&Path]) -> String {
    let plainly = start(program, arguments).success();
    let checked = under_valgrind(program, arguments).success();
    assert_eq!((plainly.stderr.as_str(), checked.stderr.as_str()), ("", ""), "{program:?}");
    // How long something took is another number each time.
    let steady = |text: &str| {
        let lines = text.lines().filter(|line| !line.contains("_sum "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(steady(&plainly.stdout), steady(&checked.stdout));
    plainly.stdout
}

/// Builds a project with AddressSanitizer, with the planted bug first: that must be reported.
fn under_asan(name: &str, arguments: &[&Path]) -> String {
    let planted = start(&make(name, "gcc", &(ASAN.to_owned() + PLANTED)), arguments);
    assert!(planted.stderr.contains("AddressSanitizer: heap-use-after-free"), "{planted:?}");
    let clean = start(&make(name, "gcc", ASAN), arguments).success();
    assert_eq!(clean.stderr, "");
    clean.stdout
}

/// The exporters that were installed as a file.
fn exporters() -> PathBuf {
    installed().lib().join("tallyport/plugins/builtin-exporters.so")
}

#[test]
fn valgrind_sees_a_bug_that_is_planted() {
    let program = make("pkg-config", "gcc", &(PLAIN.to_owned() + PLANTED));
    let said = under_valgrind(&program, &[]);
    assert_eq!(said.code, Some(9), "{said:?}");
    assert!(said.stderr.contains("Invalid read"), "{}", said.stderr);
}

#[test]
fn a_host_finds_the_shared_library_by_pkg_config() {
    let gcc = says(&make("pkg-config", "gcc", PLAIN), &[]);
    assert!(gcc.contains(HITS) && gcc.contains(DEPTH), "{gcc}");
    assert_eq!(says(&make("pkg-config", "clang", PLAIN), &[]), gcc);
    let asan = under_asan("pkg-config", &[]);
    assert_eq!(asan, gcc);
}

#[test]
fn the_readmes_commands_compile_the_shortest_hosts() {
    let readme = fs::read_to_string(repo_root().join("README.md")).unwrap();
    let compiles = |line: &&str| line.starts_with("cc ") || line.starts_with("c++ ");
    let lines: Vec<&str> = readme.lines().filter(compiles).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in lines {
        let folder = tempfile::tempdir().unwrap();
        for host in ["hello.c", "hello.cpp"] {
            let _ = fs::copy(repo_root().join("examples").join(host), folder.path().join(host));
        }
        let _ = run(installed().command("sh").current_dir(&folder).args(["-c", line])).success();
        let said = start(&folder.path().join("a.out"), &[]).success();
        assert!(said.stdout.contains("http_requests_total{method=\"GET\"} 1\n"), "{said:?}");
    }
}

#[test]
fn an_installed_exporter_is_tried_in_the_installed_helper_and_loads() {
    // Valgrind of Debian 12 does not know all that the probe asks of the kernel.
    let program = make("pkg-config", "gcc", PLAIN);
    let said = start(&program, &[&exporters()]).success();
    assert_eq!((said.stdout.matches(HITS).count(), said.stderr.as_str()), (2, ""));
}

#[test]
fn a_host_has_the_archive_in_itself() {
    let program = make("static", "gcc", PLAIN);
    let said = says(&program, &[]);
    assert!(said.contains(HITS) && said.contains(DEPTH), "{said}");
    let needs = run(Command::new("readelf").arg("-dW").arg(&program)).success().stdout;
    assert!(!needs.contains("libtallyport"), "{needs}");
    assert_eq!(under_asan("static", &[]), said);
}

#[test]
fn a_host_that_looks_for_the_library_when_it_runs() {
    let program = make("dlopen", "gcc", PLAIN);
    let said = says(&program, &[]);
    assert!(said.contains(HITS), "{said}");
    let lost = start(&program, &[Path::new("libtallyport.so.99")]);
    assert_eq!(lost.code, Some(77), "{lost:?}");
    assert_eq!(under_asan("dlopen", &[]), said);
}

#[test]
fn two_archives_that_rust_made_link_into_one_program() {
    let program = make("rust-archives", "gcc", PLAIN);
    // The other library's panic, which it catches, is printed by its own std.
    let said = start(&program, &[]).success();
    assert!(said.stdout.contains("sums_total 10\n"), "{said:?}");
    assert!(said.stderr.contains("no numbers are below -1"), "{said:?}");
    let checked = under_valgrind(&program, &[]).success();
    assert_eq!(checked.stdout, said.stdout);
    let planted = start(&make("rust-archives", "gcc", &(ASAN.to_owned() + PLANTED)), &[]);
    assert!(planted.stderr.contains("AddressSanitizer: heap-use-after-free"), "{planted:?}");
    assert_eq!(start(&make("rust-archives", "gcc", ASAN), &[]).success().stdout, said.stdout);
}

/// Configures the CMake project.
fn configure(out: &Path, more: &[&str]) -> Output {
    let mut cmake = installed().command("cmake");
    cmake.arg("-S").arg(project("cmake")).arg("-B").arg(out).args(more);
    run(&mut cmake)
}

fn cmake(name: &str, flags: &str) -> PathBuf {
    let out = folder(name);
    let flags = [format!("-DCMAKE_C_FLAGS={flags}"), format!("-DCMAKE_CXX_FLAGS={flags}")];
    let _ = configure(&out, &[&flags[0], &flags[1]]).success();
    let _ = run(installed().command("cmake").arg("--build").arg(&out)).success();
    out
}

const TARGETS: [&str; 4] = ["c_shared", "c_static", "cpp_exceptions", "cpp_results"];

#[test]
fn cmake_finds_the_library_and_the_archive_for_c_and_cpp() {
    let built = cmake("cmake", PLAIN);
    for target in TARGETS {
        let said = says(&built.join(target), &[]);
        assert!(said.contains(HITS) && said.contains(DEPTH), "{target}: {said}");
        let needs = run(Command::new("readelf").arg("-dW").arg(built.join(target))).success();
        let shared = needs.stdout.contains("Shared library: [libtallyport.so.");
        assert_eq!(shared, matches!(target, "c_shared" | "cpp_exceptions"), "{target}");
    }
    let planted = cmake("cmake-planted", &(ASAN.to_owned() + PLANTED));
    let clean = cmake("cmake-asan", ASAN);
    for target in TARGETS {
        let said = start(&planted.join(target), &[]);
        assert!(
            said.stderr.contains("AddressSanitizer: heap-use-after-free"),
            "{target}: {said:?}"
        );
        let said = start(&clean.join(target), &[]).success();
        assert!(said.stdout.contains(HITS) && said.stderr.is_empty(), "{target}: {said:?}");
    }
}

#[test]
fn cmake_takes_the_version_that_serves_and_no_other() {
    let version = env!("CARGO_PKG_VERSION");
    let (major, rest) = version.split_once('.').unwrap();
    let minor: u32 = rest.split('.').next().unwrap().parse().unwrap();
    let cases = [
        (version.to_owned(), true),
        (format!("{major}.{minor}"), true),
        (format!("{major}.{}", minor + 1), false),
        ("99".to_owned(), false),
    ];
    for (index, (wanted, serves)) in cases.into_iter().enumerate() {
        let out = folder(&format!("cmake-version-{index}"));
        let said = configure(&out, &[&format!("-DTALLYPORT_WANTED={wanted}")]);
        assert_eq!(said.code == Some(0), serves, "{wanted}: {said:?}");
        assert!(serves || said.stderr.contains("compatible"), "{wanted}: {said:?}");
    }
}
