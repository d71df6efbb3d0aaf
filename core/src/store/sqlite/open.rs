//! Opening the file: where it may lie, its format, whose leases still run.

use std::{fs, path::Path};

use rusqlite::{Connection, OpenFlags, params};

use super::steps::Waiting;
use crate::model::{
    Error, ErrorKind,
    platform::{FileSystem, uptime_ms},
};

/// `PRAGMA application_id`: "TLYP".
const APPLICATION: i32 = 0x544c_5950;
/// `PRAGMA user_version`.
const VERSION: i32 = 4;

/// Refuses a file on a network file system.
pub(super) fn check_place(path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let place = FileSystem::of_folder(folder).map_err(|error| {
        let what = format!("the folder `{}` of the SQLite store", folder.display());
        Error::io(what, &error).with_field("path")
    })?;
    match place {
        FileSystem::Local | FileSystem::CopyOnWrite(_) => Ok(()),
        FileSystem::Network(name) => {
            let message = format!(
                "`{}` lies on a {name} file system, where SQLite's locks do not protect it: name a \
                 local file, or use Redis to share between hosts",
                path.display()
            );
            Err(Error::new(ErrorKind::Unsupported, message).with_field("path"))
        }
    }
}

/// A connection of one step.
pub(super) fn connect(path: &Path, waiting: &Waiting) -> Result<Connection, rusqlite::Error> {
    // One thread uses it at a time: the store is borrowed mutably.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    // One end for all statements: SQLite's own time-out begins anew with each.
    connection.busy_handler(Some(waiting.handler()))?;
    Ok(connection)
}

/// Makes the tables if there are none, and ends the leases of an earlier boot. `wall_ms` is what the
/// clock of a new file begins with.
pub(super) fn prepare(connection: &mut Connection, wall_ms: u64) -> Result<(), rusqlite::Error> {
    // A rollback journal: outside a transaction no lock is held. A commit is synced to the disk, once
    // a sync interval.
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA journal_mode = TRUNCATE;")?;
    let number = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0));
    let (application, version): (i32, i32) = (number("application_id")?, number("user_version")?);
    match (application, version) {
        (APPLICATION, VERSION) => {}
        (0, 0) => create(connection, wall_ms)?,
        _ => {
            let message = format!(
                "it is no Tallyport store of version {VERSION} (application_id {application:#x}, \
                 user_version {version})"
            );
            return Err(rusqlite::Error::ToSqlConversionFailure(message.into()));
        }
    }
    let boot = boot_id();
    let known: String = connection.query_row("SELECT boot FROM shard", [], |row| row.get(0))?;
    if known != boot {
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        // Another process may have come first, and a lease of this boot be there.
        let new = "UPDATE shard SET boot = ?1, ahead_ms = seen_ms - ?2 WHERE boot <> ?1";
        if transaction.execute(new, params![boot, uptime_ms()])? == 1 {
            transaction.execute("UPDATE instance SET lease_ms = 0", [])?;
            transaction.execute("UPDATE lease SET until_ms = 0", [])?;
        }
        transaction.commit()?;
    }
    Ok(())
}

fn create(connection: &mut Connection, wall_ms: u64) -> Result<(), rusqlite::Error> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables != 0 {
        let made: i32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if made == VERSION {
            // Another process came first.
            return Ok(());
        }
        let message = "it is a database of something else";
        return Err(rusqlite::Error::ToSqlConversionFailure(message.into()));
    }
    transaction.execute_batch(&format!(
        "CREATE TABLE shard (
             epoch INTEGER, generation INTEGER NOT NULL, forgotten INTEGER NOT NULL,
             boot TEXT NOT NULL, ahead_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL);
         INSERT INTO shard VALUES (NULL, 0, 0, '', 0, {wall_ms});
         CREATE TABLE instance (
             id BLOB PRIMARY KEY, version INTEGER NOT NULL, lease_ms INTEGER NOT NULL,
             name TEXT NOT NULL) WITHOUT ROWID;
         CREATE TABLE series (
             id BLOB NOT NULL, number INTEGER NOT NULL, text BLOB NOT NULL, value BLOB,
             PRIMARY KEY (id, number)) WITHOUT ROWID;
         CREATE TABLE total (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
         CREATE TABLE tombstone (
             id BLOB PRIMARY KEY, version INTEGER NOT NULL, generation INTEGER NOT NULL,
             at_ms INTEGER NOT NULL) WITHOUT ROWID;
         CREATE TABLE lease (
             name TEXT PRIMARY KEY, owner BLOB, until_ms INTEGER NOT NULL, token INTEGER NOT NULL,
             holder TEXT NOT NULL) WITHOUT ROWID;
         CREATE TABLE note (lease TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
         PRAGMA application_id = {APPLICATION};
         PRAGMA user_version = {VERSION};"
    ))?;
    transaction.commit()
}

/// Which start of the system this is.
fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map_or_else(|_| String::from("unknown"), |id| id.trim().to_owned())
}
