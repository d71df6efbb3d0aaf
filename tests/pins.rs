//! Pins: what was checked is what is loaded, whatever happens to the file meanwhile.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    thread,
};

use tallyport_core::{
    engine::{
        Engine,
        config::{Config, LibraryConfig, PluginConfig},
    },
    model::{Error, ErrorKind},
    plugin::Sha256,
};
use tallyport_tests::{Compiler, PLUGIN_LINK, compile, plugin, repo_root, run};
use tempfile::TempDir;

/// With room for the copies of every test here.
fn engine() -> Engine {
    let mut config = Config::default();
    config.loading.max_images = 1000;
    Engine::builder().config(config).build().unwrap()
}

fn hash(path: &Path) -> String {
    Sha256::of(&fs::read(path).unwrap()).to_string()
}

fn pinned(path: &Path, sha256: &str) -> PluginConfig {
    PluginConfig {
        path: Some(path.to_owned()),
        sha256: Some(sha256.to_owned()),
        ..PluginConfig::default()
    }
}

/// What the exporter of a plugin writes, loaded under a name that is free again afterwards.
fn load(engine: &Engine, plugin: &PluginConfig) -> Result<String, Error> {
    engine.load_plugin("under_test", plugin)?;
    let text = String::from_utf8(engine.export_to_vec("under_test").unwrap()).unwrap();
    engine.plugins().unregister("under_test").unwrap();
    Ok(text)
}

#[track_caller]
fn refused(done: Result<String, Error>, texts: &[&str]) {
    let error = done.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginRefused, "{error}");
    for text in texts {
        assert!(error.to_string().contains(text), "`{text}` is not in: {error}");
    }
}

/// The good plugin with another word for what it writes, and something at its end that makes it
/// another file.
fn variant(word: &[u8; 5], number: usize) -> Vec<u8> {
    let mut bytes = fs::read(plugin("good_minimal.c")).unwrap();
    let places: Vec<usize> =
        (0..bytes.len() - 6).filter(|at| bytes[*at..].starts_with(b"good\n\0")).collect();
    assert_eq!(places.len(), 1, "the word of the good plugin");
    bytes[places[0]..places[0] + 5].copy_from_slice(word);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes
}

fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_pin_takes_the_place_of_the_rules_for_owners_and_links() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, "plugin.so", &variant(b"mine\n", 0));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let link = folder.path().join("link.so");
    symlink(&file, &link).unwrap();
    let engine = engine();
    for path in [&file, &link] {
        let plugin = PluginConfig { sha256: None, ..pinned(path, "") };
        assert!(load(&engine, &plugin).is_err());
        assert_eq!(load(&engine, &pinned(path, &hash(&file))).unwrap(), "mine\n");
    }
    // It is no pin of something that is no file.
    let fifo = folder.path().join("fifo");
    let _ = run(Command::new("mkfifo").arg(&fifo)).success();
    refused(load(&engine, &pinned(&fifo, &hash(&file))), &["not a regular file"]);
    let broken = write(&folder, "broken.so", b"\x7fELF");
    refused(load(&engine, &pinned(&broken, &hash(&broken))), &["header is cut"]);
}

#[test]
fn another_file_is_refused_with_both_hashes() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, "plugin.so", &variant(b"mine\n", 1));
    let wanted = Sha256::of(b"").to_string();
    let found = hash(&file);
    refused(
        load(&engine(), &pinned(&file, &wanted)),
        &[&format!(
            "plugin file `{}`: its sha256 is {found}; the pin says {wanted}",
            file.display()
        )],
    );
    // Of a damaged one too: it is not looked into.
    fs::write(&file, b"garbage").unwrap();
    refused(load(&engine(), &pinned(&file, &found)), &[&format!("the pin says {found}")]);
    let error = load(&engine(), &pinned(&file, "abc")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert_eq!(error.field(), Some("plugins.under_test.sha256"));
}

#[test]
fn what_happens_to_the_file_later_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, "plugin.so", &variant(b"one!\n", 2));
    let engine = engine();
    engine.load_plugin("kept", &pinned(&path, &hash(&path))).unwrap();
    let export = || String::from_utf8(engine.export_to_vec("kept").unwrap()).unwrap();
    assert_eq!(export(), "one!\n");
    // Cut in place: a file that is mapped as it is kills its process here.
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    assert_eq!(export(), "one!\n");
    // Another one under the same name is another one.
    fs::write(&path, variant(b"two!\n", 2)).unwrap();
    engine.replace_plugin("kept", &pinned(&path, &hash(&path))).unwrap();
    assert_eq!(export(), "two!\n");
    fs::write(&path, variant(b"one!\n", 2)).unwrap();
    engine.replace_plugin("kept", &pinned(&path, &hash(&path))).unwrap();
    assert_eq!(export(), "one!\n");
}

