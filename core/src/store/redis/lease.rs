//! Leases in Redis: each is one hash, so an eviction takes owner, end and token together.
//!
//! All lie in shard 0, which every store has whatever its number of shards. A lease's hash never
//! expires: there is one per name, and the token in it is what the next grant must exceed. Where it is
//! lost all the same the clock takes its place: that is safe as long as the server's clock is not set
//! back past the last grant in the same moment.

use std::time::Duration;

use redis::Value;

use super::{
    RedisStore, Store,
    scripts::Step,
    value::{self, number, words},
    word,
};
use crate::{
    model::Error,
    store::{Claim, FencingToken, Held, LeaseStanding, Leases, Locking, Wish, lease::term_ms},
};

/// The shard that leases lie in.
const SHARD: u32 = 0;

impl RedisStore {
    fn lease_key(&self, lease: &str) -> [String; 1] {
        [format!("{}lease:{lease}", self.tag(SHARD))]
    }

    fn lease_step(&mut self, step: Step, held: &Held<'_>, more: &[u64]) -> Result<bool, Error> {
        let keys = self.lease_key(held.lease);
        let mut arguments = vec![held.owner.to_string().into_bytes(), word(held.token.0)];
        arguments.extend(more.iter().copied().map(word));
        let replies = self.run(SHARD, step, &keys, vec![arguments])?;
        match replies.first().and_then(number) {
            Some(1) => Ok(true),
            Some(0) => Ok(false),
            _ => Err(value::damaged("the answer to a lease")),
        }
    }
}

/// The words of an answer, and a reader of numbers among them.
fn answer(replies: &[Value]) -> Vec<&str> {
    replies.first().and_then(words).unwrap_or_default()
}

impl Leases for RedisStore {
    fn locking(&self) -> Locking {
        Locking::Fenced
    }

    fn acquire(&mut self, wish: &Wish<'_>) -> Result<Claim, Error> {
        let keys = self.lease_key(wish.lease);
        let arguments = vec![
            wish.owner.to_string().into_bytes(),
            wish.holder.as_bytes().to_vec(),
            word(term_ms(wish.term)),
        ];
        let replies = self.run(SHARD, Step::Acquire, &keys, vec![arguments])?;
        let words = answer(&replies);
        let at = |index: usize| words.get(index).copied().unwrap_or("");
        let count = |index: usize| at(index).parse::<u64>().ok();
        match (at(0), count(1)) {
            ("granted", Some(token)) => Ok(Claim::Granted(FencingToken(token))),
            ("taken", Some(left)) => {
                let (holder, left) = (at(2).to_owned(), Duration::from_millis(left));
                Ok(Claim::Taken { holder, left })
            }
            _ => Err(value::damaged("the answer to a lease")),
        }
    }

    fn renew(&mut self, held: &Held<'_>, term: Duration) -> Result<bool, Error> {
        self.lease_step(Step::Renew, held, &[term_ms(term)])
    }

    fn release(&mut self, held: &Held<'_>) -> Result<bool, Error> {
        self.lease_step(Step::Release, held, &[])
    }

    fn standing(&mut self, lease: &str) -> Result<LeaseStanding, Error> {
        let [key] = self.lease_key(lease);
        let mut read = redis::cmd("HMGET");
        read.arg(&key).arg("t").arg("u").arg("n");
        let replies = self.checked(SHARD, &[redis::cmd("TIME"), read])?;
        let now_ms = value::time_ms(replies.first())?;
        let words = replies.get(1).and_then(words).unwrap_or_default();
        let at = |index: usize| words.get(index).copied().unwrap_or("");
        let until = at(1).parse::<u64>().unwrap_or(0);
        let left = Duration::from_millis(until.saturating_sub(now_ms));
        Ok(LeaseStanding {
            token: at(0).parse().ok().map(FencingToken),
            holder: (!left.is_zero()).then(|| (at(2).to_owned(), left)),
        })
    }

    fn note(&mut self, lease: &str, text: &str) -> Result<(), Error> {
        let [key] = self.lease_key(lease);
        let mut write = redis::cmd("HSET");
        write.arg(&key).arg("m").arg(text);
        self.checked::<redis::Value>(SHARD, &[write]).map(drop)
    }

    fn noted(&mut self, lease: &str) -> Result<Option<String>, Error> {
        let [key] = self.lease_key(lease);
        let mut read = redis::cmd("HGET");
        read.arg(&key).arg("m");
        match self.checked(SHARD, &[read])?.first() {
            Some(Value::Nil) => Ok(None),
            Some(Value::BulkString(bytes)) => {
                let text = String::from_utf8(bytes.clone());
                text.map(Some).map_err(|_| value::damaged("the note at a lease"))
            }
            _ => Err(value::damaged("the note at a lease")),
        }
    }

    fn extend(&mut self, data: Duration) -> Result<(), Error> {
        for shard in 0..self.shards() {
            for listed in self.roll(shard)?.instances {
                let keys = self.keys(shard, Some(listed.id));
                let arguments = vec![listed.id.to_string().into_bytes(), word(term_ms(data))];
                self.run(shard, Step::Extend, &keys, vec![arguments])?;
            }
        }
        Ok(())
    }
}
