//! Who shares through a store, for people: looked at, and nothing changed.

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

/// The instances that there are, by name. Not even those that ended are retired.
///
/// # Errors
/// What the store answers.
pub fn members(store: &mut dyn Store) -> Result<Vec<Member>, Error> {
    let mut members = Vec::new();
    for shard in 0..store.recount()? {
        let roll = store.roll(shard)?;
        if roll.lost > 0 {
            tracing::warn!(
                records = roll.lost,
                "the store lost records of instances before a fold"
            );
        }
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
