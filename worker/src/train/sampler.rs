//! Which slice stands where in the global batch of a step, its t, its label drop and whether it is mirrored.
//!
//! Everything is a function of (seed, step, position in the global batch), so the samples of a
//! step do not depend on how many ranks share it or on where a run was resumed.

use std::ops::Range;

use anofpdm_common::random::{Domain, Stream};
use anofpdm_common::spec::Augment;

/// Probability of a mirrored sample under [`Augment::Flip`].
const MIRRORED: f64 = 0.5;

/// A training set that cannot fill one batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the training split has {slices} slices, fewer than one batch of {batch}: \
     use a smaller batch or more subjects"
)]
pub struct TooFewSlices {
    /// Slices there are.
    pub slices: usize,
    pub batch: usize,
}

/// One place of a global batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// Index of the training slice.
    pub slice: usize,
    /// Diffusion time, `0 .. times`.
    pub time: i64,
    /// Train this sample with the null label.
    pub null_label: bool,
    /// Train this sample with left and right exchanged.
    pub mirrored: bool,
}

/// What becomes of the slices at the end of an epoch that do not fill a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// They are left out of this epoch, as the public loader does.
    Drop,
    /// The batch goes on with the next epoch: every slice is seen once an epoch.
    Carry,
}

/// Draws the global batches: a fresh permutation of the slices per epoch, t uniform.
#[derive(Debug, Clone)]
pub struct Sampler {
    seed: u64,
    slices: usize,
    batch: usize,
    times: usize,
    null_label: f64,
    tail: Tail,
    augment: Augment,
    /// The permutation of the epoch last asked for.
    order: Option<(u64, Vec<u32>)>,
}

impl Sampler {
    /// `times` is the length of the schedule, `null_label` the probability of the null label.
    ///
    /// # Errors
    /// When the slices do not fill one batch, or there are more than 2^32.
    pub fn new(
        seed: u64,
        slices: usize,
        batch: usize,
        times: usize,
        null_label: f64,
        tail: Tail,
    ) -> Result<Self, TooFewSlices> {
        if batch == 0 || slices < batch || u32::try_from(slices).is_err() {
            return Err(TooFewSlices { slices, batch });
        }
        Ok(Self {
            seed,
            slices,
            batch,
            times: times.max(1),
            null_label,
            tail,
            augment: Augment::None,
            order: None,
        })
    }

    /// What is done to the slices. The other draws are the same with and without it.
    #[must_use]
    pub fn augmented(self, augment: Augment) -> Self {
        Self { augment, ..self }
    }

    /// Places `positions` of the global batch of `step` (steps count from 0).
    pub fn draw(&mut self, step: u64, positions: Range<usize>) -> Vec<Draw> {
        let (seed, times, null_label) = (self.seed, self.times as u64, self.null_label);
        let augment = self.augment;
        positions
            .filter_map(|position| {
                let slice = self.slice_at(step, position)?;
                let mut stream = Stream::new(seed, Domain::TrainingSample, step, position as u64);
                let time = i64::try_from(stream.below(times)).ok()?;
                let null_label = stream.uniform() < null_label;
                // The last draw of the stream, so that nothing else moves.
                let mirrored = match augment {
                    Augment::None => false,
                    Augment::Flip => stream.uniform() < MIRRORED,
                };
                Some(Draw {
                    slice,
                    time,
                    null_label,
                    mirrored,
                })
            })
            .collect()
    }

    /// The slice at `position` of the batch of `step`.
    fn slice_at(&mut self, step: u64, position: usize) -> Option<usize> {
        let epoch_length = match self.tail {
            Tail::Drop => self.slices / self.batch * self.batch,
            Tail::Carry => self.slices,
        } as u64;
        let place = step
            .checked_mul(self.batch as u64)?
            .checked_add(position as u64)?;
        let within = usize::try_from(place % epoch_length).ok()?;
        let slice = *self.order_of(place / epoch_length).get(within)?;
        Some(slice as usize)
    }

    fn order_of(&mut self, epoch: u64) -> &[u32] {
        let order = match self.order.take() {
            Some((known, order)) if known == epoch => order,
            _ => Stream::new(self.seed, Domain::TrainingOrder, epoch, 0).permutation(self.slices),
        };
        &self.order.insert((epoch, order)).1
    }
}

/// Seed of the dropout masks of a rank in a step.
pub fn dropout_seed(seed: u64, step: u64, rank: u64) -> u64 {
    Stream::new(seed, Domain::Dropout, step, rank).next_u64()
}

