//! The atomics and the waiting of [`super::word`]; its model (tests/lock_model.rs) brings loom's.

pub(crate) use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) use crate::model::platform::futex::{wait_on, wake_all, wake_one};