#[test]
fn a_file_that_is_swapped_while_it_is_loaded_is_the_pinned_one_or_refused() {
    let swaps = std::env::var("TALLYPORT_SWAPS").map_or(500, |text| text.parse().unwrap());
    /// Files that differ: each is an image of its own.
    const FILES: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plugin.so");
    let good: Vec<_> = (0..FILES).map(|number| variant(b"good\n", number)).collect();
    let pins: Vec<_> = good.iter().map(|bytes| Sha256::of(bytes).to_string()).collect();
    fs::write(&path, &good[0]).unwrap();
    let (engine, done, wanted) = (engine(), AtomicBool::new(false), AtomicUsize::new(0));
    let (mut loaded, mut refusals) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for swap in 0..swaps {
                let number = wanted.load(SeqCst) % FILES;
                let next = match swap % 2 {
                    0 => variant(b"evil\n", number),
                    _ => good[number].clone(),
                };
                let fresh = folder.path().join("fresh");
                fs::write(&fresh, next).unwrap();
                fs::rename(&fresh, &path).unwrap();
            }
            done.store(true, SeqCst);
        });
        while !done.load(SeqCst) {
            let number = wanted.load(SeqCst) % FILES;
            match load(&engine, &pinned(&path, &pins[number])) {
                Ok(text) => {
                    assert_eq!(text, "good\n", "code that was never checked ran");
                    loaded += 1;
                    wanted.fetch_add(1, SeqCst);
                }
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains("its sha256 is"), "{text}");
                    refusals += 1;
                }
            }
        }
    });
    assert!(loaded > 0 && refusals > 0, "{loaded} loaded, {refusals} refused");
    println!("{swaps} swaps: {loaded} loaded, {refusals} refused");
}

/// Loads three pinned files, the second of which closes every descriptor of the process.
#[test]
fn a_child_loads_pinned_files() {
    let Some(folder) = std::env::var_os("TALLYPORT_TEST_FOLDER") else { return };
    let engine = engine();
    let mut said = Vec::new();
    for name in ["a.so", "closes.so", "b.so", "a.so"] {
        let path = Path::new(&folder).join(name);
        let done = load(&engine, &pinned(&path, &hash(&path)));
        said.push(done.unwrap_or_else(|error| error.to_string()));
    }
    fs::write(Path::new(&folder).join("said"), said.concat()).unwrap();
}

fn pinned_in_a_child(command: &mut Command) -> String {
    let folder = tempfile::tempdir().unwrap();
    write(&folder, "a.so", &variant(b"aaaa\n", 0));
    write(&folder, "b.so", &variant(b"bbbb\n", 0));
    fs::copy(plugin("closes_descriptors.c"), folder.path().join("closes.so")).unwrap();
    let _ = run(command.env("TALLYPORT_TEST_FOLDER", folder.path()));
    fs::read_to_string(folder.path().join("said")).unwrap()
}

#[test]
fn a_descriptor_that_was_closed_is_not_taken_for_the_plugin_that_had_it() {
    let mut own = Command::new(std::env::current_exe().unwrap());
    own.args(["--exact", "a_child_loads_pinned_files"]);
    assert_eq!(pinned_in_a_child(&mut own), "aaaa\ngood\nbbbb\naaaa\n");
}

#[test]
fn without_descriptors_to_spare_a_private_copy_is_loaded_and_removed() {
    let left = || {
        let entries = fs::read_dir("/tmp").unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("tallyport-plugin-")).count()
    };
    let before = left();
    let mut own = Command::new("sh");
    own.args(["-c", "ulimit -n 64; exec \"$@\"", "sh"]).arg(std::env::current_exe().unwrap());
    own.args(["--exact", "a_child_loads_pinned_files"]);
    assert_eq!(pinned_in_a_child(&mut own), "aaaa\ngood\nbbbb\naaaa\n");
    assert!(left() <= before, "copies were left behind");
}

/// needs_library.c and its library, in a folder of their own.
struct Needs {
    folder: TempDir,
    plugin: PathBuf,
    library: PathBuf,
}