/// Seed of fresh weights.
pub fn initial_weights_seed(seed: u64) -> u64 {
    Stream::new(seed, Domain::InitialWeights, 0, 0).next_u64()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn sampler(slices: usize, batch: usize) -> Sampler {
        Sampler::new(3, slices, batch, 1000, 0.1, Tail::Drop).unwrap()
    }

    #[test]
    fn an_epoch_holds_every_slice_once_and_drops_the_tail() {
        let mut sampler = sampler(23, 5);
        let mut epochs = Vec::new();
        for epoch in 0..3 {
            let slices: Vec<usize> = (epoch * 4..epoch * 4 + 4)
                .flat_map(|step| sampler.draw(step, 0..5))
                .map(|draw| draw.slice)
                .collect();
            assert_eq!(slices.len(), 20);
            assert_eq!(slices.iter().collect::<BTreeSet<_>>().len(), 20);
            assert!(slices.iter().all(|slice| *slice < 23));
            epochs.push(slices);
        }
        assert_ne!(epochs[0], epochs[1]);
        assert_ne!(epochs[1], epochs[2]);
    }

    #[test]
    fn a_carried_tail_leaves_no_slice_out() {
        let carrying = || Sampler::new(3, 23, 5, 1000, 0.0, Tail::Carry).unwrap();
        let mut sampler = carrying();
        let seen: Vec<usize> = (0..23)
            .flat_map(|step| sampler.draw(step, 0..5))
            .map(|draw| draw.slice)
            .collect();
        let epochs: Vec<&[usize]> = seen.chunks(23).collect();
        assert_eq!(epochs.len(), 5);
        for epoch in &epochs {
            assert_eq!(epoch.iter().collect::<BTreeSet<_>>().len(), 23);
        }
        assert_ne!(epochs[0], epochs[1]);
        // From any step on, and in shares, the same.
        for step in [0, 4, 9, 13] {
            let expected = sampler.draw(step, 0..5);
            let mut resumed = carrying();
            let parts = [resumed.draw(step, 0..2), resumed.draw(step, 2..5)].concat();
            assert_eq!(parts, expected);
        }
    }

    #[test]
    fn ranks_see_parts_of_the_same_batch() {
        let mut whole = sampler(40, 8);
        for step in [0, 1, 4, 5, 17] {
            let expected = whole.draw(step, 0..8);
            for share in [1, 2, 4] {
                // A fresh sampler for each: nothing may hang on what was drawn before.
                let parts: Vec<Draw> = (0..8 / share)
                    .flat_map(|rank| sampler(40, 8).draw(step, rank * share..(rank + 1) * share))
                    .collect();
                assert_eq!(parts, expected);
            }
        }
    }

    #[test]
    fn labels_drop_at_their_rate_and_times_are_uniform() {
        let mut sampler = sampler(100, 100);
        let draws: Vec<Draw> = (0..1000)
            .flat_map(|step| sampler.draw(step, 0..100))
            .collect();
        let share = |count: usize| count as f64 / draws.len() as f64;
        // Five standard deviations of a binomial with 1e5 trials.
        let dropped = share(draws.iter().filter(|draw| draw.null_label).count());
        assert!((dropped - 0.1).abs() < 5.0 * 0.00095, "{dropped}");
        for tenth in 0..10 {
            let within = tenth * 100..(tenth + 1) * 100;
            let found = share(draws.iter().filter(|d| within.contains(&d.time)).count());
            assert!((found - 0.1).abs() < 5.0 * 0.00095, "{tenth}: {found}");
        }
        // Both ends of the schedule are drawn.
        assert!(draws.iter().any(|draw| draw.time == 0));
        assert!(draws.iter().any(|draw| draw.time == 999));
        // Label drop is independent of t.
        let early: Vec<_> = draws.iter().filter(|draw| draw.time < 500).collect();
        let rate = early.iter().filter(|d| d.null_label).count() as f64 / early.len() as f64;
        assert!((rate - 0.1).abs() < 5.0 * 0.00135, "{rate}");
    }

    /// Which samples of step 7 are mirrored with seed 3: the fifth and sixth word of each stream, of a Philox4x32-10
    /// written in Python 3 for this test.
    const PINNED: [bool; 8] = [true, true, true, false, true, true, true, false];

    #[test]
    fn every_other_sample_is_mirrored_and_nothing_else_moves() {
        let flipping = || sampler(40, 8).augmented(Augment::Flip);
        let mut mirrored = 0;
        for step in 0..2_000 {
            let plain = sampler(40, 8).draw(step, 0..8);
            assert!(plain.iter().all(|draw| !draw.mirrored));
            let found = flipping().draw(step, 0..8);
            mirrored += found.iter().filter(|draw| draw.mirrored).count();
            for (found, plain) in found.iter().zip(&plain) {
                let mirrored = false;
                assert_eq!(&Draw { mirrored, ..*found }, plain);
            }
            // From any step on, and in shares, the same.
            let mut rank = flipping();
            let parts = [rank.draw(step, 0..3), rank.draw(step, 3..8)].concat();
            assert_eq!(parts, found);
        }
        // Five standard deviations of a binomial with 16,000 trials.
        let share = f64::from(u32::try_from(mirrored).unwrap()) / 16_000.0;
        assert!((share - 0.5).abs() < 5.0 * 0.004, "{share}");
        let pinned: Vec<bool> = flipping()
            .draw(7, 0..8)
            .iter()
            .map(|draw| draw.mirrored)
            .collect();
        assert_eq!(pinned, PINNED);
    }

    #[test]
    fn no_label_is_dropped_at_rate_zero() {
        let mut sampler = Sampler::new(0, 50, 50, 10, 0.0, Tail::Drop).unwrap();
        assert!((0..50).all(|step| sampler.draw(step, 0..50).iter().all(|d| !d.null_label)));
    }

    #[test]
    fn too_few_slices_are_refused() {
        let few = Sampler::new(0, 7, 8, 1000, 0.1, Tail::Drop);
        let message = few.unwrap_err().to_string();
        assert!(
            message.contains("7 slices") && message.contains("batch of 8"),
            "{message}"
        );
    }
}
