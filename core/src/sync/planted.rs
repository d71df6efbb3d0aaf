//! Bugs that the model must find: each is switched on in one test's thread.

use std::cell::Cell;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A record takes a batch whatever version it stands at.
    AnyVersion,
    /// A fold takes place whatever version the record stands at.
    FoldAnyVersion,
    /// A fold takes place whatever the totals have become.
    FoldAnyGeneration,
    /// A fold takes place though the record is gone.
    FoldTwice,
    /// A fold leaves no tombstone.
    NoTombstone,
    /// The owner of a folded record takes no base.
    NoBase,
    /// An identity whose `register` failed is registered again.
    RegisterAgain,
    /// The base outlives the store's epoch.
    BaseOutlivesEpoch,
    /// A lost record is always taken as one that was not folded.
    LostMeansUnfolded,
    /// A fold of a store of items does not seal the record first.
    NoSeal,
    /// Live records that the total contains are counted too.
    CountFoldedTwice,
    /// What is sent is written down after it was.
    NoteAfterSending,
    /// What is written down lacks what is folded.
    NoteNoBase,
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

pub(crate) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

pub(crate) fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}
