//! Another library in Rust that a C program links as an archive: with an allocation, a thread and a
//! panic that a join catches, so that its share of std is there and at work.

use std::thread;

/// The sum of the numbers below `count`, on a thread; -1 when that panics.
#[unsafe(no_mangle)]
pub extern "C" fn other_sum(count: i64) -> i64 {
    let summed = thread::spawn(move || {
        assert!(count >= 0, "no numbers are below {count}");
        (0..count).collect::<Vec<_>>().iter().sum()
    });
    summed.join().unwrap_or(-1)
}
