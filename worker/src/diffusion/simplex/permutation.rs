//! The shuffled table that decides which gradient stands at which vertex of the lattice.

use anofpdm_common::random::Stream;

pub(super) const ENTRIES: usize = 256;

/// Seeds of the public code are drawn from `-SEED_BOUND .. SEED_BOUND`.
const SEED_BOUND: i64 = 10_000_000_000;

/// Rounds of the generator before its first number is used.
const WARM_UP: usize = 3;

/// A permutation of 0..256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permutation {
    order: [u8; ENTRIES],
}

impl Permutation {
    /// The permutation of a seed: Fisher-Yates from the last entry down, with the high-level numbers
    /// of a 64-bit linear congruential generator (Knuth's MMIX constants).
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )] // remainders below 257
    pub fn new(seed: i64) -> Self {
        let mut state = seed;
        for _ in 0..WARM_UP {
            state = next(state);
        }
        let mut rest: [u8; ENTRIES] = std::array::from_fn(|entry| entry as u8);
        let mut order = [0; ENTRIES];
        for last in (0..ENTRIES).rev() {
            state = next(state);
            let taken = state.wrapping_add(31).rem_euclid(last as i64 + 1) as usize;
            order[last] = rest[taken];
            rest[taken] = rest[last];
        }
        Self { order }
    }

    /// The permutation of a seed drawn as the public code draws it. 0 would mean "no seed" there, so
    /// it is drawn again.
    #[allow(clippy::cast_sign_loss, clippy::cast_possible_wrap)] // a positive bound below 2^62
    pub fn draw(stream: &mut Stream) -> Self {
        loop {
            let seed = stream.below(2 * SEED_BOUND as u64) as i64 - SEED_BOUND;
            if seed != 0 {
                return Self::new(seed);
            }
        }
    }

    pub const fn order(&self) -> &[u8; ENTRIES] {
        &self.order
    }
}

const fn next(state: i64) -> i64 {
    state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407)
}

#[cfg(test)]
mod tests {
    use anofpdm_common::random::Domain;

    use super::*;

    #[test]
    fn holds_each_entry_once_and_depends_on_its_seed() {
        let mut sorted = *Permutation::new(7).order();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..=255));
        assert_ne!(Permutation::new(7), Permutation::new(8));
        assert_ne!(Permutation::new(7), Permutation::new(-7));
    }

    #[test]
    fn draws_go_on_along_their_stream() {
        let mut stream = Stream::new(1, Domain::ScoringNoise, 2, 3);
        let mut again = stream.clone();
        let first = Permutation::draw(&mut stream);
        assert_eq!(first, Permutation::draw(&mut again));
        assert_ne!(first, Permutation::draw(&mut stream));
    }
}
