//! Whose files are loaded. These tests change owners, so they run as root.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    ffi::OsStr,
    fmt::{self, Write},
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, chown, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use tallyport_core::{
    engine::{
        Engine,
        config::{Config, PluginConfig},
    },
    model::{Error, ErrorKind},
    plugin::load_file,
};
use tallyport_tests::{copy_program, plugin, run};
use tempfile::TempDir;
use tracing::{Event, Metadata, Subscriber, field, span};

/// Nobody's number on Debian.
const NOBODY: u32 = 65_534;

/// A folder with a plugin in a folder of its own.
struct Place {
    root: TempDir,
    file: PathBuf,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        mode(root.path(), 0o755);
        let folder = root.path().join("folder");
        fs::create_dir(&folder).unwrap();
        mode(&folder, 0o755);
        let file = folder.join("plugin.so");
        fs::copy(plugin("good_minimal.c"), &file).unwrap();
        mode(&file, 0o644);
        Self { root, file }
    }

    fn folder(&self) -> &Path {
        self.file.parent().unwrap()
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn owner(path: &Path, user: u32) {
    let changed = chown(path, Some(user), Some(user));
    changed.unwrap_or_else(|error| panic!("{}: {error}; these tests run as root", path.display()));
}

fn load(path: &Path, config: Config) -> Result<(), Error> {
    let engine = Engine::builder().config(config).build().unwrap();
    let entry = PluginConfig { path: Some(path.to_owned()), ..PluginConfig::default() };
    engine.load_plugin("under_test", &entry).map(drop)
}

#[track_caller]
fn refused(path: &Path, texts: &[&str]) {
    let error = load(path, Config::default()).unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::PluginRefused, Some("path")), "{error}");
    for text in texts.iter().chain([&&*path.to_string_lossy()]) {
        assert!(error.to_string().contains(*text), "`{text}` is not in: {error}");
    }
}

#[test]
fn a_file_that_others_own_or_can_write_to_is_refused_with_the_command_that_helps() {
    let place = Place::new();
    let name = place.file.display().to_string();
    load(&place.file, Config::default()).unwrap();
    mode(&place.file, 0o666);
    refused(
        &place.file,
        &["everybody can write to it (mode 0666)", &format!("`chmod o-w {name}`")],
    );
    mode(&place.file, 0o664);
    refused(&place.file, &["group 0 can write to it", &format!("`chmod g-w {name}`, or pin it")]);
    mode(&place.file, 0o644);
    owner(&place.file, NOBODY);
    refused(&place.file, &["belongs to user 65534", &format!("`chown 0 {name}`")]);
    let mut config = Config::default();
    config.loading.trusted_owners = vec![NOBODY];
    load(&place.file, config.clone()).unwrap();
    // Whoever is trusted with a file is trusted with what is written there, not with its mode.
    mode(&place.file, 0o646);
    assert!(load(&place.file, config).is_err());
}

#[test]
fn every_folder_above_a_file_counts() {
    let place = Place::new();
    for folder in [place.folder(), place.root.path()] {
        let name = folder.display().to_string();
        mode(folder, 0o777);
        let command = format!("`chmod o-w {name}`");
        refused(&place.file, &[&format!("everybody can write to its folder `{name}`"), &command]);
        mode(folder, 0o775);
        refused(&place.file, &[&format!("group 0 can write to its folder `{name}`")]);
        // Nobody can take a file of ours out of a sticky folder.
        mode(folder, 0o1777);
        load(&place.file, Config::default()).unwrap();
        mode(folder, 0o755);
        owner(folder, NOBODY);
        refused(&place.file, &[&format!("its folder `{name}` belongs to user 65534")]);
        owner(folder, 0);
    }
    load(&place.file, Config::default()).unwrap();
}

#[test]
fn a_link_is_refused_and_folders_are_judged_where_they_really_are() {
    let place = Place::new();
    let link = place.folder().join("link.so");
    symlink("plugin.so", &link).unwrap();
    refused(&link, &["it is a symbolic link, to `plugin.so`: give the path of the file itself"]);
    let dangling = place.folder().join("dangling.so");
    symlink("/nowhere", &dangling).unwrap();
    refused(&dangling, &["symbolic link"]);
    // A link to a folder is followed, and then it is that folder's mode that counts.
    let linked = place.root.path().join("linked");
    symlink("folder", &linked).unwrap();
    load(&linked.join("plugin.so"), Config::default()).unwrap();
    load(&linked.join("../folder/plugin.so"), Config::default()).unwrap();
    mode(place.folder(), 0o777);
    let real = place.folder().display().to_string();
    refused(&linked.join("plugin.so"), &[&format!("its folder `{real}`")]);
    refused(&linked.join("../folder/plugin.so"), &[&format!("its folder `{real}`")]);
}

