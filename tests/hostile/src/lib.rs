//! Corrupt bytes: mutated messages of every kind and mutated journals, each read as the programs read it.
//!
//! Whatever the bytes, reading ends with a value or an error: never with a panic, never with more memory than
//! [`most_memory`](anofpdm_common::wire::most_memory) allows. Memory is counted by [`peak_alloc`], so a program that wants it checked names that
//! allocator as its own and runs a storm on one thread.

pub mod journals;
pub mod messages;
pub mod mutation;
pub mod samples;

use peak_alloc::PeakAlloc;

/// The most memory that was taken at once while `work` was done, above what was in use before.
pub fn measured<R>(work: impl FnOnce() -> R) -> (R, usize) {
    let before = PeakAlloc.current_usage();
    PeakAlloc.reset_peak_usage();
    let result = work();
    let most = PeakAlloc.peak_usage().saturating_sub(before);
    (result, most)
}

/// True when memory is counted: the program has [`PeakAlloc`] as its allocator.
pub fn is_counting() -> bool {
    // Else the compiler sees that nobody needs the bytes, and takes none.
    let (bytes, most) = measured(|| std::hint::black_box(vec![1_u8; 4096]));
    bytes.len() == 4096 && most >= 4096
}
