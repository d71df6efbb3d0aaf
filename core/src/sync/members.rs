//! Who shares through a store, for people: looked at, and nothing changed of what is there.

use super::retire::Retirement;
use crate::{
    model::Error,
    store::{Identity, Store},
};

/// An instance that shares, as a store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub id: Identity,
    /// What it is called, for people.
    pub name: String,
    /// Whether its lease has ended, so that whoever meets it retires it.
    pub expired: bool,
    /// Series that it published.
    pub series: u64,
}

/// The instances that there are, by name. Not even those that ended are retired; `done` counts those
/// whose records the store had lost, which is found out here and told once.
///
/// # Errors
/// What the store answers.
pub fn members(store: &mut dyn Store, done: &mut Retirement) -> Result<Vec<Member>, Error> {
    let mut members = Vec::new();
    for shard in 0..store.recount()? {
        let roll = store.roll(shard)?;
        done.lost += roll.lost;
        let ids: Vec<Identity> = roll.instances.iter().map(|listed| listed.id).collect();
        let states = store.states(shard, &ids)?;
        // One that is gone meanwhile is no member any more.
        let there = roll.instances.iter().zip(states).filter_map(|(one, state)| {
            let (state, id, expired) = (state?, one.id, one.expired);
            Some(Member { id, name: state.name, expired, series: state.series.len() as u64 })
        });
        members.extend(there);
    }
    members.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    Ok(members)
}
