//! What `make install` and `cargo xtask deb` deliver: which files, with which content, and that they go
//! again.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use tallyport_tests::{
    Installed, PREFIX, build_folder, everything_built, installed, repo_root, run, xtask,
};

/// Every file and link below a folder, by name.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found
}

#[test]
fn an_installation_has_what_hosts_compilers_and_operators_need() {
    let prefix = installed().prefix();
    let found = files(&prefix);
    let version = env!("CARGO_PKG_VERSION");
    let soname = soname();
    let wanted = [
        "bin/tallyport".to_owned(),
        "include/tallyport.h".to_owned(),
        "include/tallyport.hpp".to_owned(),
        "include/tallyport_plugin.h".to_owned(),
        "include/tallyport_plugin.hpp".to_owned(),
        "lib/cmake/tallyport/tallyport-config-version.cmake".to_owned(),
        "lib/cmake/tallyport/tallyport-config.cmake".to_owned(),
        "lib/libtallyport.a".to_owned(),
        "lib/libtallyport.so".to_owned(),
        format!("lib/{soname}"),
        format!("lib/{soname}.{version}"),
        "lib/pkgconfig/tallyport-static.pc".to_owned(),
        "lib/pkgconfig/tallyport.pc".to_owned(),
        "lib/tallyport/plugins/builtin-exporters.so".to_owned(),
        "libexec/tallyport/tallyport-plugin-host".to_owned(),
        "share/bash-completion/completions/tallyport".to_owned(),
        "share/fish/vendor_completions.d/tallyport.fish".to_owned(),
        "share/man/man1/tallyport.1".to_owned(),
        "share/zsh/site-functions/_tallyport".to_owned(),
    ];
    for file in wanted {
        assert!(found.contains(&file), "{file} is missing: {found:#?}");
    }
    for header in fs::read_dir(repo_root().join("include")).unwrap() {
        let header = header.unwrap().file_name();
        assert!(found.contains(&format!("include/{}", header.to_string_lossy())), "{header:?}");
    }
    let link = |name: &str| fs::read_link(prefix.join("lib").join(name)).unwrap();
    assert_eq!(link("libtallyport.so"), Path::new(&soname));
    assert_eq!(link(&soname), Path::new(&format!("{soname}.{version}")));
    for file in found.iter().map(|file| prefix.join(file)).filter(|file| !file.is_symlink()) {
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert!(matches!(mode, 0o644 | 0o755), "{}: {mode:o}", file.display());
    }
}

/// The name that programs ask for, as the library itself says it.
fn soname() -> String {
    let library = everything_built().join("libtallyport.so");
    let said = run(Command::new("readelf").arg("-dW").arg(library)).success().stdout;
    let after = said.split("Library soname: [").nth(1).unwrap();
    after.split(']').next().unwrap().to_owned()
}

#[test]
fn the_installed_command_finds_the_installed_exporters_and_helper() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tallyport.toml");
    let plugins = installed().lib().join("tallyport/plugins");
    let toml = format!(
        "schema = 1\nloading.search_path = ['{}']\nloading.probe = 'always'\n\
         [plugins.builtin-exporters]\n",
        plugins.display()
    );
    fs::write(&config, toml).unwrap();
    let command = installed().prefix().join("bin/tallyport");
    let mut list = installed().command(&command);
    let said = run(list.args(["plugins", "list", "--config"]).arg(&config)).success();
    assert!(said.stdout.contains("builtin-exporters.so"), "{said:?}");
}

#[test]
fn an_uninstall_takes_away_what_was_installed_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let made = Installed::make(root.path(), &[]);
    let ours = made.prefix().join("lib/tallyport/plugins/vendor.so");
    fs::write(&ours, "somebody else's").unwrap();
    // Twice is as good as once: what is there is replaced.
    let again = Installed::make(root.path(), &[]);
    assert!(files(root.path()).iter().all(|file| !file.contains(".new-")));
    let from = everything_built();
    let mut uninstall = xtask(&["install", "--uninstall", "--prefix", PREFIX]);
    uninstall.arg("--from").arg(&from).arg("--destdir").arg(root.path());
    let _ = run(&mut uninstall).success();
    let left = BTreeSet::from(["opt/tallyport/lib/tallyport/plugins/vendor.so".to_owned()]);
    assert_eq!(files(root.path()), left);
    assert!(!made.prefix().join("lib/cmake/tallyport").exists());
    drop((made, again));
}

#[test]
fn what_cannot_be_installed_is_said_and_nothing_is_written() {
    let root = tempfile::tempdir().unwrap();
    let destdir = root.path().to_string_lossy().into_owned();
    let refused = |arguments: &[&str]| {
        let said = run(xtask(&["install", "--destdir", &destdir]).args(arguments));
        assert_ne!(said.code, Some(0), "{arguments:?}");
        said.stderr
    };
    assert!(refused(&["--from", "/nowhere"]).contains("/nowhere"));
    assert!(refused(&["--prefix", "usr"]).contains("a prefix is an absolute path"));
    assert!(refused(&["--prefix", "/a b"]).contains("cannot carry ' '"));
    assert!(refused(&["--colour"]).contains("no option --colour"));
    assert!(refused(&["--prefix"]).contains("--prefix needs a value"));
    assert!(files(root.path()).is_empty());
}

/// Packs what was built for the tests, once.
fn packages() -> PathBuf {
    let out = build_folder().join(format!("deb-{}", std::process::id()));
    let from = everything_built();
    let mut deb = xtask(&["deb"]);
    // What a release packs tightly, a test packs quickly.
    deb.env("DPKG_DEB_COMPRESSOR_LEVEL", "1");
    let _ = run(deb.arg("--from").arg(from).arg("--out").arg(&out)).success();
    out
}

#[test]
fn debian_packages_serve_a_host_and_lintian_accepts_them() {
    let out = packages();
    let debs: Vec<PathBuf> = fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    assert_eq!(debs.len(), 3, "{debs:?}");
    // With the archive it takes minutes, as it looks into every member: tests/campaign.sh has it do so,
    // and refuses warnings too.
    let all = std::env::var_os("TALLYPORT_LINTIAN").is_some();
    let dev = |deb: &&PathBuf| deb.to_string_lossy().contains("libtallyport-dev");
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", if all { "error,warning" } else { "error" }]);
    let said = run(lintian.args(debs.iter().filter(|deb| all || !dev(deb))));
    assert_eq!(said.code, Some(0), "{}\n{}", said.stdout, said.stderr);

    // Unpacked together, they are what a host compiles against.
    let root = out.join("root");
    for deb in &debs {
        let _ = run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&root)).success();
    }
    let library =
        files(&root).into_iter().find(|file| file.ends_with(&format!("/{}", soname()))).unwrap();
    let libdir = root.join(Path::new(&library).parent().unwrap());
    let program = out.join("host");
    let mut compile = Command::new("sh");
    let flags = "$(pkg-config --cflags --libs tallyport)";
    let source = repo_root().join("tests/consumers/record.c");
    compile.arg("-c").arg(format!("gcc -o {} {} {flags}", program.display(), source.display()));
    compile.env("PKG_CONFIG_SYSROOT_DIR", &root).env("PKG_CONFIG_PATH", libdir.join("pkgconfig"));
    let _ = run(&mut compile).success();
    let said = run(Command::new(&program).env("LD_LIBRARY_PATH", &libdir)).success();
    assert!(said.stdout.contains("http_requests_total{method=\"GET\"} 2\n"), "{said:?}");
    let _ = fs::remove_dir_all(out);
}
