//! Snapshot files that are no snapshots: exit code 7, never a signal, nothing on stdout.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;

use std::{fs, process::Command};

use common::{Place, Run};
use xxhash_rust::xxh3::xxh3_64;

const EXPORT: &str = "export --from bad.snap --format json";

#[test]
fn a_snapshot_that_is_missing_or_no_file_is_unreadable_state() {
    let place = Place::new();
    place.run(EXPORT).fails(7, &["cannot read the snapshot", "bad.snap", "No such file"]);
    fs::create_dir(place.path("bad.snap")).unwrap();
    place.run(EXPORT).fails(7, &["not a regular file"]);
    fs::remove_dir(place.path("bad.snap")).unwrap();
    let made = Command::new("mkfifo").arg(place.path("bad.snap")).status().unwrap();
    assert!(made.success());
    // Nobody writes to the FIFO: waiting for that would be for ever.
    place.run(EXPORT).fails(7, &["not a regular file"]);
}

#[test]
fn a_truncated_snapshot_is_damaged_at_every_length() {
    let place = Place::new();
    let whole = fs::read(place.path("app.snap")).unwrap();
    let lengths = (0..whole.len()).filter(|len| *len < 64 || len % 29 == 0);
    for len in lengths.chain([whole.len() - 1, whole.len() - 8, whole.len() - 9]) {
        place.write("bad.snap", &whole[..len]);
        place.run(EXPORT).fails(7, &["`bad.snap` is damaged"]);
    }
    place.write("bad.snap", [&whole[..], b"\0"].concat());
    place.run(EXPORT).fails(7, &["`bad.snap` is damaged"]);
}

#[test]
fn a_flipped_bit_is_damage_wherever_it_is() {
    let place = Place::new();
    let whole = fs::read(place.path("app.snap")).unwrap();
    for at in (0..whole.len()).step_by(31).chain(0..48) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        place.write("bad.snap", &bytes);
        place.run(EXPORT).fails(7, &["`bad.snap` is damaged"]);
    }
}

#[test]
fn a_hostile_snapshot_with_a_right_checksum_is_refused_or_exported() {
    let place = Place::new();
    let whole = fs::read(place.path("app.snap")).unwrap();
    let end = whole.len() - 8;
    let mut refused = 0;
    for at in (8..end).step_by(5) {
        let mut bytes = whole.clone();
        bytes[at] = if at % 2 == 0 { 0xff } else { !bytes[at] };
        let checksum = xxh3_64(&bytes[..end]);
        bytes[end..].copy_from_slice(&checksum.to_le_bytes());
        place.write("bad.snap", &bytes);
        let run = place.run(EXPORT);
        match run.code {
            // Another value, time or text is a snapshot too.
            Some(0) => assert!(run.json()["metrics"].is_array(), "byte {at}: {run:#?}"),
            Some(7) => refused += 1,
            _ => panic!("byte {at}: {run:#?}"),
        }
    }
    assert!(refused > 20, "{refused}");
}

#[test]
fn foreign_files_are_not_snapshots() {
    let place = Place::new();
    for bytes in [&b""[..], b"#!/bin/sh\nexit 0\n", b"TLYSNAP2", &[0; 4096], &[0xff; 4096]] {
        place.write("bad.snap", bytes);
        place.run(EXPORT).fails(7, &["`bad.snap` is damaged"]);
    }
    place.write("bad.snap", [&b"TLYSNAP2"[..], &[0; 64]].concat());
    place.run(EXPORT).fails(7, &["another version"]);
    // The command itself is a large file of another kind.
    let own = env!("CARGO_BIN_EXE_tallyport");
    let run = place.command(["export", "--from", own, "--format", "json"]).output().unwrap();
    Run::of(run).fails(7, &["does not begin as a snapshot file"]);
}
