//! Whether two rows of a table differ, and how firm their order is. The unit is the patient: slices of one patient are
//! alike, so they are averaged before anything is tested.
//!
//! `docs/statistics.md` defines every number with its conventions.

pub mod correlation;
pub mod holm;
pub mod kendall;
pub mod mid_ranks;
pub mod paired_order;
pub mod sign_flip;
pub mod signed_rank;
pub mod stability;

pub use correlation::{pearson, spearman};
pub use holm::holm;
pub use kendall::kendall_tau;
pub use paired_order::PairedOrder;
pub use sign_flip::{SignFlip, sign_flip};
pub use signed_rank::{SignedRank, signed_rank};
pub use stability::{Stability, competition_ranks, stability};

/// Differences with ties and zeros that a test can name in three numbers; the expected values of the tests here were
/// computed on the same ones.
#[cfg(test)]
fn differences(n: i32, modulus: i32, shift: i32) -> Vec<f64> {
    (0..n)
        .map(|i| f64::from((i * 7919 + 17) % modulus - shift) / 8.0)
        .collect()
}
