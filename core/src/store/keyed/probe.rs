//! What a thing that keeps items really does: tried with real writes, not believed.

use std::time::Duration;

use super::{KeyValue, shelf::Shelf};
use crate::model::{Error, ErrorKind, random};

/// What it was found to do.
#[derive(Debug)]
pub(super) enum Found {
    /// It compares and swaps.
    Basic,
    /// It does not, for this reason.
    Manual(&'static str),
    /// It does not give back what was written.
    Nothing,
}

/// The items of a probe go by themselves, should it not come to remove them.
const TTL: Duration = Duration::from_secs(60);

/// Tries it.
///
/// # Errors
/// Unsupported for one that garbles values or replaces what it should only add; what it answers.
pub(super) fn probe(shelf: &mut Shelf) -> Result<Found, Error> {
    let key = shelf.key(format_args!("probe:{:032x}", random()));
    let found = probe_item(&mut *shelf.items, &key);
    let removed = shelf.items.delete(&key);
    let found = found?;
    removed?;
    if matches!(found, Found::Basic | Found::Manual(_)) && shelf.items.get(&key)?.is_some() {
        return Err(wrong(&*shelf.items, "gives an item that was removed"));
    }
    Ok(found)
}

/// That it can less than it did.
pub(super) fn worse(shelf: &Shelf, why: &str) -> Error {
    wrong(&*shelf.items, &format!("can less than when it was connected to: {why}"))
}

fn wrong(items: &dyn KeyValue, what: &str) -> Error {
    let message = format!("{} {what}", items.name());
    Error::new(ErrorKind::Unsupported, message).with_field("store")
}

fn probe_item(items: &mut dyn KeyValue, key: &str) -> Result<Found, Error> {
    // Every byte, and more than a line or a small buffer holds.
    let first: Vec<u8> = (0..=255_u8).cycle().take(8192).collect();
    let second: Vec<u8> = first.iter().rev().copied().collect();
    if !items.add(key, &first, TTL)? {
        return Err(wrong(items, "did not add an item of a new key"));
    }
    let Some(read) = items.get(key)? else { return Ok(Found::Nothing) };
    if read.bytes != first {
        return Err(wrong(items, "gives back another value than was written"));
    }
    if items.add(key, &second, TTL)? {
        return Err(wrong(items, "adds an item that is there already"));
    }
    items.set(key, &second, TTL)?;
    let Some(again) = items.get(key)? else { return Ok(Found::Nothing) };
    if again.bytes != second {
        return Err(wrong(items, "gives back another value than was set"));
    }
    if !items.has_cas() {
        return Ok(Found::Manual("it has no compare-and-swap"));
    }
    if items.cas(key, &first, TTL, read.token)? {
        return Ok(Found::Manual("it swaps an item that was written since it was read"));
    }
    if !items.cas(key, &first, TTL, again.token)? {
        return Ok(Found::Manual("it does not swap an item that is as it was read"));
    }
    match items.get(key)? {
        Some(last) if last.bytes == first => Ok(Found::Basic),
        _ => Ok(Found::Manual("it does not give back what was swapped in")),
    }
}
