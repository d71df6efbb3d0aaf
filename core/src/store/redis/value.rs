//! What Redis answers, read with care: anything may come.

use redis::{Cmd, ConnectionAddr, IntoConnectionInfo, Value};

use super::{
    super::{Answer, Epoch, Identity, Standing, State, Tombstone, Totals, socket::Address},
    reply::Hash,
};
use crate::model::{Error, ErrorKind};

/// Address and login of a URL.
///
/// # Errors
/// InvalidArgument for what is no URL (which may hold a password, so it is not shown), Unsupported
/// for TLS.
pub(super) fn read_url(url: &str) -> Result<(Address, Vec<Cmd>), Error> {
    let info = url.into_connection_info().map_err(|error| {
        let what = error.detail().unwrap_or("it is none");
        let message = format!("the URL of the Redis store cannot be read: {what}");
        Error::invalid("url", message)
    })?;
    let address = match info.addr() {
        ConnectionAddr::Tcp(host, port) => Address::Tcp(host.clone(), *port),
        ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
        _ => {
            let message =
                "the Redis store does not speak TLS: use a local stunnel or a private network";
            return Err(Error::new(ErrorKind::Unsupported, message).with_field("url"));
        }
    };
    let settings = info.redis_settings();
    let mut login = Vec::new();
    if let Some(password) = settings.password() {
        let mut auth = redis::cmd("AUTH");
        auth.arg(settings.username()).arg(password);
        login.push(auth);
    }
    if settings.db() != 0 {
        let mut select = redis::cmd("SELECT");
        select.arg(settings.db());
        login.push(select);
    }
    Ok((address, login))
}

/// The name under which a server keeps a script.
pub(super) fn sha1(source: &str) -> String {
    redis::Script::new(source).get_hash().to_owned()
}

pub(super) fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Damaged, format!("Redis store: {what} cannot be read"))
}

/// The server's refusal, as an error.
pub(super) fn refused(value: &Value) -> Option<Error> {
    let Value::ServerError(error) = value else { return None };
    let code = error.code();
    let details = error.details().unwrap_or("");
    let kind = match code {
        // What a script may not do for its user.
        "ERR" if details.contains("can't run this command") => ErrorKind::Config,
        "ERR" if is_displaced(value) => ErrorKind::Unavailable,
        "WRONGTYPE" => ErrorKind::Conflict,
        "OOM" => ErrorKind::Limit,
        "LOADING" | "BUSY" | "CLUSTERDOWN" | "TRYAGAIN" | "MASTERDOWN" | "NOREPLICAS"
        | "READONLY" | "MISCONF" => ErrorKind::Unavailable,
        "NOPERM" | "NOAUTH" | "WRONGPASS" => ErrorKind::Config,
        _ => ErrorKind::Io,
    };
    let hint = match kind {
        ErrorKind::Config => {
            "; the user needs EVALSHA, SCRIPT LOAD and what the scripts do, on the store's keys"
        }
        _ => "",
    };
    Some(Error::new(kind, format!("Redis store: {code} {details}{hint}")))
}

/// Whether a script has to be loaded first.
pub(super) fn is_unknown_script(value: &Value) -> bool {
    matches!(value, Value::ServerError(error) if error.code() == "NOSCRIPT")
}

/// Where a slot is: whether for good, host and port.
pub(super) fn redirected(value: &Value) -> Option<(bool, String, u16)> {
    let Value::ServerError(error) = value else { return None };
    let moved = match error.code() {
        "MOVED" => true,
        "ASK" => false,
        _ => return None,
    };
    let (host, port) = error.details()?.split(' ').nth(1)?.rsplit_once(':')?;
    Some((moved, host.to_owned(), port.parse().ok()?))
}

/// Whether a server cannot serve now what another one, or the one that is at its address by then,
/// may serve: it became a replica, or its cluster is in parts.
pub(super) fn is_displaced(value: &Value) -> bool {
    let Value::ServerError(error) = value else { return false };
    match error.code() {
        "READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "LOADING" => true,
        // How servers before 7 say it of a command in a script.
        "ERR" => error.details().is_some_and(|text| text.contains("-READONLY ")),
        _ => false,
    }
}

