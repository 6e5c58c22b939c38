//! The faults of a drill: which are asked for, and when they strike.
//!
//! Every batch draws its faults from a counter-based stream of (seed, start of the worker, batch). A worker
//! started again draws others, so a shard that killed one worker does not kill every next one.

use std::str::FromStr;
use std::time::Duration;

use anofpdm_common::metrics::MaskRuns;
use anofpdm_common::metrics::overlap::Overlap;
use anofpdm_common::random::{Domain, Stream};
use anofpdm_common::record::{Record, SliceScore, SliceTrace, ThresholdOverlaps};
use tch::TchError;

/// Environment variable with the faults of the fake worker, in the form of [`FaultSpec`].
pub const ENVIRONMENT: &str = "ANOFPDM_FAKE_FAULTS";

/// Every key a [`FaultSpec`] knows.
pub const KEYS: &str = "seed, delay_ms, error, oom, crash, lost, flip";

const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// What libtorch says when a GPU is full.
const OUT_OF_MEMORY: &str = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB of which 1.00 GiB is free. (injected by ANOFPDM_FAKE_FAULTS)";

/// What libtorch says when a GPU is gone.
const DEVICE_LOST: &str =
    "CUDA error: unspecified launch failure (injected by ANOFPDM_FAKE_FAULTS)";

/// What is asked for: `seed=3,delay_ms=5,error=0.02,oom=0.02,crash=0.01,lost=0.001,flip=0.01`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FaultSpec {
    /// Seed of all draws.
    pub seed: u64,
    /// Duration of one network evaluation or training step.
    pub delay: Duration,
    /// Probabilities, each for one batch. Memory is full until it was freed once, or always where that is certain.
    probability: Probabilities,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Probabilities {
    error: f64,
    oom: f64,
    crash: f64,
    lost: f64,
    flip: f64,
}

/// A text that is no [`FaultSpec`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultSpecError {
    /// A part without `=`.
    #[error("'{0}' is not of the form key=value")]
    Form(String),
    /// A key nobody knows, or one given twice.
    #[error("'{0}' is unknown or given twice: the keys are {KEYS}")]
    Key(String),
    /// A value out of range.
    #[error("{key}={value}: expected {expected}")]
    Value {
        /// The key.
        key: String,
        /// What was given.
        value: String,
        /// What can be given.
        expected: &'static str,
    },
}

impl FromStr for FaultSpec {
    type Err = FaultSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut spec = Self::default();
        let mut seen = Vec::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| FaultSpecError::Form(part.to_owned()))?;
            if seen.contains(&key) {
                return Err(FaultSpecError::Key(key.to_owned()));
            }
            seen.push(key);
            let wrong = |expected| FaultSpecError::Value {
                key: key.to_owned(),
                value: value.to_owned(),
                expected,
            };
            let chances = &mut spec.probability;
            let chance = match key {
                "seed" => {
                    spec.seed = value.parse().map_err(|_| wrong("a whole number"))?;
                    continue;
                }
                "delay_ms" => {
                    spec.delay = value
                        .parse()
                        .map(Duration::from_millis)
                        .ok()
                        .filter(|delay| *delay <= LONGEST_DELAY)
                        .ok_or_else(|| wrong("milliseconds, at most 60000"))?;
                    continue;
                }
                "error" => &mut chances.error,
                "oom" => &mut chances.oom,
                "crash" => &mut chances.crash,
                "lost" => &mut chances.lost,
                "flip" => &mut chances.flip,
                _ => return Err(FaultSpecError::Key(key.to_owned())),
            };
            *chance = value
                .parse()
                .ok()
                .filter(|chance| (0.0..=1.0).contains(chance))
                .ok_or_else(|| wrong("a probability from 0 to 1"))?;
        }
        Ok(spec)
    }
}

/// An error that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an error injected by {ENVIRONMENT}")]
pub struct InjectedError;

/// The draws of one worker.
#[derive(Debug)]
pub(super) struct InjectedFaults {
    spec: FaultSpec,
    start: u64,
    batches: u64,
    /// The memory of the device was freed: what did not fit because of something else does now.
    freed: bool,
}

/// What strikes one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Draw {
    crash: bool,
    lost: bool,
    oom: bool,
    error: bool,
    flip: bool,
}

impl InjectedFaults {
    pub(super) fn new(spec: FaultSpec, worker: &str) -> Self {
        let start = blake3::hash(worker.as_bytes());
        Self {
            spec,
            start: start
                .as_bytes()
                .first_chunk()
                .map_or(0, |bytes| u64::from_le_bytes(*bytes)),
            batches: 0,
            freed: false,
        }
    }

