//! Real hosts: C and C++ programs that use libtallyport, dynamic and static, gcc and clang, run as
//! they are and under valgrind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // as tests

#[path = "hosts/prototypes.rs"]
mod prototypes;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, OnceLock},
};

use tallyport_core::plugin::Sha256;
use tallyport_tests::{Compiler, Output, build_folder, built, compile, plugin, repo_root, run};
use tempfile::TempDir;

/// What `cargo rustc -- --print native-static-libs` says a static host needs besides the archive.
const STATIC_LIBS: &[&str] = &["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Shared,
    Static,
}

/// A folder with the library under the name that programs ask for.
fn library_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let library = built("libtallyport.so");
        let folder = build_folder().join(format!("hosts-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::copy(library, folder.join("libtallyport.so.1")).unwrap();
        folder
    })
}

fn header() -> String {
    fs::read_to_string(repo_root().join("include/tallyport.h")).unwrap()
}

fn host(file: &str) -> PathBuf {
    repo_root().join("tests/hosts").join(file)
}

/// Compiles a host, once: another test may run it already. The test fails when it does not compile.
fn build(source: &Path, compiler: Compiler, std: &str, link: Link, more: &[&str]) -> PathBuf {
    let folder = library_folder();
    let name = source.file_name().unwrap().to_string_lossy();
    let tag: String = more.concat().chars().filter(char::is_ascii_alphanumeric).collect();
    let output = folder.join(format!("{name}-{}-{std}-{link:?}{tag}", compiler.program()));
    let hosts = repo_root().join("tests/hosts");
    let library = match link {
        Link::Shared => folder.join("libtallyport.so.1"),
        Link::Static => built("libtallyport.a"),
    };
    let rpath = format!("-Wl,-rpath,{}", folder.display());
    let mut flags = vec!["-O1", "-I", hosts.to_str().unwrap(), library.to_str().unwrap()];
    match link {
        Link::Shared => flags.push(&rpath),
        Link::Static => flags.extend(STATIC_LIBS),
    }
    // Debian 12's valgrind cannot read the DWARF 5 of clang.
    flags.extend(["-pthread", "-gdwarf-4"]);
    flags.extend(more);
    static BUILT: Mutex<BTreeMap<PathBuf, Arc<OnceLock<PathBuf>>>> = Mutex::new(BTreeMap::new());
    let once = Arc::clone(BUILT.lock().unwrap().entry(output.clone()).or_default());
    once.get_or_init(|| {
        compile(compiler, std, &[source], &flags, &output)
            .unwrap_or_else(|text| panic!("{name} does not compile:\n{text}"))
    })
    .clone()
}

/// Runs a host; it must say nothing.
fn run_plainly(host: &Path, arguments: &[&Path]) -> Output {
    let output = run(Command::new(host).args(arguments)).success();
    assert_eq!(output.stderr, "", "the library or the host wrote to stderr");
    output
}

/// Runs a host as it is, then under valgrind: no error, no leak.
fn run_twice(host: &Path, arguments: &[&Path]) -> Output {
    let output = run_plainly(host, arguments);
    let valgrind = [
        "--quiet",
        "--error-exitcode=9",
        "--leak-check=full",
        "--errors-for-leak-kinds=definite",
        "--show-leak-kinds=definite",
    ];
    let checked = run(Command::new("valgrind").args(valgrind).arg(host).args(arguments)).success();
    assert_eq!(checked.stderr, "", "valgrind has something to say");
    output
}

#[test]
fn a_host_that_makes_every_call() {
    let source = fs::read_to_string(host("every_call.c")).unwrap();
    for function in prototypes::functions(&header()) {
        let name = function.name;
        assert!(source.contains(&format!("{name}(")), "every_call.c does not call {name}");
    }
    let plugin = plugin("good_minimal.c");
    for (compiler, std, link) in [
        (Compiler::Gcc, "c99", Link::Shared),
        (Compiler::Gcc, "c17", Link::Static),
        (Compiler::Clang, "c11", Link::Shared),
        (Compiler::Clang, "c99", Link::Static),
    ] {
        let program = build(&host("every_call.c"), compiler, std, link, &[]);
        let folder = tempfile::tempdir().unwrap();
        // One shared and one static host of different compilers.
        let checked = (compiler == Compiler::Gcc) == (link == Link::Shared);
        let run = if checked { run_twice } else { run_plainly };
        let _ = run(&program, &[&plugin, folder.path()]);
    }
}