/// Hosts and ports of a cluster's nodes, as CLUSTER SLOTS lists them; none where it is refused.
pub(super) fn members(slots: Option<&Value>) -> Vec<(String, u16)> {
    let Some(Value::Array(slots)) = slots else { return Vec::new() };
    let mut members = Vec::new();
    for slot in slots {
        let Value::Array(parts) = slot else { continue };
        for node in parts.iter().skip(2) {
            let Value::Array(node) = node else { continue };
            let host = node.first().and_then(text_of).filter(|host| !host.is_empty());
            let port = node.get(1).and_then(number).and_then(|port| u16::try_from(port).ok());
            if let (Some(host), Some(port)) = (host, port) {
                members.push((host.to_owned(), port));
            }
        }
    }
    members
}

/// Text of a string reply.
pub(super) fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// An integer, however it comes.
pub(super) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        value => text_of(value)?.parse().ok(),
    }
}

/// The texts of an array that has nothing else.
fn texts(value: &Value) -> Option<Vec<&str>> {
    let (Value::Array(values) | Value::Set(values)) = value else { return None };
    values.iter().map(text_of).collect()
}

/// The texts of an array; what is not there is "".
pub(super) fn words(value: &Value) -> Option<Vec<&str>> {
    let (Value::Array(values) | Value::Set(values)) = value else { return None };
    let word = |value| if matches!(value, &Value::Nil) { Some("") } else { text_of(value) };
    values.iter().map(word).collect()
}

/// Fields and values of a hash.
pub(super) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Reads a hash.
pub(super) fn pairs(value: Value) -> Result<Fields, Error> {
    let Value::Array(values) = value else { return Err(damaged("a hash")) };
    let mut pairs = Vec::with_capacity(values.len() / 2);
    let mut values = values.into_iter();
    while let (Some(field), Some(value)) = (values.next(), values.next()) {
        let (Value::BulkString(field), Value::BulkString(value)) = (field, value) else {
            return Err(damaged("a hash"));
        };
        pairs.push((field, value));
    }
    Ok(pairs)
}

/// The server's clock, Unix ms.
pub(super) fn time_ms(value: Option<&Value>) -> Result<u64, Error> {
    let words = value.and_then(words).unwrap_or_default();
    let mut numbers = words.iter().map(|text| text.parse::<u64>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(seconds), Some(micros)) => Ok(seconds.saturating_mul(1000) + micros / 1000),
        _ => Err(damaged("the time")),
    }
}

/// What a script of a shard answered last.
pub(super) fn answer(replies: &[Value]) -> Result<Answer, Error> {
    // A script says "" for what is not there: anything but text is no answer of one.
    let words = replies.last().and_then(texts).unwrap_or_default();
    let &[epoch, generation, forgotten, version, tombstone] = words.as_slice() else {
        return Err(damaged("an answer"));
    };
    let number = |text: &str| text.parse::<u64>().ok();
    // Only what is empty says that there is none: of what else is no number nothing follows.
    let standing = match (version, tombstone) {
        ("", "") => Some(Standing::Unknown),
        ("", _) => tombstone.split(' ').next().and_then(number).map(Standing::Retired),
        _ => number(version).map(Standing::Live),
    };
    let (Some(epoch), Some(generation), Some(forgotten), Some(standing)) =
        (number(epoch), number(generation), number(forgotten), standing)
    else {
        return Err(damaged("an answer"));
    };
    Ok(Answer { epoch: Epoch(epoch), generation, forgotten, standing })
}

