//! The Ruby gem: its specs, real servers with it, the gem file itself.
//!
//! `xtask/setup.sh test` installs Ruby and what the specs want; without it these tests fail.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use tallyport_tests::{build_folder, built, repo_root, run};

fn gem_folder() -> PathBuf {
    repo_root().join("bindings/ruby")
}

fn library() -> PathBuf {
    built("libtallyport.so")
}

/// A command in the gem's folder, on the library that was built.
fn ruby(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(gem_folder());
    command.env("TALLYPORT_LIBRARY", library()).env("RUBYOPT", "-W:no-deprecated");
    command
}

/// A folder of the load path in which the C extension was built.
fn extension() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = build_folder().join(format!("ruby-{}", std::process::id()));
        let _ = run(ruby(&["rake", "compile"]).env("INTO", &folder)).success();
        folder
    })
}

fn specs(extension_in: Option<&Path>, words: &[&str]) {
    let mut command = ruby(&[&["rspec"], words].concat());
    match extension_in {
        Some(folder) => command.env("RUBYLIB", folder).env("TALLYPORT_EXTENSION", "on"),
        None => command.env("TALLYPORT_EXTENSION", "off"),
    };
    let _ = run(&mut command).success();
}

#[test]
fn the_specs_pass_with_the_extension() {
    specs(Some(extension()), &["--exclude-pattern", "spec/hosts_spec.rb"]);
}

/// What the extension has a part in: series, and what records in threads, forks and trap handlers.
#[test]
fn recording_passes_through_ffi_alone() {
    let files =
        ["metrics", "labels", "client", "engine"].map(|name| format!("spec/{name}_spec.rb"));
    specs(None, &files.each_ref().map(String::as_str));
}

#[test]
fn puma_unicorn_sidekiq_and_rails_count_exactly_without_configuration() {
    specs(Some(extension()), &["spec/hosts_spec.rb"]);
}

#[test]
fn types_are_valid_and_everything_public_is_documented() {
    let _ = run(&mut ruby(&["rake", "types"])).success();
    let stats =
        run(&mut ruby(&["yard", "stats", "--list-undoc", "--no-save", "--no-cache"])).success();
    assert!(stats.stdout.contains("100.00% documented"), "{}", stats.stdout);
    assert!(!stats.stdout.contains("[warn]") && stats.stderr.is_empty(), "{stats:?}");
}

/// The gem with library and helper in it, built, installed without a network, and used.
#[test]
fn a_gem_that_carries_the_library_installs_offline_and_exports_its_first_metric() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("ruby");
    let _ = run(Command::new("cp").arg("-r").arg(gem_folder()).arg(&source)).success();
    let _ = run(Command::new("rake").arg("clobber").current_dir(&source)).success();
    let library = library();
    let _ = built("tallyport-plugin-host");
    let gem = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(&source).env_remove("TALLYPORT_LIBRARY");
        run(command.env("FROM", library.parent().unwrap())).success()
    };
    let _ = gem(&["rake", "native", "gem"]);
    let file = fs::read_dir(&source).unwrap().map(|entry| entry.unwrap().path());
    let file = file.filter(|path| path.extension().is_some_and(|e| e == "gem")).last().unwrap();
    assert!(file.to_str().unwrap().contains("linux"), "{}", file.display());
    let home = folder.path().join("home");
    // The system's gems after our own: ffi is among them.
    let system = run(Command::new("gem").args(["environment", "gempath"])).success();
    let path = format!("{}:{}", home.display(), system.stdout.trim());
    let mut install = Command::new("gem");
    install.args(["install", "--local", "--no-document"]).arg(file);
    let said = run(install.env("GEM_HOME", &home).env("GEM_PATH", &path)).success();
    assert!(said.stdout.contains("1 gem installed"), "{said:?}");
    // Nothing of the source is left to find.
    fs::remove_dir_all(&source).unwrap();
    let program = r#"
        gem "tallyport"
        require "tallyport"
        Tallyport.counter(:first_total).increment
        puts Tallyport.export
        helper = File.join(Tallyport::Library::BUNDLED, "tallyport-plugin-host")
        puts "extension #{Tallyport::Extension.loaded?}, helper #{File.executable?(helper)}"
    "#;
    let mut command = Command::new("ruby");
    command.args(["-e", program]).current_dir(folder.path()).env_remove("TALLYPORT_LIBRARY");
    command.env("GEM_PATH", path);
    let said = run(&mut command).success();
    assert!(said.stdout.contains("first_total 1\n"), "{}", said.stdout);
    assert!(said.stdout.contains("extension true, helper true"), "{}", said.stdout);
}