#[test]
fn every_null_and_every_wrong_handle_is_refused_by_every_function() {
    let program = prototypes::program(&prototypes::functions(&header()));
    let source = library_folder().join("wrong_arguments.c");
    fs::write(&source, program).unwrap();
    for (compiler, link) in [(Compiler::Gcc, Link::Shared), (Compiler::Clang, Link::Static)] {
        let program = build(&source, compiler, "c99", link, &[]);
        let said = run_twice(&program, &[]).stdout;
        let calls: usize = said.split(' ').next().unwrap().parse().unwrap();
        assert!(calls > 900, "{said}");
    }
}

#[test]
fn bad_input_gets_a_status_and_the_field() {
    let program = build(&host("bad_input.c"), Compiler::Clang, "c17", Link::Shared, &[]);
    let _ = run_plainly(&program, &[]);
    let program = build(&host("bad_input.c"), Compiler::Gcc, "c99", Link::Shared, &[]);
    let _ = run_twice(&program, &[]);
}

#[test]
fn a_log_function_may_call_the_engine_that_logs() {
    let program = build(&host("reentrant_log.c"), Compiler::Gcc, "c99", Link::Shared, &[]);
    let _ = run_twice(&program, &[]);
}

#[test]
fn events_in_a_c_host() {
    let program = build(&host("events.c"), Compiler::Gcc, "c11", Link::Shared, &[]);
    let _ = run_plainly(&program, &[]);
    let _ = run_twice(&program, &[Path::new("100")]);
}

#[test]
fn collect_functions_of_a_c_host() {
    let program = build(&host("collect.c"), Compiler::Gcc, "c11", Link::Shared, &[]);
    let _ = run_plainly(&program, &[Path::new("2000")]);
    // A child leaves alone what other threads were using, so that is not looked for leaks.
    let _ = run_twice(&program, &[Path::new("20"), Path::new("no fork")]);
}

#[test]
fn a_handle_may_be_freed_while_other_threads_record_through_it() {
    let program = build(&host("races.c"), Compiler::Gcc, "c11", Link::Shared, &[]);
    let _ = run_plainly(&program, &[]);
    // Valgrind runs one thread at a time, so it looks for what is touched after it was freed.
    let _ = run_twice(&program, &[Path::new("500")]);
}

#[test]
fn a_signal_handler_and_a_forked_child_record() {
    let program = build(&host("signals.c"), Compiler::Gcc, "c99", Link::Shared, &[]);
    let _ = run_plainly(&program, &[]);
}

#[test]
fn an_exporter_with_a_deadline_keeps_away_from_its_host() {
    let program = build(&host("deadlines.c"), Compiler::Gcc, "c11", Link::Shared, &[]);
    let (waits, good) = (plugin("waits.c"), plugin("good_minimal.c"));
    let folder = tempfile::tempdir().unwrap();
    let _ = run_plainly(&program, &[&waits, &good, folder.path()]);
    // What a forked child leaves alone is lost there, so that is not looked for leaks.
    let folder = tempfile::tempdir().unwrap();
    let _ = run_twice(&program, &[&waits, &good, folder.path(), Path::new("no fork")]);
}

#[test]
fn engines_share_through_a_store() {
    let program = build(&host("sharing.c"), Compiler::Gcc, "c11", Link::Shared, &[]);
    let folder = tempfile::tempdir().unwrap();
    let _ = run_plainly(&program, &[folder.path()]);
    let program = build(&host("sharing.c"), Compiler::Clang, "c11", Link::Static, &[]);
    let folder = tempfile::tempdir().unwrap();
    let _ = run_twice(&program, &[folder.path(), Path::new("no fork")]);
}

#[test]
fn targets_are_exported_by_a_c_host_and_by_its_schedule() {
    let program = build(&host("targets.c"), Compiler::Gcc, "c11", Link::Shared, &[]);
    let folder = tempfile::tempdir().unwrap();
    let _ = run_plainly(&program, &[folder.path()]);
    let program = build(&host("targets.c"), Compiler::Clang, "c11", Link::Static, &[]);
    let folder = tempfile::tempdir().unwrap();
    let _ = run_twice(&program, &[folder.path(), Path::new("no fork")]);
}

#[test]
fn a_host_gives_its_own_store() {
    let program = build(&host("own_store.c"), Compiler::Gcc, "c99", Link::Shared, &[]);
    let _ = run_plainly(&program, &[]);
    let program = build(&host("own_store.c"), Compiler::Clang, "c11", Link::Static, &[]);
    let _ = run_twice(&program, &[]);
}

