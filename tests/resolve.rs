//! From a name in the configuration to a file: the search path, and manifests.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use tallyport_core::{
    engine::{
        Engine,
        config::{Config, PluginConfig},
    },
    model::{Error, ErrorKind},
    plugin::{SearchPath, Sha256, Trust, platform},
};
use tallyport_tests::{copy_program, plugin, run};
use tempfile::TempDir;

/// A folder with a configuration's `plugins` folder and one of its search path.
struct Place {
    root: TempDir,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("plugins")).unwrap();
        fs::create_dir(root.path().join("more")).unwrap();
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn put(&self, file: &str, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::copy(plugin(file), &path).unwrap();
        path
    }

    /// A manifest of the good plugin.
    fn manifest(&self, name: &str, library: &str, rest: &str) {
        let platform = platform();
        let text = format!(
            "manifest = 1\nid = 'com.example.good-minimal'\nversion = '1.0.0'\n{rest}\n\
             [library.{platform}]\n{library}\n"
        );
        fs::write(self.path(name), text).unwrap();
    }

    /// An engine whose configuration lies in the folder.
    fn engine(&self) -> Engine {
        let mut config = Config { base_dir: self.root.path().to_owned(), ..Config::default() };
        config.loading.search_path = Some(vec!["more".into(), "absent".into()]);
        let builder = Engine::builder().linked(&tallyport_builtin_exporters::EXPORTERS);
        builder.config(config).build().unwrap()
    }

    fn load(&self, name: &str, plugin: &PluginConfig) -> Result<String, Error> {
        let engine = self.engine();
        engine.load_plugin(name, plugin)?;
        Ok(engine.plugins().by_name(name).unwrap().info().origin)
    }
}

fn at(path: &str) -> PluginConfig {
    PluginConfig { path: Some(path.into()), ..PluginConfig::default() }
}

#[test]
fn a_name_is_looked_for_in_every_folder_in_their_order() {
    let place = Place::new();
    let by_name = PluginConfig::default();
    for name in ["more/good.so", "more/libgood.so", "plugins/good.so", "libgood.so"] {
        let path = place.put("good_minimal.c", name);
        assert_eq!(place.load("good", &by_name).unwrap(), path.display().to_string());
    }
    place.manifest("good.plugin.toml", "file = 'more/good.so'", "");
    let origin = place.load("good", &by_name).unwrap();
    assert_eq!(origin, place.path("more/good.so").display().to_string());
    // A file name alone, and a path.
    place.put("good_minimal.c", "more/other.so");
    assert!(place.load("x", &at("other.so")).unwrap().ends_with("/more/other.so"));
    assert!(place.load("x", &at("good.plugin.toml")).unwrap().ends_with("/more/good.so"));
    assert!(place.load("x", &at("more/other.so")).is_ok());
    assert!(place.load("x", &at("./other.so")).is_err(), "a path is not searched");
    // What is linked in comes first.
    place.put("good_minimal.c", "json.so");
    assert_eq!(
        place.load("again", &PluginConfig { exporter: Some("json".into()), ..by_name }).unwrap(),
        "linked in"
    );
}

#[test]
fn a_name_that_is_not_found_lists_every_folder_and_why() {
    let place = Place::new();
    fs::write(place.path("absent"), "no folder").unwrap();
    fs::remove_dir(place.path("plugins")).unwrap();
    let error = place.load("wanted", &PluginConfig::default()).unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::NotFound, Some("path")), "{error}");
    let root = place.root.path().display();
    let names = "wanted.plugin.toml, libwanted.so, wanted.so";
    for text in [
        "plugin `wanted` has no `path`, and no exporter `wanted` is linked in",
        &format!("`{root}` (the configuration's folder) has no {names}"),
        &format!("`{root}/plugins` (the configuration's folder) does not exist"),
        &format!("`{root}/more` (loading.search_path) has no {names}"),
    ] {
        assert!(error.to_string().contains(text), "`{text}` is not in: {error}");
    }
    assert!(error.to_string().contains("absent` (loading.search_path) is no folder"), "{error}");
    let error = place.load("wanted", &at("wanted.so")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginRefused);
    assert!(error.to_string().contains("more` (loading.search_path) has no wanted.so;"), "{error}");
}

#[test]
fn what_is_found_first_decides_also_when_it_is_refused() {
    let place = Place::new();
    place.put("good_minimal.c", "more/good.so");
    let first = place.put("no_symbol.c", "good.so");
    let by_name = PluginConfig::default();
    assert_eq!(place.load("good", &by_name).unwrap_err().kind(), ErrorKind::PluginAbi);
    fs::set_permissions(&first, fs::Permissions::from_mode(0o666)).unwrap();
    let error = place.load("good", &by_name).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginRefused, "{error}");
}