/// The retired total of a shard, by the fields that were read of it.
pub(super) fn totals(fields: Fields, now_ms: u64) -> Result<Totals, Error> {
    let mut totals = Totals {
        epoch: None,
        generation: 0,
        forgotten: 0,
        now_ms,
        tombstones: Vec::new(),
        series: Vec::new(),
    };
    for (name, bytes) in fields {
        let text = || std::str::from_utf8(&bytes).ok();
        let number = || text().and_then(|text| text.parse::<u64>().ok());
        match name.split_first() {
            Some((b'e', [])) => totals.epoch = number().map(Epoch),
            Some((b'g', [])) => totals.generation = number().unwrap_or(0),
            Some((b'd', [])) => totals.forgotten = number().unwrap_or(0),
            Some((b'i', [])) => {}
            Some((b's', key)) => totals.series.push((key.to_vec(), bytes)),
            Some((b'x', id)) => {
                let id = std::str::from_utf8(id).ok().and_then(Identity::parse);
                let mut numbers =
                    text().unwrap_or("").split(' ').map(|number| number.parse::<u64>().ok());
                let mut next = || numbers.next().flatten();
                let (Some(id), Some(version), Some(generation), Some(at_ms)) =
                    (id, next(), next(), next())
                else {
                    return Err(damaged("a tombstone"));
                };
                totals.tombstones.push(Tombstone { id, version, generation, at_ms });
            }
            _ => return Err(damaged("a field of the totals")),
        }
    }
    Ok(totals)
}

/// Name of a field of a record: its kind and the series' number.
pub(super) fn field(kind: u8, number: u32) -> Vec<u8> {
    let [a, b, c, d] = number.to_be_bytes();
    vec![kind, a, b, c, d]
}

/// A record; `None` when it is not there.
pub(super) fn state(reply: Hash) -> Result<Option<State>, Error> {
    let Hash::Fields(fields) = reply else { return Err(damaged("a hash")) };
    if fields.is_empty() {
        return Ok(None);
    }
    let mut state = State::default();
    let half = fields.len() / 2;
    let (mut texts, mut values) = (Vec::with_capacity(half), Vec::with_capacity(half));
    for (at, (name, bytes)) in fields.iter().enumerate() {
        match name {
            b"v" => {
                let text = std::str::from_utf8(bytes).ok();
                let version = text.and_then(|text| text.parse().ok());
                state.version = version.ok_or_else(|| damaged("a record's version"))?;
            }
            b"n" => state.name = String::from_utf8_lossy(bytes).into_owned(),
            b"l" => {}
            [b't', a, b, c, d] => texts.push((u32::from_be_bytes([*a, *b, *c, *d]), at)),
            [b'c', a, b, c, d] => values.push((u32::from_be_bytes([*a, *b, *c, *d]), at)),
            _ => return Err(damaged("a field of a record")),
        }
    }
    // In the order of their numbers, as they were made.
    let mut texts = in_order(texts).into_iter().peekable();
    let pairs = in_order(values).into_iter().filter_map(|(number, value)| {
        while texts.next_if(|(known, _)| *known < number).is_some() {}
        let (_, text) = texts.next_if(|(known, _)| *known == number)?;
        Some((text, value))
    });
    state.series = fields.seconds(pairs);
    Ok(Some(state))
}

/// By number. Few are missing as a rule: then each goes to its place, and nothing is compared.
fn in_order(mut numbered: Vec<(u32, usize)>) -> Vec<(u32, usize)> {
    let end = numbered.iter().map(|(number, _)| *number as usize + 1).max().unwrap_or(0);
    if end > numbered.len() * 2 {
        numbered.sort_unstable_by_key(|(number, _)| *number);
        return numbered;
    }
    let mut placed = vec![None; end];
    for (number, at) in numbered {
        if let Some(place) = placed.get_mut(number as usize) {
            *place = Some((number, at));
        }
    }
    placed.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::{super::super::Pairs, *};

    #[test]
    fn series_come_in_the_order_of_their_numbers() {
        for apart in [1, 1000] {
            let numbers = [3_u32, 0, 7, 1, 5].map(|number| number * apart);
            let mut fields = Pairs::default();
            fields.push(b"v", b"9");
            for number in numbers {
                fields.push(&field(b't', number), format!("text {number}").as_bytes());
                fields.push(&field(b'c', number), format!("value {number}").as_bytes());
            }
            // Half of a series is none.
            fields.push(&field(b't', 2 * apart), b"");
            fields.push(&field(b'c', 4 * apart), b"");
            let state = state(Hash::Fields(fields)).unwrap().unwrap();
            assert_eq!(state.version, 9);
            let expected = [0, 1, 3, 5, 7].map(|number| {
                (format!("text {}", number * apart), format!("value {}", number * apart))
            });
            assert_eq!(state.series, expected.iter().map(|(a, b)| (a, b)).collect());
        }
    }
}
