use std::{fs::OpenOptions, os::unix::fs::FileExt, sync::atomic::AtomicU32};

use super::*;
use crate::{
    metrics::arena::{Arena, Cells, Heap, U64Cell},
    model::ErrorKind,
};

#[test]
fn a_block_has_its_header() {
    for share in [Share::Auto, Share::Reset] {
        let ground = Ground::new(&share, place::cpus(), 64 << 20).unwrap();
        assert_eq!(ground.word(Word::Magic).load(Relaxed), MAGIC);
        assert_eq!(ground.is_shared(), share == Share::Auto);
        let (heap, bytes) = ground.heap();
        assert!((heap.as_ptr() as usize).is_multiple_of(4096));
        assert!((ground.planes().as_ptr() as usize).is_multiple_of(4096));
        assert!(bytes >= 64 << 20);
    }
}

/// Forks; the child runs `f`, which only touches memory, and says with its status whether it holds.
fn in_child(f: impl Fn() -> bool) -> bool {
    // SAFETY: the child touches memory, makes system calls and ends.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let status = i32::from(!f());
        // SAFETY: ends the child without the handlers of the parent.
        unsafe { libc::_exit(status) };
    }
    let mut status = -1;
    // SAFETY: waits for the child that was just made.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    status == 0
}

#[test]
fn a_child_takes_a_place_of_its_own() {
    let ground = Ground::new(&Share::Auto, 0, 64 << 20).unwrap();
    let arena = Arena::new(&ground, 1 << 20, Cells::Shared).unwrap();
    let run = arena.reserve_gauges(1).unwrap();
    let gauge = arena.gauge(run.offset, None);
    gauge.set(5.0);
    assert_eq!(arena.membership.while_alone(|| 1), Some(1));
    let own = arena.membership.present().first().unwrap().place;
    let apart = in_child(|| {
        let before = gauge.read();
        gauge.set(7.0);
        // The parent is there.
        before.to_bits() == 0
            && gauge.read().to_bits() == 7_f64.to_bits()
            && gauge.read_at(own).is_some_and(|value| value.to_bits() == 5_f64.to_bits())
            && arena.membership.while_alone(|| 1).is_none()
    });
    assert!(apart);
    assert_eq!(gauge.read().to_bits(), 5_f64.to_bits());
    // The child ended: its gauges are gone, and this process is alone again.
    assert_eq!(arena.membership.while_alone(|| 1), Some(1));
    assert_eq!(arena.membership.present().len(), 2);
    assert_eq!(gauge.read_at(own + 1), None);
}

#[test]
fn a_child_of_a_private_block_starts_at_zero() {
    let arena = Arena::private(1 << 20, Cells::PerCpu).unwrap();
    let run = arena.reserve(8, 1, Cells::PerCpu).unwrap();
    let cell = U64Cell::new(arena.place(run.offset, run.cells));
    cell.add(3);
    assert!(in_child(|| {
        let before = cell.read(&arena.planes());
        cell.add(4);
        before == 0 && cell.read(&arena.planes()) == 4
    }));
    assert_eq!(cell.read(&arena.planes()), 3);
}

#[test]
fn planes_where_nobody_recorded_are_not_touched() {
    let ground = Ground::new(&Share::Auto, 64, 64 << 20).unwrap();
    assert_eq!(ground.touched(), Planes(Vec::new()));
    for cpu in [0_usize, 7, 63] {
        let at = ground.planes().as_ptr().wrapping_add((1 + cpu) * PLANE_BYTES + cpu * 4096);
        // SAFETY: inside that CPU's plane, which nobody else knows.
        unsafe { &*at.cast::<AtomicU32>() }.store(1, Relaxed);
    }
    assert_eq!(ground.touched(), Planes(vec![0, 7, 63]));
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_copy_holds_what_the_file_held() {
    let folder = folder();
    let path = folder.path().join("arena");
    let ground = Ground::new(&Share::File(path.clone()), 0, 0).unwrap();
    let arena = Arena::new(&ground, 1 << 20, Cells::PerCpu).unwrap();
    let heap = Heap::of(&ground);
    let at = heap.allocate(100_000).unwrap();
    heap.fill(at, 0, &[7; 100_000]);
    let run = arena.reserve(8, 1, Cells::PerCpu).unwrap();
    let low = arena.reserve(8, 1, Cells::Shared).unwrap();
    let cells = [run, low].map(|run| (run, U64Cell::new(arena.place(run.offset, run.cells))));
    for (_, cell) in &cells {
        cell.add(9);
    }
    let copy = Ground::new(&Share::Copy(path), 0, 0).unwrap();
    assert!(copy.is_copy() && !ground.is_copy());
    assert_eq!(Heap::of(&copy).bytes(at, 0, 100_000), &[7; 100_000]);
    let looked = Arena::new(&copy, 1 << 20, Cells::PerCpu).unwrap();
    for (run, cell) in &cells {
        cell.add(1);
        let copied = U64Cell::new(looked.place(run.offset, run.cells));
        assert_eq!(copied.read(&looked.planes()), 9);
    }
}

#[test]
fn a_file_that_is_no_arena_is_an_error_that_says_so() {
    let folder = folder();
    let path = folder.path().join("arena");
    let open = || Ground::new(&Share::File(path.clone()), 0, 0).map(drop);
    let fails = |kind: ErrorKind, says: &str| {
        let error = open().unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    let write = |bytes: &[u8]| {
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, bytes).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, mode).unwrap();
    };
    write(b"too short");
    fails(ErrorKind::Damaged, "cannot be read");
    write(&[0; 100_000]);
    fails(ErrorKind::Damaged, "is no arena");
    std::fs::remove_file(&path).unwrap();
    open().unwrap();
    let mode = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&path, mode).unwrap();
    };
    mode(0o644);
    fails(ErrorKind::InvalidArgument, "mode 0600");
    mode(0o600);
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let set = |word: Word, value: u64| {
        let at = word as u64 * 8;
        let mut before = [0; 8];
        file.read_exact_at(&mut before, at).unwrap();
        file.write_all_at(&value.to_le_bytes(), at).unwrap();
        move |file: &File| file.write_all_at(&before, at).unwrap()
    };
    for (word, value, kind, says) in [
        (Word::Version, 99, ErrorKind::Conflict, "version 99"),
        (Word::BootLow, 1, ErrorKind::Conflict, "boot"),
        (Word::Numbering, 1, ErrorKind::Conflict, "namespace"),
        (Word::Cpus, 77, ErrorKind::Damaged, "damaged"),
        (Word::HeapBytes, 1 << 40, ErrorKind::Damaged, "damaged"),
        (Word::Length, 5, ErrorKind::Damaged, "damaged"),
        (Word::Members, 5, ErrorKind::Damaged, "damaged"),
    ] {
        let undo = set(word, value);
        fails(kind, says);
        undo(&file);
    }
    open().unwrap();
    file.set_len(1 << 20).unwrap();
    fails(ErrorKind::Damaged, "1048576 bytes");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(folder.path().join("other"), &path).unwrap();
    fails(ErrorKind::Io, "open arena");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    fails(ErrorKind::Io, "open arena");
}
