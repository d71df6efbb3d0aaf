//! `--output`: a file is replaced as a whole or stays as it was.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    process::Command,
};

use common::{Place, Run};
use tallyport_plugin_api::abi::TALLYPORT_PLUGIN_FAILED;

const JSON: &str = "export --from app.snap --format json --output";

fn mode(place: &Place, name: &str) -> u32 {
    fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_new_file_gets_what_the_umask_leaves() {
    let place = Place::new();
    place.shell(&format!("umask 027; tallyport {JSON} out.json")).exits(0).silent();
    assert_eq!(mode(&place, "out.json"), 0o640);
    assert_eq!(place.names(), ["app.snap", "out.json"]);
}

#[test]
fn an_existing_file_keeps_its_mode() {
    let place = Place::new();
    let path = place.write("out.json", "old");
    for wanted in [0o600, 0o644, 0o664, 0o400] {
        fs::set_permissions(&path, Permissions::from_mode(wanted)).unwrap();
        place.run(&format!("{JSON} out.json")).exits(0).silent();
        assert_eq!(mode(&place, "out.json"), wanted);
        assert!(place.read("out.json").starts_with('{'));
    }
}

#[test]
fn a_reader_of_the_old_file_keeps_it() {
    use std::io::Read;
    let place = Place::new();
    let mut old = fs::File::open(place.write("out.json", "old")).unwrap();
    place.run(&format!("{JSON} out.json")).exits(0);
    let mut text = String::new();
    old.read_to_string(&mut text).unwrap();
    assert_eq!(text, "old");
}

#[test]
fn a_failed_export_leaves_the_file_and_nothing_beside_it() {
    let place = Place::new();
    place.config("mine", &format!("fail = {TALLYPORT_PLUGIN_FAILED}"));
    place.write("out", "old");
    let before = place.names();
    for (words, code) in [
        ("--from app.snap --format mine -c tallyport.toml", 10),
        ("--from none.snap --format json", 7),
        ("--from app.snap --format nothing", 2),
    ] {
        place.run(&format!("export {words} --output out")).fails(code, &[]);
        assert_eq!(place.read("out"), "old");
        assert_eq!(place.names(), before);
    }
    place.run("export --from app.snap -f mine -c tallyport.toml -o new").fails(10, &[]);
    assert_eq!(place.names(), before);
}

#[test]
fn what_is_not_a_regular_file_is_refused_and_not_touched() {
    let place = Place::new();
    fs::create_dir(place.path("folder")).unwrap();
    place.run(&format!("{JSON} folder")).fails(10, &["`folder`", "it is a directory"]);
    place.run(&format!("{JSON} folder/")).fails(10, &["it is a directory"]);
    place.run(&format!("{JSON} .")).fails(10, &["it is a directory"]);
    let made = Command::new("mkfifo").arg(place.path("fifo")).status().unwrap();
    assert!(made.success());
    place.run(&format!("{JSON} fifo")).fails(10, &["not a regular file", "hint: "]);
    place.run(&format!("{JSON} /dev/null")).fails(10, &["not a regular file"]);
    place.run(&format!("{JSON} /dev/full")).fails(10, &["not a regular file"]);

    place.write("precious", "old");
    symlink(place.path("precious"), place.path("link")).unwrap();
    place.run(&format!("{JSON} link")).fails(10, &["symbolic link", "hint: "]);
    assert_eq!(place.read("precious"), "old");
    assert_eq!(place.names(), ["app.snap", "fifo", "folder", "link", "precious"]);
}

#[test]
fn a_folder_that_is_missing_or_closed_is_an_error() {
    let place = Place::new();
    place.run(&format!("{JSON} none/out.json")).fails(10, &["`none/out.json`", "No such file"]);
    place.write("file", "");
    place.run(&format!("{JSON} file/out.json")).fails(10, &["Not a directory"]);
    // For root every folder is open.
    fs::create_dir(place.path("closed")).unwrap();
    fs::set_permissions(place.path("closed"), Permissions::from_mode(0o555)).unwrap();
    let root = fs::write(place.path("closed/probe"), "").is_ok();
    if !root {
        place.run(&format!("{JSON} closed/out")).fails(10, &["Permission denied"]);
    }
    let empty = ["export", "-f", "json", "--from", "app.snap", "-o", ""];
    Run::of(place.command(empty).output().unwrap()).fails(2, &["--output"]);
}

#[test]
fn a_dash_is_stdout_and_a_file_may_be_called_so() {
    let place = Place::new();
    let text = place.run(&format!("{JSON} -")).exits(0).silent().stdout;
    assert!(text.starts_with('{'));
    assert_eq!(place.names(), ["app.snap"]);
    place.run(&format!("{JSON} ./-")).exits(0);
    assert!(place.read("-").starts_with('{'));
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    let place = Place::new();
    place.config("mine", "repeat = 10000");
    place.write("out", "old");
    // A limit on file sizes stands for the disk; the signal that comes with it is ignored.
    let script = "trap '' XFSZ; ulimit -f 8; tallyport export --from app.snap -f mine \
                  -c tallyport.toml -o out";
    let run = place.shell(script).exits(10).says(&["output `out`", "File too large"]);
    assert_eq!(run.stdout, "");
    assert_eq!(place.read("out"), "old");
    assert_eq!(place.names(), ["app.snap", "out", "tallyport.toml"]);
}

#[test]
fn a_closed_stdout_is_an_error() {
    let place = Place::new();
    for words in ["plugins list", "export --from app.snap --format json", "config schema", "--help"]
    {
        let run = place.shell(&format!("tallyport {words} >&-"));
        run.exits(10).says(&["stdout: ", "Bad file descriptor"]);
        place.shell(&format!("tallyport {words} > /dev/null")).exits(0);
        // Open for reading and writing, as a daemon has it.
        place.shell(&format!("tallyport {words} 1<> /dev/null")).exits(0);
    }
    // Who asks for a file needs no stdout.
    place.shell("tallyport export --from app.snap --format json --output a.json >&-").exits(0);
}
