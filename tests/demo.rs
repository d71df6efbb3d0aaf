//! The demo end to end: the C host counts real logs, every exporter's text is read back by an
//! independent reader, and the numbers equal a recount of the log in another language.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail like tests

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use tallyport_tests::{Output, build_folder, built, plugin, python, repo_root, run};
use tempfile::TempDir;

/// Exports that have a reader: selector, reader, and what its comparison needs.
const EXPORTS: &[(&str, &str, &[&str])] = &[
    ("prometheus", "read_prometheus.py", &[]),
    ("openmetrics", "read_openmetrics.py", &[]),
    ("json", "read_json.py", &[]),
    ("csv", "read_csv.py", &[]),
    ("loaded_prometheus/prometheus", "read_prometheus.py", &[]),
    ("loaded_prometheus/openmetrics", "read_openmetrics.py", &[]),
    ("loaded_json", "read_json.py", &[]),
    ("loaded_csv", "read_csv.py", &[]),
    ("statsd_c", "read_statsd.py", &["--sanitised"]),
    ("statsd_cpp", "read_statsd.py", &["--sanitised"]),
    ("statsd_rust", "read_statsd.py", &["--sanitised"]),
];

/// The log's own series; the engine may add some about itself.
const COUNTED: &[&str] = &["--only", "lines_", "--only", "malformed_", "--only", "http_"];

fn log(name: &str) -> PathBuf {
    repo_root().join("examples/data").join(name)
}

/// The programs of `examples/build.sh`, compiled by `cc` once per process.
fn programs(cc: &str) -> &'static Path {
    static FOLDER: OnceLock<(PathBuf, File)> = OnceLock::new();
    static GCC: OnceLock<PathBuf> = OnceLock::new();
    static CLANG: OnceLock<PathBuf> = OnceLock::new();
    // Another run of these tests waits until this one ends, and then builds in the same place.
    let (folder, _) = FOLDER.get_or_init(|| {
        let folder = build_folder().join("demo");
        fs::create_dir_all(&folder).expect("a folder");
        let lock = File::create(folder.join("lock")).expect("a lock");
        lock.lock().expect("the lock");
        (folder, lock)
    });
    let compiled = if cc == "clang" { &CLANG } else { &GCC };
    compiled.get_or_init(|| {
        let library = built("libtallyport.so");
        let out = folder.join(cc);
        let cxx = if cc == "clang" { "clang++" } else { "g++" };
        let mut command = Command::new(repo_root().join("examples/build.sh"));
        command.arg(library.parent().expect("a folder")).arg(&out).env("CC", cc).env("CXX", cxx);
        // The DWARF 5 of clang is more than the valgrind of Debian 12 can read.
        command.env("CFLAGS", "-gdwarf-4");
        let _ = run(&mut command).success();
        out
    })
}

fn host() -> Command {
    Command::new(programs("gcc").join("accesslog"))
}

/// Writes a configuration with every exporter that there is, linked in and from files.
fn config(folder: &Path) -> PathBuf {
    let loadable = built("libtallyport_builtin_exporters_loadable.so");
    let rust = built("libtallyport_example_statsd.so");
    let mut text = "schema = 1\nservice_name = \"demo\"\n".to_owned();
    for name in ["prometheus", "json", "csv"] {
        text += &format!(
            "[plugins.loaded_{name}]\npath = '{}'\nexporter = '{name}'\n",
            loadable.display()
        );
    }
    let statsd = [
        ("statsd_c", plugin("statsd_lines.c")),
        ("statsd_cpp", plugin("statsd_lines.cpp")),
        ("statsd_rust", rust),
    ];
    for (name, file) in statsd {
        text += &format!("[plugins.{name}]\npath = '{}'\n", file.display());
    }
    let path = folder.join("tallyport.toml");
    fs::write(&path, text).expect("a configuration");
    path
}

fn file_of(folder: &Path, selector: &str) -> PathBuf {
    folder.join(selector.replace('/', "-"))
}