#[test]
fn a_manifest_must_fit_its_library() {
    let place = Place::new();
    let file = place.put("good_minimal.c", "good.so");
    let sha256 = Sha256::of(&fs::read(&file).unwrap());
    let fails = |kind: ErrorKind, texts: &[&str]| {
        for plugin in [PluginConfig::default(), at("good.so"), at("good.plugin.toml")] {
            let error = place.load("good", &plugin).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            for text in texts.iter().chain([&"good.plugin.toml"]) {
                assert!(error.to_string().contains(text), "`{text}` is not in: {error}");
            }
        }
    };
    let library = "file = 'good.so'";
    place.manifest("good.plugin.toml", library, "capabilities = ['writes_sink']");
    assert!(place.load("good", &at("good.so")).is_ok());
    place.manifest("good.plugin.toml", library, "capabilities = ['fork_aware']");
    fails(ErrorKind::PluginAbi, &["lacks a capability"]);
    let text = fs::read_to_string(place.path("good.plugin.toml")).unwrap();
    let changed = |from: &str, to: &str| {
        fs::write(place.path("good.plugin.toml"), text.replace(from, to)).unwrap();
    };
    changed("com.example.good-minimal", "com.example.other");
    fails(
        ErrorKind::PluginAbi,
        &["its id is `com.example.good-minimal`", "says `com.example.other`"],
    );
    changed("'1.0.0'", "'1.0.1'");
    fails(ErrorKind::PluginAbi, &["its version is `1.0.0`", "says `1.0.1`"]);
    changed("version = ", "verzion = ");
    fails(
        ErrorKind::Config,
        &["good.plugin.toml:3:1: unknown key `verzion` (did you mean `version`?)"],
    );
    changed(&platform(), "plan9-vax");
    fails(ErrorKind::Unsupported, &["names no library for"]);
    let wrong = Sha256::of(b"");
    place.manifest("good.plugin.toml", &format!("{library}\nsha256 = '{wrong}'"), "");
    let error = place.load("good", &PluginConfig::default()).unwrap_err();
    assert!(error.to_string().contains(&format!("is {sha256}; the pin says {wrong}")), "{error}");
    // The configuration has the last word, and does not ask the manifest beside a path.
    let pinned = PluginConfig { sha256: Some(sha256.to_string()), ..at("good.so") };
    assert!(place.load("good", &pinned).is_ok());
    let error = place.load("good", &PluginConfig { path: None, ..pinned }).unwrap_err();
    assert!(error.to_string().contains("the configuration pins"), "{error}");
    // A manifest that others can write to pins nothing.
    place.manifest("good.plugin.toml", &format!("{library}\nsha256 = '{sha256}'"), "");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(place.load("good", &at("good.so")).is_ok(), "its pin takes the place of the owner");
    let manifest = place.path("good.plugin.toml");
    fs::set_permissions(&manifest, fs::Permissions::from_mode(0o666)).unwrap();
    fails(ErrorKind::PluginRefused, &["everybody can write to it", "chmod o-w"]);
}

#[test]
fn discovery_lists_and_loads_nothing() {
    let place = Place::new();
    place.put("crashes_loading.c", "more/libcrash.so");
    place.put("good_minimal.c", "good.so");
    place.put("wrong_major.c", "plugins/old.so");
    place.manifest("fine.plugin.toml", "file = 'good.so'", "");
    fs::write(place.path("plugins/broken.plugin.toml"), "manifest = 1").unwrap();
    fs::write(place.path("notes.so"), "no library").unwrap();
    let search = SearchPath::new(place.root.path(), Some(&["more".into()]));
    let found = search.discover(&Trust::default());
    let said: Vec<_> = found
        .iter()
        .map(|one| match &one.info {
            Ok(info) => format!("{} {} {}", one.name, info.id, info.version),
            Err(error) => format!("{} {:?}", one.name, error.kind()),
        })
        .collect();
    assert_eq!(
        said,
        [
            "fine com.example.good-minimal 1.0.0",
            "broken Config",
            "old PluginAbi",
            "crash com.example.crashes-loading 1.0.0",
        ]
    );
}

/// Prints the folders that are searched; for the tests below.
#[test]
fn a_child_prints_its_search_path() {
    if std::env::var_os("TALLYPORT_TEST_FOLDERS").is_some() {
        for folder in SearchPath::new(Path::new("/etc/x"), None).folders {
            println!("folder {} ({})", folder.path.display(), folder.source);
        }
    }
}

fn folders(command: &mut Command) -> Vec<String> {
    command.args(["--exact", "a_child_prints_its_search_path", "--nocapture"]);
    command.env("TALLYPORT_TEST_FOLDERS", "1").env("HOME", "/home/u");
    command.env("TALLYPORT_PLUGIN_PATH", "/opt/a:relative:/opt/b").current_dir("/");
    let said = run(command).success().stdout;
    said.lines().filter_map(|line| line.strip_prefix("folder ")).map(str::to_owned).collect()
}

#[test]
fn the_search_path_is_the_documented_one() {
    let own = std::env::current_exe().unwrap();
    let all = [
        "/etc/x (the configuration's folder)",
        "/etc/x/plugins (the configuration's folder)",
        "/opt/a (TALLYPORT_PLUGIN_PATH)",
        "/opt/b (TALLYPORT_PLUGIN_PATH)",
        "/home/u/.local/share/tallyport/plugins (the user's plugins)",
        "/usr/local/lib/tallyport/plugins (the system's plugins)",
        "/usr/lib/tallyport/plugins (the system's plugins)",
    ];
    assert_eq!(folders(Command::new(&own).env_remove("XDG_DATA_HOME")), all);
    let moved = folders(Command::new(own).env("XDG_DATA_HOME", "/data"));
    assert_eq!(moved[4], "/data/tallyport/plugins (the user's plugins)");
}

#[test]
fn a_setuid_host_believes_no_environment() {
    use std::os::unix::{fs::chown, process::CommandExt};
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("host");
    copy_program(&std::env::current_exe().unwrap(), &program);
    chown(&program, Some(1), Some(1)).expect("this test changes owners, so it runs as root");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    assert_eq!(
        folders(Command::new(&program).uid(65_534).gid(65_534)),
        [
            "/etc/x (the configuration's folder)",
            "/etc/x/plugins (the configuration's folder)",
            "/usr/local/lib/tallyport/plugins (the system's plugins)",
            "/usr/lib/tallyport/plugins (the system's plugins)",
        ]
    );
}