    fn draw(&self, batch: u64) -> Draw {
        let mut stream = Stream::new(self.spec.seed, Domain::Fault, self.start, batch);
        let mut strikes = |chance: f64| stream.uniform() < chance;
        let chances = &self.spec.probability;
        Draw {
            crash: strikes(chances.crash),
            lost: strikes(chances.lost),
            oom: strikes(chances.oom),
            error: strikes(chances.error),
            flip: strikes(chances.flip),
        }
    }

    pub(super) const fn free_memory(&mut self) {
        self.freed = true;
    }

    pub(super) fn begin_batch(&mut self) -> Result<BatchFaults, InjectedError> {
        let batch = self.batches;
        self.batches += 1;
        let draw = self.draw(batch);
        if draw.crash {
            tracing::error!(batch, "crash injected by {ENVIRONMENT}");
            std::process::abort();
        }
        if draw.lost {
            raise(DEVICE_LOST);
        }
        // At 1 nothing ever fits.
        if draw.oom && (!self.freed || self.spec.probability.oom >= 1.0) {
            raise(OUT_OF_MEMORY);
        }
        if draw.error {
            return Err(InjectedError);
        }
        Ok(BatchFaults { flip: draw.flip })
    }
}

/// Panics as the `tch` crate does when libtorch throws.
fn raise(text: &str) {
    let error = TchError::Torch(text.to_owned());
    panic!("called `Result::unwrap()` on an `Err` value: {error:?}");
}

/// What is left to happen to a batch that was begun.
#[derive(Debug, Clone, Copy)]
pub struct BatchFaults {
    flip: bool,
}

impl BatchFaults {
    /// Turns one bit of a record where that was asked for: in a pixel count of the first slice, or in a
    /// sequence where the record holds no counts. The record stays one that a device could have made.
    pub fn corrupt(self, record: &mut Record) {
        if !self.flip {
            return;
        }
        tracing::warn!("bit flip injected by {ENVIRONMENT}");
        match record {
            Record::Masks(slices) => flip_first(slices, flip_score),
            Record::RatedMasks(slices) => flip_first(slices, |slice| flip_score(&mut slice.score)),
            Record::Restored(slices) => {
                flip_first(slices, |slice| {
                    flip_count(&mut slice.overlap, &mut slice.mask)
                });
            }
            Record::Candidates(slices) => {
                flip_first(slices, |slice| slice.cosine = flipped(slice.cosine))
            }
            Record::Exhibits(slices) => {
                let maps = slices
                    .iter_mut()
                    .flatten()
                    .filter_map(|slice| slice.map.as_mut());
                maps.flat_map(|map| &mut map.levels)
                    .take(1)
                    .for_each(|level| *level ^= 1);
            }
            Record::Traces(slices) => flip_first(slices, flip_sequence),
            Record::Overlaps(slices) => flip_first(slices, flip_curve),
        }
    }
}

fn flip_first<T>(slices: &mut [T], flip: impl FnOnce(&mut T)) {
    if let Some(slice) = slices.first_mut() {
        flip(slice);
    }
}

fn flip_score(slice: &mut SliceScore) {
    flip_count(&mut slice.overlap, &mut slice.mask);
}

/// A count that the mask does not give away, or else a pixel of the mask.
fn flip_count(overlap: &mut Overlap, mask: &mut MaskRuns) {
    let honest = *overlap;
    let mut candidates = [honest; 2];
    candidates[0].intersection ^= 1;
    candidates[1].truth ^= 1;
    if let Some(wrong) = candidates.into_iter().find(|counts| counts.check().is_ok()) {
        *overlap = wrong;
        return;
    }
    // Where every pixel is lesion, no single count can change.
    let Ok(mut pixels) = mask.mask(honest.pixels as usize) else {
        return;
    };
    if let Some(pixel) = pixels.iter_mut().find(|pixel| **pixel != 0) {
        *pixel = 0;
        *mask = MaskRuns::new(&pixels);
        overlap.predicted -= 1;
        overlap.intersection = honest.intersection.saturating_sub(1);
    }
}

fn flipped(value: f32) -> f32 {
    f32::from_bits(value.to_bits() ^ 1)
}

/// A count at the first threshold; the truth, which all thresholds have in common, stays.
fn flip_curve(slice: &mut ThresholdOverlaps) {
    let Some(honest) = slice.overlap(0) else {
        return;
    };
    let (predicted, intersection) = (honest.predicted, honest.intersection);
    let wrong = [
        (predicted ^ 1, intersection),
        (predicted, intersection ^ 1),
        (predicted.saturating_sub(1), intersection.saturating_sub(1)),
    ]
    .into_iter()
    .find(|&(predicted, intersection)| {
        let counts = Overlap {
            predicted,
            intersection,
            ..honest
        };
        counts.check().is_ok()
    });
    if let (Some(wrong), Some(at)) = (wrong, slice.at.first_mut()) {
        *at = wrong;
    }
}

