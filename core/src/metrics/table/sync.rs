//! The atomics of [`super::slots`] and [`super::state`]; their model (tests/table_model.rs) brings
//! loom's instead.

pub(crate) use std::sync::atomic::{AtomicU32, Ordering};
