//! The unsafe code of the benchmarks: system calls, bare sections, libraries opened by name.

pub mod prometheus_cpp;
pub mod rseq;
pub mod system;
pub mod tallyport_so;