fn flip_sequence(slice: &mut SliceTrace) {
    if let Some(value) = slice.divergence.first_mut() {
        *value = flipped(*value);
    }
}

#[cfg(test)]
mod tests {
    use anofpdm_common::metrics::PackedRun;

    use super::*;

    #[test]
    fn a_spec_says_what_strikes_and_how_often() {
        let text = "seed=3, delay_ms=5,error=0.02,oom=0.03,crash=0.01,lost=0,flip=1";
        let spec: FaultSpec = text.parse().unwrap();
        assert_eq!((spec.seed, spec.delay), (3, Duration::from_millis(5)));
        assert_eq!(spec.probability.oom, 0.03);
        assert_eq!(spec.probability.flip, 1.0);
        assert_eq!("".parse::<FaultSpec>().unwrap(), FaultSpec::default());
    }

    #[test]
    fn wrong_specs_name_what_is_known() {
        for (text, part) in [
            ("sede=3", KEYS),
            ("seed=1,seed=2", "given twice"),
            ("error", "key=value"),
            ("error=2", "from 0 to 1"),
            ("error=NaN", "from 0 to 1"),
            ("crash=-0.1", "from 0 to 1"),
            ("seed=x", "whole number"),
            ("delay_ms=60001", "60000"),
        ] {
            let message = text.parse::<FaultSpec>().unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn draws_follow_seed_start_and_batch_with_the_probability_asked_for() {
        let faults = |text: &str, worker| InjectedFaults::new(text.parse().unwrap(), worker);
        let struck = |faults: &InjectedFaults| -> Vec<u64> {
            (0..4000).filter(|batch| faults.draw(*batch).oom).collect()
        };
        let base = struck(&faults("seed=1,oom=0.1", "a"));
        assert!((300..500).contains(&base.len()), "{}", base.len());
        assert_eq!(base, struck(&faults("seed=1,oom=0.1", "a")));
        assert_ne!(base, struck(&faults("seed=2,oom=0.1", "a")));
        assert_ne!(base, struck(&faults("seed=1,oom=0.1", "b")));
        // One fault asked for more does not move the others.
        assert_eq!(base, struck(&faults("seed=1,oom=0.1,crash=0.5", "a")));
        assert!(struck(&faults("seed=1", "a")).is_empty());
    }

    #[test]
    fn errors_strike_where_they_are_certain() {
        let spec: FaultSpec = "error=1".parse().unwrap();
        let mut faults = InjectedFaults::new(spec, "a");
        assert!(faults.begin_batch().is_err());
        let mut faults = InjectedFaults::new(FaultSpec::default(), "a");
        assert!(faults.begin_batch().is_ok());
    }

    fn score(predicted: u32, truth: u32, intersection: u32) -> SliceScore {
        SliceScore {
            overlap: Overlap {
                pixels: 256,
                predicted,
                truth,
                intersection,
            },
            cosine: 0.5,
            q_star: 0.5,
            modalities: Vec::new(),
            run: PackedRun::default(),
            mask: MaskRuns::new(&vec![1; predicted as usize]),
            figures: None,
        }
    }

    #[test]
    fn a_flipped_record_differs_and_stays_plausible() {
        let flip = BatchFaults { flip: true };
        for (predicted, truth, intersection) in [
            (0, 0, 0),
            (1, 1, 1),
            (5, 5, 5),
            (256, 256, 256),
            (7, 249, 0),
        ] {
            let honest = Record::Masks(vec![score(predicted, truth, intersection); 2]);
            let mut wrong = honest.clone();
            flip.corrupt(&mut wrong);
            assert_ne!(wrong, honest);
            let Record::Masks(slices) = &wrong else {
                unreachable!()
            };
            for slice in slices {
                slice.overlap.check().unwrap();
                let set = slice.mask.count(256).unwrap();
                assert_eq!(set, slice.overlap.predicted as usize);
            }
        }
        for at in [(0, 0), (256, 5), (4, 4)] {
            let honest = Record::Overlaps(vec![ThresholdOverlaps {
                pixels: 256,
                truth: 5,
                at: vec![at, (0, 0)],
            }]);
            let mut wrong = honest.clone();
            flip.corrupt(&mut wrong);
            assert_ne!(wrong, honest);
        }
        let trace = SliceTrace {
            divergence: vec![0.0, 1.0],
            mse_h: vec![0.5; 2],
            mse_null: vec![0.5; 2],
        };
        let mut wrong = Record::Traces(vec![trace.clone()]);
        flip.corrupt(&mut wrong);
        assert_ne!(wrong, Record::Traces(vec![trace.clone()]));
        let mut same = Record::Traces(vec![trace.clone()]);
        BatchFaults { flip: false }.corrupt(&mut same);
        assert_eq!(same, Record::Traces(vec![trace]));
    }
}
