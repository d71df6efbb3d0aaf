//! Snapshot files: whole or refused, whatever happened to them.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use tallyport_core::{
    engine::Engine,
    model::ErrorKind,
    snapshot::{Snapshot, load, save},
};

fn engine() -> Engine {
    let engine = Engine::builder().build().unwrap();
    let metrics = engine.metrics();
    for route in ["/", "/ü", "/\"quoted\"", "/new\nline"] {
        metrics.counter("requests_total", &[("route", route)]).unwrap().add(3);
        metrics.histogram("size_bytes", &[1.0, 2.0], &[("route", route)]).unwrap().observe(1.5);
    }
    metrics.gauge("temperature", &[]).unwrap().set(f64::NAN);
    metrics.up_down_counter("in_flight", &[]).unwrap().sub(4);
    engine
}

/// Every text and number of a snapshot.
fn dump(snapshot: &Snapshot) -> String {
    let read = |view: &tallyport_plugin_api::Snapshot<'_>| {
        let mut text = format!("{} {}\n", view.time_unix_ns(), view.series_count());
        for family in view.families() {
            text += &format!("{} {:?} {:?}\n", family.name(), family.kind(), family.bounds());
            for series in family.series() {
                let labels: Vec<_> = series.labels().collect();
                let value = series.value();
                text += &format!("{labels:?} {value:?} {:?}\n", series.histogram());
            }
        }
        Ok::<_, tallyport_plugin_api::Error>(text)
    };
    snapshot.read(read).unwrap()
}

#[test]
fn a_saved_snapshot_is_read_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.snap");
    let snapshot = engine().snapshot().unwrap();
    save(&snapshot, &path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let loaded = load(&path).unwrap();
    assert_eq!(dump(&loaded), dump(&snapshot));
    assert_ne!(loaded.schema_id(), snapshot.schema_id());
    // And once more, from the loaded one.
    save(&loaded, &path).unwrap();
    assert_eq!(dump(&load(&path).unwrap()), dump(&snapshot));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "temporary files are gone");
}

#[test]
fn an_empty_engine_has_a_snapshot_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.snap");
    Engine::builder().build().unwrap().save_snapshot(&path).unwrap();
    assert_eq!(load(&path).unwrap().series_count(), 0);
}

#[test]
fn a_file_cut_anywhere_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.snap");
    engine().save_snapshot(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    for len in 0..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        let error = load(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{len} bytes: {error}");
        assert!(error.to_string().contains("cut.snap"), "{error}");
    }
    fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
    assert_eq!(load(&path).unwrap_err().kind(), ErrorKind::Damaged);
}

#[test]
fn a_flipped_bit_anywhere_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flipped.snap");
    engine().save_snapshot(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, &bytes).unwrap();
        assert_eq!(load(&path).unwrap_err().kind(), ErrorKind::Damaged, "byte {at}");
    }
}

/// Bytes that carry a right checksum: only the checks of the content are left.
fn forge(path: &Path, whole: &[u8], at: usize, value: u8) {
    let mut bytes = whole.to_vec();
    bytes[at] = value;
    let end = bytes.len() - 8;
    let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_forged_file_is_refused_or_read_without_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forged.snap");
    engine().save_snapshot(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for at in 0..whole.len() - 8 {
        for value in [0, 1, 0x7f, 0xff] {
            forge(&path, &whole, at, value);
            match load(&path) {
                // Whatever passes the checks is walked in full.
                Ok(snapshot) => drop(dump(&snapshot)),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Damaged, "byte {at}: {error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 200, "only {refused} forgeries were refused");
}

#[test]
fn what_is_not_a_file_is_refused_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let missing = load(&folder.path().join("missing.snap")).unwrap_err();
    assert_eq!((missing.kind(), missing.os_error()), (ErrorKind::Io, Some(2)));
    assert_eq!(load(folder.path()).unwrap_err().kind(), ErrorKind::Io);
    let fifo = folder.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    assert_eq!(load(&fifo).unwrap_err().kind(), ErrorKind::Io);
    let snapshot = engine().snapshot().unwrap();
    assert_eq!(save(&snapshot, &fifo).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(save(&snapshot, folder.path()).unwrap_err().kind(), ErrorKind::Io);
    let nowhere = folder.path().join("no/such/folder/x.snap");
    assert!(save(&snapshot, &nowhere).unwrap_err().to_string().contains("x.snap"));
}

#[test]
fn a_failed_save_leaves_the_old_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.snap");
    engine().save_snapshot(&path).unwrap();
    let before = fs::read(&path).unwrap();
    let snapshot = engine().snapshot().unwrap();
    // A folder that refuses new files, also for root: one on a read-only file system.
    let error = save(&snapshot, Path::new("/proc/self/metrics.snap")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_existing_file_keeps_its_mode() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.snap");
    engine().save_snapshot(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    engine().save_snapshot(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
}
