//! Snapshot files: how a host hands its metrics to another process.
//!
//! A header, the column table, the columns, a checksum; little-endian, version 1:
//!
//! ```text
//! 0  8  magic "TLYSNAP1"          40 4  number of columns
//! 8  8  length of the file        44 4  0
//! 16 8  schema id of the writer   48 …  columns: 32 bytes each (tallyport_column, region 0,
//! 24 8  time, Unix ns                   offset from the start of the file)
//! 32 8  number of series          …  8  XXH3-64 of everything before it
//! ```
//!
//! Writing is atomic: a temporary file beside the target, fsync, rename. Reading treats the file
//! as untrusted: length, checksum, every offset, every id and every text are checked.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::Arc,
};

use tallyport_plugin_api::abi::tallyport_column;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Snapshot,
    memory::{Block, bytes_of_mut},
    new_schema_id,
};
use crate::model::{Error, ErrorKind};

/// Largest snapshot file that is read.
pub const MAX_FILE_BYTES: u64 = 4 << 30;

const MAGIC: &[u8; 8] = b"TLYSNAP1";
const HEADER: usize = 48;
const COLUMN: usize = size_of::<tallyport_column>();

/// Most columns of a file; this version writes ten.
const MAX_COLUMNS: usize = 1024;

/// Writes a snapshot, atomically: a reader sees the old file or the new one, whole.
///
/// The file is readable and writable by its owner only (0600); an existing file keeps its mode.
///
/// # Errors
/// Io, naming the path; nothing is left behind, an existing file is untouched (but when only the
/// last step fails, the sync of the folder: then the new file is there, and may not survive a
/// power cut). A symbolic link is refused: following it is for the one who knows where it leads.
pub fn save(snapshot: &Snapshot, path: &Path) -> Result<(), Error> {
    let bytes = encode(snapshot);
    let fail = |what: &str, error: &std::io::Error| {
        Error::io(format_args!("{what} `{}`", path.display()), error)
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    // Before anything is replaced: what cannot be opened cannot be synced.
    let synced = File::open(folder).map_err(|e| fail("open the folder of", &e))?;
    let mut temporary =
        tempfile::NamedTempFile::new_in(folder).map_err(|e| fail("create a file beside", &e))?;
    if let Ok(existing) = path.symlink_metadata() {
        if !existing.is_file() {
            let what = if existing.is_symlink() {
                "a symbolic link, which would be replaced: name the file itself"
            } else {
                "not a regular file"
            };
            let message = format!("`{}` is {what}", path.display());
            return Err(Error::new(ErrorKind::Io, message).with_field("path"));
        }
        let mode = std::fs::Permissions::from_mode(existing.permissions().mode() & 0o7777);
        temporary.as_file().set_permissions(mode).map_err(|e| fail("set the mode of", &e))?;
    }
    temporary.write_all(&bytes).map_err(|e| fail("write", &e))?;
    temporary.as_file().sync_all().map_err(|e| fail("sync", &e))?;
    temporary.persist(path).map_err(|e| fail("rename to", &e.error))?;
    match synced.sync_all() {
        // Some file systems have no such thing; the new file is there.
        Err(error) if error.kind() != std::io::ErrorKind::InvalidInput => {
            Err(fail("sync the folder of", &error))
        }
        _ => Ok(()),
    }
}

fn encode(snapshot: &Snapshot) -> Vec<u8> {
    let mut columns = snapshot.columns.clone();
    let mut end = HEADER + columns.len() * COLUMN;
    for column in &mut columns {
        column.region = 0;
        column.offset = end as u64;
        end += snapshot.column_bytes(column_of(snapshot, column.id)).len().next_multiple_of(8);
    }
    let mut out = Vec::with_capacity(end + 8);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&(end as u64 + 8).to_le_bytes());
    for word in [snapshot.schema_id, snapshot.time_unix_ns, snapshot.series_count] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&(columns.len() as u32).to_le_bytes());
    out.extend_from_slice(&0_u32.to_le_bytes());
    for column in &columns {
        for word in [column.id, column.elem_size, column.region, column.flags] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&column.count.to_le_bytes());
        out.extend_from_slice(&column.offset.to_le_bytes());
    }
    for column in &columns {
        out.resize(column.offset as usize, 0);
        out.extend_from_slice(snapshot.column_bytes(column_of(snapshot, column.id)));
    }
    out.resize(end, 0);
    let checksum = xxh3_64(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// The column as it lies in memory.
fn column_of(snapshot: &Snapshot, id: u32) -> &tallyport_column {
    const NONE: tallyport_column =
        tallyport_column { id: 0, elem_size: 1, region: 0, flags: 0, count: 0, offset: 0 };
    snapshot.columns.iter().find(|column| column.id == id).unwrap_or(&NONE)
}

/// Reads a snapshot file that may be damaged, foreign or hostile.
///
/// The snapshot gets a schema id of its own: ids of another process mean nothing here.
///
/// # Errors
/// Io when it cannot be read, Damaged when it is not a whole, consistent snapshot; both name the
/// path and the reason.
pub fn load(path: &Path) -> Result<Snapshot, Error> {
    let name = path.display();
    let file = OpenOptions::new()
        .read(true)
        // A FIFO must not block the open.
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)
        .map_err(|e| Error::io(format_args!("open `{name}`"), &e).with_field("path"))?;
    let metadata = file.metadata().map_err(|e| Error::io(format_args!("stat `{name}`"), &e))?;
    if !metadata.is_file() {
        let message = format!("`{name}` is not a regular file");
        return Err(Error::new(ErrorKind::Io, message).with_field("path"));
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(damaged(path, format!("{} bytes; at most {MAX_FILE_BYTES}", metadata.len())));
    }
    let len = metadata.len() as usize;
    let mut words = vec![0_u64; len.div_ceil(8)];
    let bytes = bytes_of_mut(&mut words).get_mut(..len).unwrap_or_default();
    file.read_exact_at(bytes, 0).map_err(|e| Error::io(format_args!("read `{name}`"), &e))?;
    decode(bytes_of_mut(&mut words).get(..len).unwrap_or_default())
        .map(|parts| parts.into_snapshot(words))
        .and_then(check)
        .map_err(|reason| damaged(path, reason))
}

