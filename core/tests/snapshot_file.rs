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

#[test]
fn a_link_is_neither_followed_nor_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("file.snap"), folder.path().join("link.snap"));
    fs::write(&file, "mine").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let error = engine().save_snapshot(&link).unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Io, Some("path")));
    assert!(error.to_string().contains("symbolic link"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

/// A snapshot file made by hand: columns of an id, an element size and words of 4 bytes.
fn by_hand(series: u64, columns: &[(u32, u32, Vec<u32>)]) -> Vec<u8> {
    let mut end = 48 + columns.len() * 32;
    let (mut table, mut data) = (Vec::new(), Vec::new());
    for (id, size, words) in columns {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let count = bytes.len() as u64 / u64::from(*size);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        table.extend([id.to_le_bytes(), size.to_le_bytes(), [0; 4], [0; 4]].concat());
        table.extend([count.to_le_bytes(), (end as u64).to_le_bytes()].concat());
        end += bytes.len();
        data.extend(bytes);
    }
    let mut file = b"TLYSNAP1".to_vec();
    for word in [end as u64 + 8, 1, 1, series, columns.len() as u64] {
        file.extend(word.to_le_bytes());
    }
    file.extend(table);
    file.extend(data);
    let checksum = xxhash_rust::xxh3::xxh3_64(&file);
    file.extend(checksum.to_le_bytes());
    file
}

/// `families` rows of 12 words, `series` rows with the labels of `ranges`, one bound, one bucket.
fn columns(families: Vec<u32>, ranges: Vec<u32>, rows: usize) -> Vec<(u32, u32, Vec<u32>)> {
    let text = u32::from_le_bytes(*b"abcd");
    vec![
        (1, 4, vec![0, 0, 1, 2, 3, 4]),
        (2, 1, vec![text]),
        (3, 48, families),
        (4, 8, ranges),
        (5, 8, vec![3, 4, 4, 3]),
        (6, 8, vec![0, 0x3ff0_0000]),
        (7, 8, vec![0; rows * 2]),
        (32, 8, vec![0; rows * 2]),
        (33, 8, vec![0; rows * 2]),
        (34, 8, vec![0; rows * 4]),
    ]
}

fn loaded(bytes: &[u8]) -> Result<Snapshot, tallyport_core::model::Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forged.snap");
    fs::write(&path, bytes).unwrap();
    load(&path)
}

#[test]
fn a_file_whose_rows_are_used_twice_is_damaged() {
    let gauge = |name: u32| [name, 0, 0, 3, 1, 0, 1, 0, 0, 0, 0, 0];
    let histogram = |name: u32| [name, 0, 0, 4, 1, name - 1, 1, 0, 1, 0, 0, 0];
    let fine = columns(gauge(1).to_vec(), vec![0, 2], 1);
    loaded(&by_hand(1, &fine)).unwrap();
    loaded(&by_hand(1, &columns(histogram(1).to_vec(), vec![0, 0], 1))).unwrap();
    // A file of a few megabytes would otherwise be walked, and exported, for hours.
    let cases = [
        ("series", columns([gauge(1), gauge(2)].concat(), vec![0, 2], 1)),
        ("bounds", columns([histogram(1), histogram(2)].concat(), vec![0; 4], 2)),
        (
            "labels",
            columns([gauge(1), [2, 0, 0, 3, 1, 1, 1, 0, 0, 0, 0, 0]].concat(), vec![0, 2, 1, 1], 2),
        ),
        (
            "called",
            columns([gauge(1), [1, 0, 0, 3, 1, 1, 1, 0, 0, 0, 0, 0]].concat(), vec![0; 4], 2),
        ),
    ];
    for (says, columns) in cases {
        let error = loaded(&by_hand(2, &columns)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.to_string().contains(says), "{says}: {error}");
    }
    let mut short = fine;
    short[6].2.clear();
    assert!(loaded(&by_hand(1, &short)).unwrap_err().to_string().contains("creation times"));
}

#[test]
fn a_column_that_nobody_knows_is_checked_too() {
    let mut columns = columns(vec![1, 0, 0, 3, 1, 0, 1, 0, 0, 0, 0, 0], vec![0, 2], 1);
    columns.push((99, 4, vec![7]));
    let file = by_hand(1, &columns);
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.snap");
    save(&loaded(&file).unwrap(), &copy).unwrap();
    load(&copy).unwrap();
    // Where its row of the table says region, number and offset.
    let row = 48 + 10 * 32;
    for (at, value) in [(8, 1_u64), (16, u64::MAX), (16, 1 << 40), (24, u64::MAX), (24, 0), (4, 0)]
    {
        let mut forged = file.clone();
        let len = if at < 16 { 4 } else { 8 };
        forged[row + at..row + at + len].copy_from_slice(&value.to_le_bytes()[..len]);
        let end = forged.len() - 8;
        let checksum = xxhash_rust::xxh3::xxh3_64(&forged[..end]);
        forged[end..].copy_from_slice(&checksum.to_le_bytes());
        let error = loaded(&forged).unwrap_err();
        assert!(error.to_string().contains("column 99"), "{at} {value}: {error}");
    }
}

#[test]
fn a_save_that_finds_no_room_leaves_the_old_file_and_nothing_else() {
    // This very test again, in a process that may not write a file past 4 KiB: the write fails
    // halfway, as on a full disk.
    const INSIDE: &str = "TALLYPORT_TEST_FULL";
    if let Some(folder) = std::env::var_os(INSIDE) {
        let engine = engine();
        for route in 0..1000 {
            let labels = [("route", &*route.to_string())];
            engine.metrics().counter("requests_total", &labels).unwrap().inc();
        }
        let path = Path::new(&folder).join("metrics.snap");
        let error = engine.save_snapshot(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.to_string().contains("metrics.snap"), "{error}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.snap");
    engine().save_snapshot(&path).unwrap();
    let before = fs::read(&path).unwrap();
    let name = "a_save_that_finds_no_room_leaves_the_old_file_and_nothing_else";
    let limited = "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\"";
    let said = std::process::Command::new("bash")
        .args(["-c", limited])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(INSIDE, folder.path())
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success() && stdout.contains("1 passed"), "{stdout}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
