//! Who shares through the store of an engine: for people, who only look.

use super::Engine;
use crate::{
    model::Error,
    sync::{Member, members},
};

impl Engine {
    /// The instances that share, with how much each published: as somebody who looks and changes
    /// nothing.
    ///
    /// # Errors
    /// As [`Engine::read_shared`].
    pub fn members(&self) -> Result<Vec<Member>, Error> {
        let mut there = Vec::new();
        self.with_store(&mut |store| {
            there = members(store)?;
            Ok(())
        })?;
        Ok(there)
    }
}