/// Counts `log` and exports it in every way, each to its file in `folder`.
fn export_all(command: &mut Command, log: &Path, folder: &Path) -> Output {
    command.arg("--config").arg(config(folder)).arg("--save").arg(folder.join("saved.snapshot"));
    for (selector, ..) in EXPORTS {
        let file = file_of(folder, selector);
        command.arg("--export").arg(format!("{selector}={}", file.display()));
    }
    run(command.arg(log)).success()
}

/// Has a reader read `text` and keeps its canonical series in `series`.
fn read_back(reader: &str, text: &Path, series: &Path) {
    fs::write(series, run(python(reader).arg(text)).success().stdout).expect("series");
}

fn recount(log: &Path, folder: &Path) -> PathBuf {
    let series = folder.join("recount.series");
    read_back("recount_log.py", log, &series);
    series
}

/// Fails with every difference between two files of canonical series.
fn compare(a: &Path, b: &Path, options: &[&str]) {
    let _ = run(python("compare.py").arg(a).arg(b).args(options).args(COUNTED)).success();
}

/// Reads every export in `folder` back and compares it with the recount of the log.
fn compare_all(log: &Path, folder: &Path) {
    let recount = recount(log, folder);
    for (selector, reader, options) in EXPORTS {
        let text = file_of(folder, selector);
        let series = text.with_extension("series");
        read_back(reader, &text, &series);
        compare(&recount, &series, options);
    }
}

