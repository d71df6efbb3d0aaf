//! What a store is used for, by what it can do.

/// What a store is used for, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strategy {
    /// Totals of all instances, exact, in atomic steps of the store.
    DistributedAtomic,
    /// Totals of all instances, exact while the store keeps its items.
    DistributedBasic,
    /// Totals of the instances that are there; they fall when one ends.
    DistributedManual,
    /// This instance's totals only.
    LocalOnly,
}

impl Strategy {
    /// Its name in configurations and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DistributedAtomic => "distributed_atomic",
            Self::DistributedBasic => "distributed_basic",
            Self::DistributedManual => "distributed_manual",
            Self::LocalOnly => "local_only",
        }
    }

    /// Whether instances that ended are folded into a total that stays.
    #[must_use]
    pub fn folds(self) -> bool {
        matches!(self, Self::DistributedAtomic | Self::DistributedBasic)
    }

    /// Whether totals of all instances are shared.
    #[must_use]
    pub fn is_shared(self) -> bool {
        self != Self::LocalOnly
    }

    /// What it cannot do, for people; `None` where it can all.
    #[must_use]
    pub fn cannot(self) -> Option<&'static str> {
        match self {
            Self::DistributedAtomic => None,
            Self::DistributedBasic => Some(
                "totals are exact while the store evicts nothing; what it loses is found out and \
                 reported, and instances send again what they have. Export leases have no fencing",
            ),
            Self::DistributedManual => Some(
                "totals may fall: what an instance counted goes when it ends, for nothing can be \
                 folded without compare-and-swap",
            ),
            Self::LocalOnly => Some("each instance has its own totals: nothing is shared"),
        }
    }
}