#[test]
fn paths_that_name_no_file_are_refused() {
    let place = Place::new();
    refused(&place.folder().join(".."), &["names no file"]);
    refused(Path::new("/"), &["names no file"]);
    refused(place.folder(), &["not a regular file"]);
    refused(Path::new("/dev/zero"), &["not a regular file"]);
    refused(&place.file.join("x"), &["Not a directory"]);
    let long = place.folder().join("x".repeat(5000));
    refused(&long, &["File name too long"]);
    let nul = Path::new(OsStr::from_bytes(b"/tmp/a\0b.so"));
    let error = load_file(nul).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginRefused, "{error}");
}

#[test]
fn a_path_that_a_shell_would_split_is_quoted() {
    let place = Place::new();
    let file = place.folder().join("it's a plugin.so");
    fs::rename(&place.file, &file).unwrap();
    mode(&file, 0o666);
    refused(&file, &[r"/folder/it'\''s a plugin.so'`"]);
}

/// Keeps the text of every event.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut log = self.0.lock().unwrap();
        write!(log, "{} ", event.metadata().level()).unwrap();
        let mut each = |field: &field::Field, value: &dyn fmt::Debug| {
            write!(log, "{field}={value:?} ").unwrap();
        };
        event.record(&mut each);
        log.push('\n');
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Loads what the environment names, for the tests below, and prints what was said.
#[test]
fn a_child_loads_a_file() {
    let Some(path) = std::env::var_os("TALLYPORT_TEST_LOAD") else { return };
    let log = Log::default();
    let done = tracing::subscriber::with_default(log.clone(), || load_file(Path::new(&path)));
    println!("{done:?}\n{}", log.0.lock().unwrap());
}

/// This test program again, as another user's process.
fn as_nobody(place: &Place, program: &Path) -> String {
    let mut command = Command::new(program);
    command.args(["--exact", "a_child_loads_a_file", "--nocapture"]);
    command.env("TALLYPORT_TEST_LOAD", &place.file).uid(NOBODY).gid(NOBODY);
    run(command.current_dir("/")).success().stdout
}

/// This test program where everybody can run it.
fn own_program(place: &Place) -> PathBuf {
    let program = place.root.path().join("host");
    copy_program(&std::env::current_exe().unwrap(), &program);
    mode(&program, 0o755);
    program
}

#[test]
fn who_is_not_privileged_is_warned_of_a_group_and_trusts_root_and_himself() {
    let place = Place::new();
    let program = own_program(&place);
    let loaded = as_nobody(&place, &program);
    assert!(loaded.contains("Ok(LoadedFile") && !loaded.contains("WARN"), "{loaded}");
    owner(&place.file, NOBODY);
    mode(&place.file, 0o664);
    let warned = as_nobody(&place, &program);
    assert!(warned.contains("Ok(LoadedFile"), "{warned}");
    let name = place.file.display();
    let command =
        format!("WARN message=group 65534 can write to it (mode 0664): `chmod g-w {name}`");
    assert!(warned.contains(&command), "{warned}");
    mode(&place.file, 0o666);
    let refused = as_nobody(&place, &program);
    assert!(refused.contains("PluginRefused") && refused.contains("chmod o-w"), "{refused}");
    owner(&place.file, 1);
    mode(&place.file, 0o644);
    let refused = as_nobody(&place, &program);
    assert!(refused.contains("belongs to user 1,"), "{refused}");
}

#[test]
fn a_setuid_host_is_privileged() {
    let place = Place::new();
    let program = own_program(&place);
    owner(&program, 1);
    mode(&program, 0o4755);
    owner(&place.file, 1);
    mode(&place.file, 0o664);
    let refused = as_nobody(&place, &program);
    assert!(refused.contains("group 1 can write to it"), "{refused}");
    mode(&place.file, 0o644);
    let loaded = as_nobody(&place, &program);
    assert!(loaded.contains("Ok(LoadedFile"), "{loaded}");
    // Whoever started it is not who runs it.
    owner(&place.file, NOBODY);
    let refused = as_nobody(&place, &program);
    assert!(refused.contains("belongs to user 65534"), "{refused}");
}
