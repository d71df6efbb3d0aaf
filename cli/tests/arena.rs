//! `tallyport arena` and `tallyport export --arena`: the real command on real and damaged files.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // as tests

use std::{
    env, fs,
    os::unix::{fs::FileExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::Command,
};

use tallyport_core::{
    engine::{
        Engine,
        config::{Config, ShareConfig},
    },
    model::Error,
};

/// Has a child of this program open the arena that it names.
const CHILD: &str = "TALLYPORT_TEST_ARENA";

fn tallyport() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tallyport"))
}

/// Exit code (minus the signal that ended it), stdout, stderr.
fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let code = output.status.code().unwrap_or_else(|| -output.status.signal().unwrap());
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (code, text(&output.stdout), text(&output.stderr))
}

fn open(path: &Path) -> Result<Engine, Error> {
    let mut config = Config::default();
    config.recording.share = ShareConfig::File;
    config.recording.arena = Some(path.to_owned());
    Engine::builder().config(config).build()
}

fn record(engine: &Engine) -> Result<(), Error> {
    for i in 0..100 {
        let labels = [("i", &*i.to_string())];
        engine.metrics().counter("a_total", &labels)?.add(i);
        engine.metrics().histogram("took_seconds", &[], &labels)?.observe(0.1);
    }
    engine.metrics().gauge("level", &[])?.set(7.0);
    Ok(())
}

/// An engine that records into a file.
fn engine(path: &Path) -> Engine {
    let engine = open(path).unwrap();
    record(&engine).unwrap();
    engine
}

/// What a child does with a damaged arena: whatever comes of it, it is no signal.
#[test]
fn in_a_child() {
    let Some(path) = env::var_os(CHILD) else { return };
    if let Ok(engine) = open(Path::new(&path)) {
        let _ = record(&engine);
        let more = engine.metrics().counter("more_total", &[("i", "1")]);
        more.iter().for_each(|counter| counter.add(1));
        let _ = engine.snapshot();
        let _ = engine.metrics().families();
        let _ = engine.metrics().clear("a_total");
        let _ = record(&engine);
        let _ = engine.snapshot();
    }
}

fn arena(folder: &Path) -> PathBuf {
    folder.join("metrics.arena")
}

#[test]
fn an_arena_is_exported_while_it_is_used_and_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let path = arena(folder.path());
    let engine = engine(&path);
    let export = || {
        let command = ["export", "--format", "prometheus", "--arena", path.to_str().unwrap()];
        run(tallyport().args(command))
    };
    let (code, out, err) = export();
    assert_eq!((code, &*err), (0, ""));
    assert!(out.contains("a_total{i=\"99\"} 99\n"), "{out}");
    assert!(out.contains("took_seconds_count{i=\"7\"} 1\n") && out.contains("level 7\n"), "{out}");
    drop(engine);
    let (code, out, _) = export();
    assert_eq!(code, 0);
    // Gauges go with their process; what was counted stays.
    assert!(out.contains("a_total{i=\"99\"} 99\n") && !out.contains("level 7\n"), "{out}");
}

#[test]
fn arenas_are_listed_looked_into_and_removed_when_nobody_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = arena(folder.path());
    let engine = engine(&path);
    fs::write(folder.path().join("other"), "no arena").unwrap();
    let name = folder.path().to_str().unwrap();
    let (code, out, _) = run(tallyport().args(["arena", "ls", name]));
    assert_eq!(code, 0);
    assert!(out.contains("metrics.arena  201") && out.contains("1 process"), "{out}");
    assert!(!out.contains("other"), "{out}");
    let file = path.to_str().unwrap();
    let (code, out, _) = run(tallyport().args(["arena", "inspect", file, "--report", "json"]));
    assert_eq!(code, 0);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["schema"], "tallyport.arena/1");
    assert_eq!(json["id"], format!("{:032x}", engine.metrics().arena_id()));
    assert_eq!(json["processes"][0], std::process::id());
    let gc = |more: &[&str]| run(tallyport().args(["arena", "gc", name]).args(more));
    assert!(gc(&["--ended"]).1.contains("kept"));
    drop(engine);
    assert!(gc(&[]).1.contains("kept"));
    assert!(gc(&["--ended", "--dry-run"]).1.contains("would remove"));
    assert!(path.exists());
    assert!(gc(&["--ended"]).1.contains("removed"));
    assert!(!path.exists());
    assert_eq!(run(tallyport().args(["arena", "ls", "/nowhere"])).0, 7);
    assert_eq!(run(tallyport().args(["arena", "inspect", file])).0, 7);
}

