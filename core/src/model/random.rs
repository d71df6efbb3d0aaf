//! Random bits of the system.

use rustix::rand::{GetRandomFlags, getrandom};

use super::CorrelationId;

/// 128 random bits.
pub(crate) fn random() -> u128 {
    let mut bytes = [0_u8; 16];
    match getrandom(&mut bytes, GetRandomFlags::empty()) {
        Ok(16) => u128::from_le_bytes(bytes),
        // As random as the keys of the process, its id and the time are.
        _ => u128::from_str_radix(CorrelationId::generate().as_str(), 16).unwrap_or(0),
    }
}
