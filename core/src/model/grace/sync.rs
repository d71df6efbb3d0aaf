//! The atomics of [`super::readers`]; its model (tests/grace_model.rs) brings loom's instead.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering, compiler_fence, fence};

/// Looks at one announcement before a freeing thread gives up for this time.
pub(crate) const PATIENCE: usize = 256;