/// xorshift64*: the same numbers on every machine.
fn random(state: &mut u64) -> usize {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize
}

/// Bytes flipped in copies: the command answers, and so does an engine that opens the file and
/// records; whatever they answer, no signal.
#[test]
fn a_damaged_arena_is_an_error_or_wrong_values_and_never_a_signal() {
    let rounds = std::env::var("TALLYPORT_FLIPS").map_or(200, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = arena(folder.path());
    drop(engine(&path));
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut good = vec![0; 256 << 10];
    file.read_exact_at(&mut good, 0).unwrap();
    let used = 64 << 10 | 24 << 10;
    let mut state = 7;
    for round in 0..rounds {
        let mut bytes = good.clone();
        for _ in 0..=random(&mut state) % 8 {
            let mut at = random(&mut state) % used;
            while good[at] == 0 && !random(&mut state).is_multiple_of(50) {
                at = random(&mut state) % used;
            }
            bytes[at] ^= (1 + random(&mut state) % 255) as u8;
        }
        file.write_all_at(&bytes, 0).unwrap();
        let export = ["export", "--format", "json", "--arena", path.to_str().unwrap()];
        let (code, _, err) = run(tallyport().args(export));
        assert!([0, 7, 5, 10].contains(&code), "round {round}: {code} {err}");
        let mut child = Command::new(env::current_exe().unwrap());
        let (code, _, err) = run(child.args(["--exact", "in_a_child"]).env(CHILD, &path));
        assert_eq!(code, 0, "round {round}: {err}");
    }
}

/// Runs `body` with a tmpfs of that size mounted on a folder.
fn on_a_small_file_system(size: &str, body: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let options = format!("size={size},mode=0700");
    let mut mount = Command::new("mount");
    let mount = mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path());
    assert!(mount.status().unwrap().success(), "mounting a tmpfs needs root");
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(folder.path())));
    assert!(Command::new("umount").arg(folder.path()).status().unwrap().success());
    done.unwrap();
}

/// Runs `body` with a file system of that type in a file mounted on a folder: of 400 MB, of which 60 are
/// left free.
fn on_a_disk(kind: &str, body: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let (image, at) = (folder.path().join("image"), folder.path().join("disk"));
    fs::File::create(&image).unwrap().set_len(400 << 20).unwrap();
    fs::create_dir(&at).unwrap();
    let made = Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image).output();
    assert!(made.unwrap().status.success(), "mkfs.{kind}");
    let mount = Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at).status();
    assert!(mount.unwrap().success(), "mounting a disk needs root and a loop device");
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let left = "df --output=avail -B1 \"$0\" | tail -n 1";
        let filler = format!("fallocate -l $(($({left}) - (60 << 20))) \"$0/filler\"");
        assert!(Command::new("sh").args(["-c", &filler]).arg(&at).status().unwrap().success());
        body(&at);
    }));
    assert!(Command::new("umount").arg(&at).status().unwrap().success());
    done.unwrap();
}

