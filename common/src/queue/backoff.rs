//! How long a failed shard waits before it is tried again.

use std::time::Duration;

use crate::random::{Domain, Stream};

/// Capped exponential backoff with full jitter: the wait before attempt n + 1 is uniform in
/// [0, min(cap, base 2^(n-1))].
///
/// The jitter depends on shard and attempt alone, so a run's waits can be reproduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Longest wait after the first error.
    pub base: Duration,
    /// Longest wait of all.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The wait after error number `errors` (from 1) of `shard`.
    pub fn delay(&self, shard: u64, errors: u32) -> Duration {
        let doublings = errors.saturating_sub(1).min(31);
        let ceiling = self.base.saturating_mul(1 << doublings).min(self.cap);
        let jitter = Stream::new(0, Domain::Backoff, shard, u64::from(errors)).uniform();
        ceiling.mul_f64(jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_reproducible_jittered_and_capped() {
        let backoff = Backoff::default();
        let longest = |errors| {
            (0..500)
                .map(|shard| backoff.delay(shard, errors))
                .max()
                .unwrap()
        };
        for (errors, ceiling) in [(1, 1), (2, 2), (6, 32), (7, 60), (u32::MAX, 60)] {
            let ceiling = Duration::from_secs(ceiling);
            assert!(longest(errors) <= ceiling && longest(errors) > ceiling.mul_f64(0.95));
        }
        assert_eq!(backoff.delay(3, 2), backoff.delay(3, 2));
        assert_ne!(backoff.delay(3, 2), backoff.delay(4, 2));
        assert_ne!(backoff.delay(3, 7), backoff.delay(3, 8));
    }
}
