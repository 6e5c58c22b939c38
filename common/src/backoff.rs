//! How long to wait before something that failed is tried again.

use std::time::Duration;

/// What a step of the shard's number, and of the number of its errors, adds to the jitter: multiples of irrational
/// numbers spread evenly over [0, 1), and a Lua script in Redis computes them to the same bit.
pub const JITTER_PER_SHARD: f64 = 0.618_033_988_749_894_9;
/// As [`JITTER_PER_SHARD`].
pub const JITTER_PER_ERROR: f64 = 0.754_877_666_246_692_7;

/// Capped exponential backoff: the wait doubles with every failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Longest wait after the first failure.
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
    /// The longest wait after failure number `failures` (from 1): min(cap, base 2^(failures - 1)).
    pub fn ceiling(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }

    /// The wait after error number `errors` (from 1) of `shard`: its ceiling with full jitter, so that shards that
    /// failed together do not come back together. The jitter depends on shard and attempt alone: a run's waits can be
    /// reproduced, whichever queue it uses.
    pub fn delay(&self, shard: u64, errors: u32) -> Duration {
        #[allow(clippy::cast_precision_loss)] // as Lua reads it
        let jitter = shard as f64 * JITTER_PER_SHARD + f64::from(errors) * JITTER_PER_ERROR;
        self.ceiling(errors).mul_f64(jitter - jitter.floor())
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
            assert_eq!(backoff.ceiling(errors), ceiling);
            assert!(longest(errors) <= ceiling && longest(errors) > ceiling.mul_f64(0.95));
        }
        assert_eq!(backoff.delay(3, 2), backoff.delay(3, 2));
        assert_ne!(backoff.delay(3, 2), backoff.delay(4, 2));
        assert_ne!(backoff.delay(3, 7), backoff.delay(3, 8));
    }
}