fn damaged(path: &Path, reason: impl std::fmt::Display) -> Error {
    let message = format!("snapshot file `{}` is damaged: {reason}", path.display());
    Error::new(ErrorKind::Damaged, message).with_field("path")
}

struct Parts {
    time_unix_ns: u64,
    series_count: u64,
    columns: Vec<tallyport_column>,
}

impl Parts {
    fn into_snapshot(self, words: Vec<u64>) -> Snapshot {
        let block: Arc<dyn Block> = Arc::new(words);
        Snapshot {
            schema_id: new_schema_id(),
            time_unix_ns: self.time_unix_ns,
            series_count: self.series_count,
            blocks: vec![block],
            columns: self.columns,
            modes: Arc::default(),
        }
    }
}

fn decode(bytes: &[u8]) -> Result<Parts, String> {
    let u32_at = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let u64_at = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    if bytes.len() < HEADER + 8 {
        return Err(format!("{} bytes are too few", bytes.len()));
    }
    match bytes.get(..8) {
        Some(magic) if magic == MAGIC => {}
        Some(magic) if magic.starts_with(b"TLYSNAP") => {
            return Err("it is of another version than 1".into());
        }
        _ => return Err("it does not begin as a snapshot file".into()),
    }
    if u64_at(8) != Some(bytes.len() as u64) {
        return Err(format!("it has {} bytes, its header says otherwise", bytes.len()));
    }
    let end = bytes.len() - 8;
    if u64_at(end) != bytes.get(..end).map(xxh3_64) {
        return Err("the checksum does not match".into());
    }
    let count = u32_at(40).unwrap_or(0) as usize;
    if count > MAX_COLUMNS || HEADER + count * COLUMN > end {
        return Err(format!("{count} columns do not fit"));
    }
    let read = |index: usize| {
        let at = HEADER + index * COLUMN;
        Some(tallyport_column {
            id: u32_at(at)?,
            elem_size: u32_at(at + 4)?,
            region: u32_at(at + 8)?,
            flags: u32_at(at + 12)?,
            count: u64_at(at + 16)?,
            offset: u64_at(at + 24)?,
        })
    };
    let columns: Option<Vec<_>> = (0..count).map(read).collect();
    let columns = columns.ok_or("the column table is cut")?;
    let first = HEADER + count * COLUMN;
    for (index, column) in columns.iter().enumerate() {
        // Also of those that this version does not know: a plugin may.
        let len = column.count.checked_mul(u64::from(column.elem_size));
        let ends = len.and_then(|len| column.offset.checked_add(len));
        if column.region != 0
            || column.elem_size == 0
            || column.offset < first as u64
            || ends.is_none_or(|ends| ends > end as u64)
        {
            return Err(format!("column {} is out of range", column.id));
        }
        if columns.iter().take(index).any(|earlier| earlier.id == column.id) {
            return Err(format!("column {} is there twice", column.id));
        }
    }
    let (time_unix_ns, series_count) = (u64_at(24).unwrap_or(0), u64_at(32).unwrap_or(0));
    Ok(Parts { time_unix_ns, series_count, columns })
}

fn check(snapshot: Snapshot) -> Result<Snapshot, String> {
    snapshot.read(|view| view.check()).map_err(|error| error.message().to_owned())?;
    Ok(snapshot)
}