impl Needs {
    /// `soname` is unique for each test: a process has one library of a name.
    fn new(soname: &str, word: &str, link: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = |name: &str| repo_root().join("tests/plugins").join(name);
        let library = folder.path().join(soname);
        let mut flags = PLUGIN_LINK[..2].to_vec();
        let (soname, word) = (format!("-Wl,-soname,{soname}"), format!("-DWORD=\"{word}\""));
        flags.extend([&*soname, &*word]);
        compile(Compiler::Gcc, "c99", &[&source("needed.c")], &flags, &library).unwrap();
        let plugin = folder.path().join("plugin.so");
        let mut flags = PLUGIN_LINK.to_vec();
        flags.push(library.to_str().unwrap());
        flags.extend(link);
        compile(Compiler::Gcc, "c99", &[&source("needs_library.c")], &flags, &plugin).unwrap();
        Self { folder, plugin, library }
    }

    fn entry(&self, name: &str, sha256: &str) -> PluginConfig {
        let library = LibraryConfig { path: self.library.clone(), sha256: sha256.to_owned() };
        let libraries = BTreeMap::from([(name.to_owned(), library)]);
        PluginConfig { libraries, ..pinned(&self.plugin, &hash(&self.plugin)) }
    }
}

#[test]
fn a_pinned_library_comes_before_the_plugin_that_needs_it() {
    let name = "libneeded-pinned.so.1";
    let needs = Needs::new(name, "pinned", &["-Wl,-rpath,$ORIGIN"]);
    let engine = engine();
    let alone = pinned(&needs.plugin, &hash(&needs.plugin));
    let reason = format!("it needs `{name}`, which is not in a folder of the system: pin it");
    refused(load(&engine, &alone), &[&reason]);
    let sha256 = hash(&needs.library);
    let wrong = Sha256::of(b"").to_string();
    refused(load(&engine, &needs.entry(name, &wrong)), &[name, "its sha256 is", &sha256]);
    let other = needs.entry("libother.so.1", &sha256);
    refused(load(&engine, &other), &["pin it in `libraries`"]);
    // Found where it is pinned, not where the plugin would look for it.
    let moved = needs.folder.path().join("elsewhere");
    fs::rename(&needs.library, &moved).unwrap();
    let needs = Needs { library: moved, ..needs };
    assert_eq!(load(&engine, &needs.entry(name, &sha256)).unwrap(), "pinned");
    // And the process has one of that name now.
    let second = Needs::new(name, "second", &[]);
    let done = load(&engine, &second.entry(name, &hash(&second.library)));
    refused(done, &["the process has another `libneeded-pinned.so.1` loaded"]);
}

#[test]
fn without_a_pin_a_plugin_finds_its_library_beside_it() {
    let needs = Needs::new("libneeded-beside.so.1", "beside", &["-Wl,-rpath,$ORIGIN"]);
    let entry = PluginConfig { sha256: None, ..pinned(&needs.plugin, "") };
    assert_eq!(load(&engine(), &entry).unwrap(), "beside");
}

#[test]
fn a_library_must_be_what_it_is_pinned_as() {
    let name = "libneeded-named.so.1";
    let mut needs = Needs::new(name, "named", &[]);
    needs.library = write(&needs.folder, "text", b"no library");
    let entry = needs.entry(name, &hash(&needs.library));
    refused(load(&engine(), &entry), &[name, "not an ELF file"]);
    let stranger = Needs::new("libstranger.so.1", "stranger", &[]);
    needs.library = stranger.library.clone();
    let entry = needs.entry(name, &hash(&stranger.library));
    refused(load(&engine(), &entry), &["it calls itself `libstranger.so.1` (SONAME)"]);
}

#[test]
fn a_path_for_libraries_that_no_pin_covers_is_refused() {
    // libz is the system's and no test loads it; /nowhere could be anybody's.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plugin.so");
    let source = repo_root().join("tests/plugins/good_minimal.c");
    let mut flags = PLUGIN_LINK.to_vec();
    flags.extend(["-Wl,--no-as-needed", "-l:libz.so.1", "-Wl,-rpath,/nowhere/$ORIGIN"]);
    compile(Compiler::Gcc, "c99", &[&source], &flags, &path).unwrap();
    refused(
        load(&engine(), &pinned(&path, &hash(&path))),
        &["it looks for libraries in `/nowhere/$ORIGIN` (RUNPATH)"],
    );
}