#[test]
fn a_forked_child_keeps_no_socket_of_its_parents_server() {
    let program = build(&host("serving.c"), Compiler::Gcc, "c11", Link::Shared, &[]);
    let _ = run_plainly(&program, &[]);
    let program = build(&host("serving.c"), Compiler::Clang, "c11", Link::Static, &[]);
    let _ = run_twice(&program, &[Path::new("no fork")]);
}

/// How tests/hosts/forks.c is run with a verb, so many rounds.
fn forks(verb: &str, rounds: u32) -> (Command, TempDir) {
    let program = build(&host("forks.c"), Compiler::Gcc, "c11", Link::Shared, &[]);
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.arg(verb).arg(plugin("good_minimal.c")).arg(plugin("fork_aware.c"));
    command.arg(folder.path().join("slow")).arg(rounds.to_string());
    (command, folder)
}

fn run_forks(verb: &str, rounds: u32) -> Output {
    let (mut command, _folder) = forks(verb, rounds);
    let output = run(&mut command).success();
    assert_eq!(output.stderr, "", "the library or the host wrote to stderr");
    output
}

#[test]
fn a_child_exports_while_its_parents_threads_work() {
    let rounds = std::env::var("TALLYPORT_FORKS").map_or(100, |text| text.parse().unwrap());
    let _ = run_forks("forks", rounds);
}

#[test]
fn a_child_that_no_handler_saw_is_a_child() {
    let _ = run_forks("past-the-handlers", 64);
    let _ = run_forks("records-past-the-handlers", 200);
}

#[test]
fn a_program_that_is_spawned_costs_no_wait() {
    let _ = run_forks("spawns", 200);
}

#[test]
fn forks_that_are_announced_twice_or_wrongly_are_forks() {
    let _ = run_forks("announces", 243);
}

#[test]
fn a_fork_inside_a_call_ends_it_in_both_processes() {
    let _ = run_forks("in-calls", 16);
}

#[test]
fn threads_that_fork_at_once_wait_for_each_other() {
    let _ = run_forks("at-once", 10);
}

#[test]
fn a_child_keeps_what_a_fork_aware_exporter_has() {
    let _ = run_forks("keeps", 1);
}

#[test]
fn a_childs_queue_begins_empty() {
    let _ = run_forks("queues", 1);
}

/// Before Linux 4.14 forks copy every page: then the number of the process tells.
#[test]
fn where_no_page_is_wiped_a_child_is_one_too() {
    let hide = library_folder().join("hide_wipe.so");
    let flags = ["-shared", "-fPIC", "-D_GNU_SOURCE"];
    compile(Compiler::Gcc, "c11", &[&host("hide_wipe.c")], &flags, &hide).unwrap();
    for (verb, rounds) in [("past-the-handlers", 32), ("forks", 20), ("queues", 1)] {
        let (mut command, _folder) = forks(verb, rounds);
        let _ = run(command.env("LD_PRELOAD", &hide)).success();
    }
}

#[test]
fn a_daemon_exports() {
    assert_eq!(run_forks("daemon", 1).stdout, "a daemon\n");
}

#[test]
fn plugins_that_code_loads_have_pins_limits_and_helpers() {
    let program = build(&host("plugin_limits.c"), Compiler::Gcc, "c11", Link::Shared, &[]);
    let good = plugin("good_minimal.c");
    let hash = Sha256::of(&fs::read(&good).unwrap()).to_string();
    let all = ["honours_cancel", "floods", "export_fails", "returns_panic"];
    let others = all.map(|name| plugin(&format!("{name}.c")));
    let prefix = others[0].display().to_string().replace("honours_cancel.c.so", "");
    let helper = built("tallyport-plugin-host");
    let arguments = [&good, Path::new(&hash), Path::new(&prefix)];
    let _ = run_plainly(&program, &[&arguments[..], &[&helper]].concat());
    // What rustix asks the kernel for pins and helpers, Debian 12's valgrind does not know.
    let _ = run_twice(&program, &[&arguments[..], &[Path::new("")]].concat());
}

#[test]
fn a_descriptor_that_would_block_is_waited_for() {
    let program = build(&host("nonblocking_fd.c"), Compiler::Gcc, "c99", Link::Shared, &[]);
    let _ = run_twice(&program, &[]);
}

#[test]
fn a_host_in_cpp_uses_everything_in_the_wrapper() {
    let plugin = plugin("good_minimal.c");
    for (compiler, std, link) in [
        (Compiler::Gxx, "c++17", Link::Shared),
        (Compiler::Gxx, "c++20", Link::Static),
        (Compiler::Clangxx, "c++17", Link::Static),
        (Compiler::Clangxx, "c++20", Link::Shared),
    ] {
        let program = build(&host("every_call.cpp"), compiler, std, link, &[]);
        let folder = tempfile::tempdir().unwrap();
        let run = if link == Link::Shared { run_twice } else { run_plainly };
        let _ = run(&program, &[&plugin, folder.path()]);
    }
}

