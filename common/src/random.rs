//! The counter-based generator behind every random choice: Philox4x32-10.
//!
//! A value depends on what it is for, never on how many were drawn before it, so results do not depend on
//! batches, threads or the order of work. Source: Salmon et al., "Parallel random numbers: as easy as
//! 1, 2, 3" (SC 2011); the test vectors are those of the authors' Random123 library.

/// What a stream of numbers is for; keeps equal seeds from giving equal numbers in two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Domain {
    /// Which slices of a split are validated or tested.
    SliceSelection = 1,
    /// Which subjects go into which split.
    PatientSplit = 2,
    /// Noise of the forward process when scoring: (slice, index).
    ScoringNoise = 3,
    /// Order of the training samples: (epoch).
    TrainingOrder = 4,
    /// t and label dropout of a training sample: (step, position).
    TrainingSample = 5,
    /// Noise of a training sample: (step, position).
    TrainingNoise = 6,
    /// Dropout masks: (step, rank).
    Dropout = 7,
    InitialWeights = 8,
    /// Patient bootstrap: (resample).
    Bootstrap = 9,
    /// Phantom volumes: (subject, part).
    Phantom = 10,
    /// When a test kills what: (part).
    Kill = 11,
    /// What goes wrong in a chaos drill, and when: (part, connection).
    Chaos = 13,
    /// Injected faults of drills: (start, batch).
    Fault = 12,
    /// Mutations of messages and journals: (which, what).
    Mutation = 14,
    /// Signs of paired differences: (pattern).
    SignFlip = 15,
}

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// Four words for one counter under one key.
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..ROUNDS {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let [low0, high0] = halves(u64::from(MULTIPLIERS[0]) * u64::from(counter[0]));
        let [low1, high1] = halves(u64::from(MULTIPLIERS[1]) * u64::from(counter[2]));
        counter = [
            high1 ^ counter[1] ^ key[0],
            low1,
            high0 ^ counter[3] ^ key[1],
            low0,
        ];
    }
    counter
}

#[allow(clippy::cast_possible_truncation)]
const fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

/// Numbers for one purpose: `(seed, domain, a, b)` fixes them all.
///
/// `a` and `b` say which (a slice and a step, an epoch, a subject). They enter the key through a second
/// Philox application, so all 64 bits of both count.
#[derive(Debug, Clone)]
pub struct Stream {
    key: [u32; 2],
    domain: u32,
    block: u64,
    words: [u32; 4],
    used: usize,
}

impl Stream {
    /// The stream of `(seed, domain, a, b)`, at its beginning.
    pub fn new(seed: u64, domain: Domain, a: u64, b: u64) -> Self {
        let [seed_low, seed_high] = halves(seed);
        let [a_low, a_high] = halves(a);
        let [b_low, b_high] = halves(b);
        let domain = domain as u32;
        let [k0, k1, _, _] = philox([a_low, a_high, b_low, b_high], [seed_low, seed_high]);
        Self {
            key: [k0 ^ seed_low.rotate_left(16), k1 ^ seed_high],
            domain,
            block: 0,
            words: [0; 4],
            used: 4,
        }
    }

    /// The four words of block `block`, without moving the stream.
    pub fn block(&self, block: u64) -> [u32; 4] {
        let [low, high] = halves(block);
        philox([low, high, self.domain, 0], self.key)
    }

    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.words = self.block(self.block);
            self.block += 1;
            self.used = 0;
        }
        let word = self.words[self.used];
        self.used += 1;
        word
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) | (u64::from(self.next_u32()) << 32)
    }

    /// Uniform in [0, 1), 53 bits.
    #[allow(clippy::cast_precision_loss)]
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Uniform in `0..bound`, without bias.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "an empty range has no element. This is a bug.");
        // Values past the last whole multiple of `bound` would favour the small ones.
        let zone = u64::MAX - (u64::MAX - bound + 1) % bound;
        loop {
            let value = self.next_u64();
            if value <= zone {
                return value % bound;
            }
        }
    }

    /// Two independent standard normal values (Box-Muller in f64; `libm`, so bits do not depend on the
    /// system's mathematical library).
    pub fn gaussian_pair(&mut self) -> (f64, f64) {
        let words = [self.next_u64(), self.next_u64()];
        box_muller(words)
    }

    /// A permutation of `0..n` (Fisher-Yates).
    ///
    /// # Panics
    /// When `n` does not fit in 32 bits.
    pub fn permutation(&mut self, n: usize) -> Vec<u32> {
        let count = u32::try_from(n).expect("more than 2^32 elements to permute. This is a bug.");
        let mut order: Vec<u32> = (0..count).collect();
        for last in (1..order.len()).rev() {
            #[allow(clippy::cast_possible_truncation)]
            let other = self.below(last as u64 + 1) as usize;
            order.swap(last, other);
        }
        order
    }
}

/// Box-Muller on two 64-bit words; the first uniform lies in (0, 1] so that its logarithm is finite.
#[allow(clippy::cast_precision_loss)]
fn box_muller(words: [u64; 2]) -> (f64, f64) {
    const UNIT: f64 = 1.0 / 9_007_199_254_740_992.0;
    let u = ((words[0] >> 11) + 1) as f64 * UNIT;
    let v = (words[1] >> 11) as f64 * UNIT;
    let radius = (-2.0 * libm::log(u)).sqrt();
    let angle = std::f64::consts::TAU * v;
    (radius * libm::cos(angle), radius * libm::sin(angle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_vectors() {
        assert_eq!(
            philox([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn a_permutation_holds_each_element_once_and_depends_on_its_seed() {
        let draw = |seed| Stream::new(seed, Domain::SliceSelection, 0, 0).permutation(100);
        let mut sorted = draw(0);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(0), draw(1));
    }

    #[test]
    fn domains_and_coordinates_give_different_numbers() {
        let first = |domain, a, b| Stream::new(5, domain, a, b).next_u64();
        let values = [
            first(Domain::ScoringNoise, 0, 0),
            first(Domain::TrainingNoise, 0, 0),
            first(Domain::ScoringNoise, 1, 0),
            first(Domain::ScoringNoise, 0, 1),
            first(Domain::ScoringNoise, 1 << 40, 0),
        ];
        let distinct: std::collections::BTreeSet<_> = values.iter().collect();
        assert_eq!(distinct.len(), values.len());
    }

    #[test]
    fn gaussians_have_mean_zero_and_variance_one() {
        let mut stream = Stream::new(1, Domain::ScoringNoise, 2, 3);
        let values: Vec<f64> = (0..50_000)
            .flat_map(|_| <[f64; 2]>::from(stream.gaussian_pair()))
            .collect();
        let mean = values.iter().sum::<f64>() / 1e5;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.02, "{mean}");
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
    }
}