fn contents(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The text with each RFC 3339 time replaced: two exports are made at two times.
fn timeless(text: &[u8]) -> Vec<u8> {
    const SHAPE: &[u8] = b"9999-99-99T99:99:99";
    let is_time = |at: &[u8]| {
        let fits = |(byte, wanted): (&u8, &u8)| match wanted {
            b'9' => byte.is_ascii_digit(),
            _ => byte == wanted,
        };
        at.len() >= SHAPE.len() && at.iter().zip(SHAPE).all(fits)
    };
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        if is_time(rest) {
            out.extend_from_slice(b"TIME");
            let fraction = |b: &u8| b.is_ascii_digit() || *b == b'.';
            let after = &rest[SHAPE.len()..];
            rest = &after[after.iter().take_while(|b| fraction(b)).count()..];
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    out
}

#[test]
fn every_exporter_tells_what_a_recount_of_the_log_tells() {
    for name in ["access.log", "malformed.log"] {
        let folder = TempDir::new().expect("a folder");
        let _ = export_all(&mut host(), &log(name), folder.path());
        compare_all(&log(name), folder.path());
    }
}

#[test]
fn lines_damaged_at_random_are_counted_as_the_recount_counts_them() {
    let folder = TempDir::new().expect("a folder");
    let damaged = folder.path().join("damaged.log");
    fs::write(&damaged, damage(&contents(&log("access.log")))).expect("a log");
    let _ = export_all(&mut host(), &damaged, folder.path());
    compare_all(&damaged, folder.path());
}

/// Every line of a log with up to three changes of a few bytes each, the same at every run.
fn damage(log: &[u8]) -> Vec<u8> {
    const PIECES: &[u8] =
        b"||| |\"|\\|\\x|\\x2F|\\xe2\x82\\xac|\\xE2\\x82\\xAC|\\xED\\xA0\\x80|\\\"|\\\\|\
        /|//7/|?|-|[|] |0|999|\0|\r|\n|\xff|\xc0\xaf|\xf4\x90\x80\x80|\xc3\xa9|HTTP/|\
        \xf0\x9f\x98\x80\xf0\x9f\x98\x80|aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let pieces: Vec<&[u8]> = PIECES.split(|b| *b == b'|').collect();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |below: usize| {
        // xorshift64: a test needs no better one.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).expect("below usize")
    };
    let mut out = Vec::new();
    for line in log.split_inclusive(|b| *b == b'\n') {
        let mut line = line.to_vec();
        for _ in 0..random(4) {
            // Half of the changes hit the request, which most of the rules are about.
            let quote = line.iter().position(|b| *b == b'"').unwrap_or(0);
            let first = random(2) * quote;
            let reach = 60 + 400 * random(2);
            let at = first + random((line.len() - first).clamp(1, reach));
            let end = line.len().min(at + random(3));
            line.splice(at.min(end)..end, pieces[random(pieces.len())].iter().copied());
        }
        out.extend(line);
    }
    out
}

#[test]
fn exporters_from_a_file_write_what_the_linked_in_ones_write() {
    let folder = TempDir::new().expect("a folder");
    let _ = export_all(&mut host(), &log("access.log"), folder.path());
    let pairs = [
        ("prometheus", "loaded_prometheus/prometheus"),
        ("openmetrics", "loaded_prometheus/openmetrics"),
        ("json", "loaded_json"),
        ("csv", "loaded_csv"),
    ];
    for (linked, loaded) in pairs {
        let [linked, loaded] = [linked, loaded].map(|selector| file_of(folder.path(), selector));
        let [a, b] = [&linked, &loaded].map(|file| timeless(&contents(file)));
        assert!(a == b, "{} and {} differ", linked.display(), loaded.display());
    }
}

#[test]
fn statsd_plugins_in_c_cpp_and_rust_write_the_same_lines() {
    for name in ["access.log", "malformed.log"] {
        let folder = TempDir::new().expect("a folder");
        let _ = export_all(&mut host(), &log(name), folder.path());
        let in_c = contents(&file_of(folder.path(), "statsd_c"));
        for other in ["statsd_cpp", "statsd_rust"] {
            assert!(in_c == contents(&file_of(folder.path(), other)), "{other} on {name}");
        }
    }
}

#[test]
fn promtool_has_nothing_to_say_about_the_prometheus_text() {
    for name in ["access.log", "malformed.log"] {
        let folder = TempDir::new().expect("a folder");
        let _ = export_all(&mut host(), &log(name), folder.path());
        let text = File::open(file_of(folder.path(), "prometheus")).expect("the export");
        let mut promtool = Command::new("promtool");
        let said = run(promtool.args(["check", "metrics"]).stdin(text)).success();
        assert_eq!((&*said.stdout, &*said.stderr), ("", ""));
    }
}

#[test]
fn the_command_exports_a_saved_snapshot_as_the_host_exports_itself() {
    let folder = TempDir::new().expect("a folder");
    let _ = export_all(&mut host(), &log("access.log"), folder.path());
    for (selector, ..) in EXPORTS {
        let again = folder.path().join("again");
        let mut command = Command::new(built("tallyport"));
        command.arg("export").arg("--from").arg(folder.path().join("saved.snapshot"));
        command.arg("--config").arg(folder.path().join("tallyport.toml"));
        command.args(["--format", selector, "--output"]).arg(&again);
        let _ = run(&mut command).success();
        let own = contents(&file_of(folder.path(), selector));
        assert!(timeless(&own) == timeless(&contents(&again)), "{selector} differs");
    }
}

#[test]
fn the_host_is_clean_under_valgrind_built_by_gcc_and_by_clang() {
    for cc in ["gcc", "clang"] {
        let folder = TempDir::new().expect("a folder");
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--quiet", "--error-exitcode=99", "--leak-check=full"]);
        // Not "possible": statics of std and abi_stable hold maps by a pointer into their middle.
        valgrind.args([
            "--show-leak-kinds=definite,indirect",
            "--errors-for-leak-kinds=definite,indirect",
        ]);
        valgrind.arg(programs(cc).join("accesslog"));
        let said = export_all(&mut valgrind, &log("malformed.log"), folder.path());
        assert!(!said.stderr.contains("=="), "{cc}:\n{}", said.stderr);
        compare_all(&log("malformed.log"), folder.path());
    }
}

#[test]
fn the_shortest_hosts_print_what_they_count() {
    let in_rust = Command::new(built("examples/hello"));
    let in_c = ["hello", "hello_cpp"].map(|name| Command::new(programs("gcc").join(name)));
    for mut program in in_c.into_iter().chain([in_rust]) {
        let said = run(&mut program).success();
        assert!(said.stdout.contains("http_requests_total{method=\"GET\"} 1\n"), "{}", said.stdout);
        assert!(said.stdout.contains("http_request_seconds_count 1\n"), "{}", said.stdout);
        assert_eq!(said.stderr, "");
    }
}

#[test]
fn plugins_that_cannot_be_loaded_are_named_and_the_others_export() {
    let folder = TempDir::new().expect("a folder");
    let whole = contents(&plugin("statsd_lines.c"));
    let at = |name: &str| folder.path().join(name);
    fs::write(at("truncated.so"), &whole[..whole.len() / 2]).expect("a file");
    fs::write(at("text.so"), "not a shared library").expect("a file");
    fs::write(at("empty.so"), "").expect("a file");
    fs::write(at("whole.so"), &whole).expect("a file");
    let config = at("bad.toml");
    let mut text = "schema = 1\n".to_owned();
    for name in ["missing", "truncated", "text", "empty", "whole"] {
        text += &format!("[plugins.{name}]\npath = \"{name}.so\"\n");
    }
    fs::write(&config, text).expect("a configuration");

    let mut command = host();
    command.arg("--config").arg(&config).arg("--export");
    command.arg(format!("whole={}", at("whole.txt").display()));
    let said = run(command.args(["--export", "prometheus"]).arg(log("malformed.log"))).success();
    for name in ["missing.so", "truncated.so", "text.so", "empty.so"] {
        let named = said.stderr.lines().filter(|line| line.contains(name)).count();
        assert_eq!(named, 1, "{name}:\n{}", said.stderr);
    }
    assert!(said.stdout.contains("\nlines_total 139\n"), "{}", said.stdout);
    let statsd = String::from_utf8(contents(&at("whole.txt"))).expect("UTF-8");
    assert!(statsd.contains("lines_total:139|c\n"), "{statsd}");

    // What needs such a plugin fails, by name, and does not stop the rest.
    let mut command = host();
    command.arg("--config").arg(&config).args(["--export", "truncated", "--export", "prometheus"]);
    let said = run(command.arg(log("malformed.log")));
    assert_eq!(said.code, Some(4), "{}", said.stderr);
    assert!(said.stderr.contains("truncated: "), "{}", said.stderr);
    assert!(said.stdout.contains("\nlines_total 139\n"), "{}", said.stdout);

    // Unless it is required.
    fs::write(at("need.toml"), "schema = 1\n[plugins.s]\npath = \"missing.so\"\nrequired = true\n")
        .expect("a configuration");
    let said = run(host().arg("--config").arg(at("need.toml")).arg(log("malformed.log")));
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(said.stderr.contains("missing.so"), "{}", said.stderr);
}

#[test]
fn a_wrong_configuration_is_exit_3_with_the_place_and_the_nearest_name() {
    let folder = TempDir::new().expect("a folder");
    let config = folder.path().join("bad.toml");
    fs::write(&config, "schema = 1\n[plugins.csv]\nenabeld = true\n").expect("a configuration");
    let said = run(host().arg("--config").arg(&config).arg(log("access.log")));
    assert_eq!(said.code, Some(3), "{}", said.stderr);
    assert!(said.stderr.contains("bad.toml:3:1"), "{}", said.stderr);
    assert!(said.stderr.contains("`enabled`"), "{}", said.stderr);
}

/// Exports what is counted from `stdin` and `arguments`, and returns it with the recount of `bytes`.
fn counts_like(arguments: &[&Path], stdin: Stdio, bytes: &[u8]) {
    let folder = TempDir::new().expect("a folder");
    let [copy, text, series] = ["log", "text", "series"].map(|name| folder.path().join(name));
    fs::write(&copy, bytes).expect("a copy");
    let mut command = host();
    command.args(["--export", "prometheus"]).args(arguments).stdin(stdin);
    fs::write(&text, run(&mut command).success().stdout).expect("the export");
    read_back("read_prometheus.py", &text, &series);
    compare(&recount(&copy, folder.path()), &series, &[]);
}

#[test]
fn a_log_may_come_from_stdin_be_empty_or_be_no_log_at_all() {
    let folder = TempDir::new().expect("a folder");
    let empty = folder.path().join("empty.log");
    fs::write(&empty, "").expect("a log");
    let stdin = || Stdio::from(File::open(log("malformed.log")).expect("the log"));
    let malformed = contents(&log("malformed.log"));
    counts_like(&[], stdin(), &malformed);
    counts_like(&[Path::new("-")], stdin(), &malformed);
    counts_like(&[&empty], Stdio::null(), b"");
    counts_like(&[Path::new("/dev/null")], Stdio::null(), b"");
    let binary = programs("gcc").join("libtallyport.so.1");
    counts_like(&[&binary], Stdio::null(), &contents(&binary));
}

#[test]
fn a_log_that_cannot_be_read_is_exit_1_and_names_the_file() {
    let folder = TempDir::new().expect("a folder");
    let missing = folder.path().join("missing.log");
    for (path, reason) in [(folder.path(), "Is a directory"), (&missing, "No such file")] {
        let said = run(host().args(["--export", "prometheus"]).arg(path));
        assert_eq!(said.code, Some(1), "{}", said.stderr);
        assert!(said.stderr.contains(&*path.to_string_lossy()), "{}", said.stderr);
        assert!(said.stderr.contains(reason), "{}", said.stderr);
    }
}

#[test]
fn exports_that_cannot_be_written_are_exit_4_and_the_others_are_written() {
    let folder = TempDir::new().expect("a folder");
    let good = folder.path().join("good.txt");
    let nowhere = folder.path().join("no/such/folder");
    let mut command = host();
    command.args(["--export", "json=/dev/full", "--export", "xml", "--export"]);
    command.arg(format!("csv={}", nowhere.display())).arg("--save").arg(&nowhere);
    command.arg("--export").arg(format!("prometheus={}", good.display()));
    let said = run(command.arg(log("malformed.log")));
    assert_eq!(said.code, Some(4), "{}", said.stderr);
    for part in ["No space left", "xml", "no/such/folder"] {
        assert!(said.stderr.contains(part), "{part}:\n{}", said.stderr);
    }
    assert!(!contents(&good).is_empty());
}

#[test]
fn the_command_line_of_the_host_is_checked() {
    let help = run(host().arg("--help")).success();
    assert!(help.stdout.starts_with("usage: accesslog"), "{}", help.stdout);
    for wrong in [&["--exprot", "json"][..], &["--export"], &["a.log", "b.log"]] {
        assert_eq!(run(host().args(wrong)).code, Some(2), "{wrong:?}");
    }
}

#[test]
fn the_demo_shows_every_format() {
    let library = built("libtallyport.so");
    let _ = built("tallyport");
    let folder = TempDir::new().expect("a folder");
    let _ = config(folder.path());
    let mut demo = Command::new(repo_root().join("examples/run-demo.sh"));
    demo.arg(library.parent().expect("a folder")).arg(folder.path().join("demo"));
    let said = run(&mut demo).success();
    let shown = [
        "# HELP lines_total Lines of the log.",
        "lines_total 5052",
        "\"timestamp\": ",
        "timestamp,name,type,value,labels",
        "timestamp;name;type;value;label_",
        "shop.lines_total:5052|c",
        "byte for byte",
        "malformed_lines_total 66",
    ];
    for line in shown {
        assert!(said.stdout.contains(line), "no {line:?} in:\n{}", said.stdout);
    }
}