#[test]
fn a_host_in_cpp_without_exceptions() {
    for compiler in [Compiler::Gxx, Compiler::Clangxx] {
        let flags = ["-fno-exceptions", "-fno-rtti"];
        let source = host("no_exceptions.cpp");
        let _ = run_twice(&build(&source, compiler, "c++17", Link::Shared, &flags), &[]);
    }
}

#[test]
fn the_shared_library_exports_what_the_header_declares_and_nothing_else() {
    let library = built("libtallyport.so");
    let listed = run(Command::new("nm").args(["-D", "--defined-only"]).arg(&library)).success();
    let symbols = listed.stdout.lines().filter_map(|line| line.split(' ').nth(2));
    let exported: BTreeSet<String> = symbols.map(str::to_owned).collect();
    let declared: BTreeSet<String> =
        prototypes::functions(&header()).into_iter().map(|function| function.name).collect();
    assert_eq!(exported, declared);
}

#[test]
fn the_shared_library_has_its_name_and_stays_mapped() {
    let library = built("libtallyport.so");
    let said = run(Command::new("readelf").arg("-dW").arg(&library)).success().stdout;
    assert!(said.contains("Library soname: [libtallyport.so.1]"), "{said}");
    assert!(said.contains("Flags: NOW NODELETE"), "{said}");
}

/// README names this floor; a build on an older system has a lower one.
const GLIBC_FLOOR: (u32, u32) = (2, 34);

#[test]
fn no_symbol_above_the_glibc_floor_is_needed() {
    let library = built("libtallyport.so");
    let said = run(Command::new("readelf").arg("-VW").arg(&library)).success().stdout;
    let versions = said.split("Name: GLIBC_").skip(1).filter_map(|rest| {
        let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok());
        Some((numbers.next()?, numbers.next()?))
    });
    let highest = versions.max().expect("it needs glibc");
    assert!(highest <= GLIBC_FLOOR, "glibc {highest:?} is needed");
}

/// Answers one request with 200, and says what was asked.
fn one_receiver() -> (u16, std::thread::JoinHandle<String>) {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(&stream).lines();
        let first = lines.next().unwrap().unwrap();
        (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        // Until it goes away: what is not read would reset the answer.
        lines.for_each(drop);
        first
    });
    (port, answers)
}

#[test]
fn no_thread_is_started_unless_the_host_asks_for_one() {
    let count = library_folder().join("count_threads.so");
    let flags = ["-shared", "-fPIC", "-D_GNU_SOURCE"];
    compile(Compiler::Gcc, "c11", &[&host("count_threads.c")], &flags, &count).unwrap();
    let program = build(&host("starts_none.c"), Compiler::Gcc, "c11", Link::Shared, &[]);
    for (more, said) in [(None, "threads started: 0\n"), (Some("sync"), "threads started: 1\n")] {
        let folder = tempfile::tempdir().unwrap();
        let (port, answers) = one_receiver();
        let mut command = Command::new(&program);
        command.arg(folder.path()).arg(port.to_string()).args(more).env("LD_PRELOAD", &count);
        assert_eq!(run(&mut command).success().stdout, said);
        assert_eq!(answers.join().unwrap(), "POST /metrics HTTP/1.1");
    }
}

#[test]
fn without_rseq_the_library_loads_and_records_exactly_in_shared_cells() {
    let host_file = build(&host("cells.c"), Compiler::Gcc, "c99", Link::Shared, &[]);
    let hide = library_folder().join("hide_rseq.so");
    let flags = ["-shared", "-fPIC", "-D_GNU_SOURCE"];
    compile(Compiler::Gcc, "c11", &[&host("hide_rseq.c")], &flags, &hide).unwrap();
    let says = |command: &mut Command| run(command).success().stdout;
    let plainly = says(&mut Command::new(&host_file));
    assert!(["percpu\n", "shared\n"].contains(&plainly.as_str()), "{plainly}");
    let tunable = ("GLIBC_TUNABLES", "glibc.pthread.rseq=0");
    assert_eq!(says(Command::new(&host_file).env(tunable.0, tunable.1)), "shared\n");
    let said = says(Command::new(&host_file).env("LD_PRELOAD", &hide));
    assert!(said.starts_with("hidden\n") && said.ends_with("shared\n"), "{said}");
}
