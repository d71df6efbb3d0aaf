//! Who shares through the store of an engine: for people, who only look.

use super::Engine;
use crate::{
    model::Error,
    sync::{Member, members, retire::Retirement},
};

impl Engine {
    /// The instances that share, with how much each published: as somebody who looks and changes
    /// nothing. Records that the store lost are counted and logged by whoever finds them out.
    ///
    /// # Errors
    /// As [`Engine::read_shared`].
    pub fn members(&self) -> Result<Vec<Member>, Error> {
        let (mut there, mut done) = (Vec::new(), Retirement::default());
        let looked = self.with_store(&mut |store| {
            there = members(store, &mut done)?;
            Ok(())
        });
        self.0.sync_meter.retired(&done);
        looked.map(|()| there)
    }
}