/// Full disks: the file systems in TALLYPORT_DISKS, for which there are loop devices in a campaign, and
/// a tmpfs always.
#[test]
fn what_is_full_is_no_reason_to_crash() {
    on_a_small_file_system("64m", |folder| {
        // A container's /dev/shm.
        let series = fill(folder, 90_000, 1000);
        assert!((20_000..80_000).contains(&series), "{series}");
    });
    for kind in env::var("TALLYPORT_DISKS").unwrap_or_default().split_whitespace() {
        on_a_disk(kind, |folder| match (kind, open(&arena(folder))) {
            ("btrfs", opened) => {
                let refused = opened.unwrap_err().to_string();
                assert!(refused.contains("lies on btrfs"), "{refused}");
            }
            (_, opened) => {
                drop(opened.unwrap());
                let series = fill(folder, 90_000, 1000);
                assert!((20_000..80_000).contains(&series), "{kind}: {series}");
            }
        });
    }
}

/// Makes series until well past the end of the file system: what was recorded is there or counted.
fn fill(folder: &Path, wanted: u64, width: usize) -> u64 {
    let engine = open(&arena(folder)).unwrap();
    let family = engine.metrics().counter_family("a_total", &["i"]).unwrap();
    let text = |i: u64| format!("{i:0>width$}");
    let added = (0..wanted).filter(|i| family.inc(&[&text(*i)]).is_ok()).count() as u64;
    let snapshot = engine.snapshot().unwrap();
    let dropped = engine.metrics().dropped().overflow;
    assert!(added + dropped >= wanted, "{added} added, {dropped} dropped");
    let series = snapshot.series_count();
    assert_eq!(engine.metrics().series_count() as u64, series);
    series
}

/// A full file system: label sets fold, and nothing ends the process.
#[test]
fn without_room_for_the_file_label_sets_fold() {
    on_a_small_file_system("8k", |folder| {
        let refused = open(&arena(folder)).unwrap_err();
        assert!(refused.to_string().contains("No space left"), "{refused}");
    });
    on_a_small_file_system("64k", |folder| match open(&arena(folder)) {
        // Header and first pages have room, series have not.
        Ok(engine) => {
            let family = engine.metrics().counter_family("a_total", &["i"]);
            family
                .iter()
                .for_each(|family| (0..100).for_each(|i| drop(family.inc(&[&i.to_string()]))));
            engine.snapshot().unwrap();
        }
        Err(refused) => assert!(refused.to_string().contains("No space left"), "{refused}"),
    });
    on_a_small_file_system("256k", |folder| {
        let series = fill(folder, 20_000, 64);
        assert!((10..5_000).contains(&series), "{series}");
    });
}

/// A process whose files may not grow that far is told so, and not ended by SIGXFSZ.
#[test]
fn a_limit_on_file_sizes_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = arena(folder.path());
    let limited = |what: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -f 65536; exec \"$0\" --exact --nocapture under_a_limit"]);
        run(shell.arg(env::current_exe().unwrap()).env(LIMITED, &path).env("WHAT", what))
    };
    let (code, out, err) = limited("refused");
    assert_eq!(code, 0, "{out} {err}");
    // One that is there already does not grow.
    drop(engine(&path));
    let (code, out, err) = limited("joined");
    assert_eq!(code, 0, "{out} {err}");
}

/// Has a child of this program open the arena under a limit on file sizes.
const LIMITED: &str = "TALLYPORT_TEST_LIMITED";

#[test]
fn under_a_limit() {
    let Some(path) = env::var_os(LIMITED) else { return };
    match (open(Path::new(&path)), env::var("WHAT").unwrap().as_str()) {
        (Err(error), "refused") => {
            assert!(error.to_string().contains("RLIMIT_FSIZE"), "{error}");
            // The default goes on without a file.
            let private = Engine::builder().build().unwrap();
            record(&private).unwrap();
            assert_eq!(private.snapshot().unwrap().series_count(), 201);
        }
        (Ok(engine), "joined") => {
            record(&engine).unwrap();
            for i in 0..10_000 {
                engine.metrics().counter("more_total", &[("i", &i.to_string())]).unwrap().add(1);
            }
            assert_eq!(engine.snapshot().unwrap().series_count(), 10_201);
        }
        (other, what) => panic!("{what}: {:?}", other.map(drop)),
    }
}
