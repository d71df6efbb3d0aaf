//! The clock that says how old something in the file is.
//!
//! It begins with the wall clock of who made the file, goes on with CLOCK_BOOTTIME and stands still
//! while the system is off. So nothing gets old because the wall clock was set: a device without a
//! battery starts each time in some year of the past, and jumps.

use rusqlite::Transaction;

use crate::model::platform::uptime_ms;

/// How much of a boot's time the next one may not know of.
const UNSEEN_MS: i64 = 60_000;

/// Unix ms, if the wall clock was right when the file was made.
pub(super) fn now_ms(transaction: &Transaction<'_>) -> Result<u64, rusqlite::Error> {
    let mut clock = transaction.prepare("SELECT max(seen_ms, ahead_ms + ?1) FROM shard")?;
    clock.query_row([uptime_ms()], |row| Ok(row.get::<_, i64>(0)?.cast_unsigned()))
}

/// Writes down how late it is, if that was long ago: for the next boot.
pub(super) fn note(transaction: &Transaction<'_>) -> Result<(), rusqlite::Error> {
    let mut note = transaction
        .prepare("UPDATE shard SET seen_ms = ahead_ms + ?1 WHERE ahead_ms + ?1 - seen_ms > ?2")?;
    note.execute([uptime_ms(), UNSEEN_MS]).map(drop)
}
