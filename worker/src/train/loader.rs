//! Batches prepared ahead of the device, on a thread of their own.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use anofpdm_common::role::NoiseFamily;
use anofpdm_common::telemetry::in_context;
use rayon::prelude::*;
use tch::{Device, Tensor};

use super::data::{DataError, TrainingData};
use super::mirror::mirror;
use super::noise::{self, NoiseKey};
use super::sampler::{Draw, Sampler};
use crate::host::pinned;
use crate::nn::ClassLabel;

/// Batches waiting for the device, at most.
const AHEAD: usize = 3;

/// One rank's share of the global batch of one step, on the CPU.
#[derive(Debug)]
pub struct TrainingBatch {
    /// Step, from 0.
    pub step: u64,
    pub slices: Vec<usize>,
    /// Scaled slices, f32 `[N, C, H, W]`.
    pub x0: Tensor,
    /// Noise of the family asked for, f32 `[N, C, H, W]`.
    pub noise: Tensor,
    /// Diffusion times, i64 `[N]`.
    pub times: Tensor,
    /// Class numbers, -1 where the label is dropped, i64 `[N]`.
    pub labels: Tensor,
}

impl TrainingBatch {
    /// The same, to be copied to `device` while the host goes on.
    fn ready_for(self, device: Device) -> Self {
        Self {
            x0: pinned(self.x0, device),
            noise: pinned(self.noise, device),
            times: pinned(self.times, device),
            labels: pinned(self.labels, device),
            ..self
        }
    }
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum LoaderError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error("the loading thread is gone: {0}")]
    Thread(String),
}

/// Reads the batches of a range of steps in order, a few ahead.
#[derive(Debug)]
pub struct Loader {
    /// `None` only while dropping.
    batches: Option<Receiver<Result<TrainingBatch, DataError>>>,
    thread: Option<JoinHandle<()>>,
}

/// What a loader reads.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// Seed of the noise; the sampler has its own copy.
    pub seed: u64,
    pub noise: NoiseFamily,
    /// Draws the global batches.
    pub sampler: Sampler,
    /// Steps to load, from 0.
    pub steps: Range<u64>,
    /// This rank's places in the global batch.
    pub positions: Range<usize>,
    /// Where batches go: a GPU takes them from memory that it reads without delay.
    pub device: Device,
}

impl Loader {
    /// Starts loading.
    pub fn start(data: Arc<dyn TrainingData>, plan: LoadPlan) -> Result<Self, LoaderError> {
        let (sender, receiver) = sync_channel(AHEAD);
        let thread = std::thread::Builder::new()
            .name("training-loader".to_owned())
            .spawn(in_context(move || load(data.as_ref(), plan, &sender)))
            .map_err(|error| LoaderError::Thread(error.to_string()))?;
        Ok(Self {
            batches: Some(receiver),
            thread: Some(thread),
        })
    }

    /// The batch of the next step; waits for it.
    ///
    /// # Errors
    /// When a slice cannot be read, or the range of steps is used up.
    pub fn next_batch(&mut self) -> Result<TrainingBatch, LoaderError> {
        match self.batches.as_ref().map(Receiver::recv) {
            Some(Ok(batch)) => Ok(batch?),
            _ => Err(LoaderError::Thread("it has no further batch".to_owned())),
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // Without a receiver the thread's next send fails and it ends.
        drop(self.batches.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the training loader thread has panicked");
        }
    }
}

fn load(
    data: &dyn TrainingData,
    mut plan: LoadPlan,
    batches: &SyncSender<Result<TrainingBatch, DataError>>,
) {
    for step in plan.steps.clone() {
        let draws = plan.sampler.draw(step, plan.positions.clone());
        let recipe = Recipe {
            seed: plan.seed,
            noise: plan.noise,
            step,
            first: plan.positions.start,
        };
        let batch = assemble(data, recipe, &draws).map(|batch| batch.ready_for(plan.device));
        let failed = batch.is_err();
        if batches.send(batch).is_err() || failed {
            return;
        }
    }
}

/// What decides the noise of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipe {
    pub(super) seed: u64,
    pub(super) noise: NoiseFamily,
    pub(super) step: u64,
    /// Position of the first sample in the global batch; the others follow.
    pub(super) first: usize,
}

/// Reads the slices of `draws` and draws their noise.
pub(super) fn assemble(
    data: &dyn TrainingData,
    recipe: Recipe,
    draws: &[Draw],
) -> Result<TrainingBatch, DataError> {
    let shape = data.shape();
    let [channels, height, width] = shape;
    let pixels = channels * height * width;
    let mut x0 = vec![0_f32; draws.len() * pixels];
    let mut noise = vec![0_f32; draws.len() * pixels];
    x0.par_chunks_mut(pixels.max(1))
        .zip(noise.par_chunks_mut(pixels.max(1)))
        .zip(draws.par_iter().enumerate())
        .try_for_each(|((image, noise), (offset, draw))| {
            let place = NoiseKey {
                seed: recipe.seed,
                step: recipe.step,
                position: recipe.first + offset,
                time: draw.time,
            };
            noise::fill(recipe.noise, place, shape, noise);
            data.fill(draw.slice, image)?;
            if draw.mirrored {
                mirror(image, shape, data.left_right(draw.slice)?);
            }
            Ok(())
        })?;
    let times: Vec<i64> = draws.iter().map(|draw| draw.time).collect();
    let labels: Vec<i64> = draws.iter().map(|draw| class_number(data, draw)).collect();
    #[allow(clippy::cast_possible_wrap)] // sizes of one batch
    let shape = [draws.len(), channels, height, width].map(|size| size as i64);
    Ok(TrainingBatch {
        step: recipe.step,
        slices: draws.iter().map(|draw| draw.slice).collect(),
        x0: Tensor::from_slice(&x0).view(shape),
        noise: Tensor::from_slice(&noise).view(shape),
        times: Tensor::from_slice(&times),
        labels: Tensor::from_slice(&labels),
    })
}

fn class_number(data: &dyn TrainingData, draw: &Draw) -> i64 {
    if draw.null_label {
        ClassLabel::Null.index()
    } else {
        i64::from(data.label(draw.slice))
    }
}

#[cfg(test)]
mod tests {
    use anofpdm_common::spec::Augment;
    use anofpdm_common::store::slices::SliceAxis;

    use super::*;
    use crate::train::sampler::Tail;

    /// Slice `i` holds the value i, but for a first column one higher; slice `broken` cannot be read.
    #[derive(Debug)]
    struct Plain {
        broken: Option<usize>,
    }

    impl TrainingData for Plain {
        fn len(&self) -> usize {
            12
        }
        fn shape(&self) -> [usize; 3] {
            [2, 3, 3]
        }
        fn fill(&self, index: usize, image: &mut [f32]) -> Result<(), DataError> {
            if self.broken == Some(index) {
                return Err(DataError {
                    name: self.name(index),
                    reason: "unreadable".to_owned(),
                });
            }
            image.fill(index as f32);
            image.iter_mut().step_by(3).for_each(|first| *first += 1.0);
            Ok(())
        }
        fn label(&self, index: usize) -> u8 {
            u8::from(index % 2 == 1)
        }
        fn name(&self, index: usize) -> String {
            format!("plain/{index}")
        }
        fn left_right(&self, _: usize) -> Result<SliceAxis, DataError> {
            Ok(SliceAxis::Columns)
        }
    }

    fn plan(steps: Range<u64>, positions: Range<usize>) -> LoadPlan {
        LoadPlan {
            seed: 9,
            noise: NoiseFamily::Gaussian,
            sampler: Sampler::new(9, 12, 4, 100, 0.3, Tail::Drop).unwrap(),
            steps,
            positions,
            device: Device::Cpu,
        }
    }

    fn load_all(steps: Range<u64>, positions: Range<usize>) -> Vec<TrainingBatch> {
        load_augmented(Augment::None, steps, positions)
    }

    fn load_augmented(
        augment: Augment,
        steps: Range<u64>,
        positions: Range<usize>,
    ) -> Vec<TrainingBatch> {
        let data = Arc::new(Plain { broken: None });
        let mut plan = plan(steps.clone(), positions);
        plan.sampler = plan.sampler.augmented(augment);
        let mut loader = Loader::start(data, plan).unwrap();
        steps.map(|_| loader.next_batch().unwrap()).collect()
    }

    #[test]
    fn batches_hold_what_was_drawn() {
        for batch in load_all(0..7, 0..4) {
            let draws = plan(0..0, 0..0).sampler.draw(batch.step, 0..4);
            assert_eq!(batch.x0.size(), [4, 2, 3, 3]);
            for (row, draw) in draws.iter().enumerate() {
                assert_eq!(batch.slices[row], draw.slice);
                let row = i64::try_from(row).unwrap();
                assert_eq!(batch.x0.double_value(&[row, 1, 2, 2]), draw.slice as f64);
                assert_eq!(batch.times.int64_value(&[row]), draw.time);
                let label = if draw.null_label {
                    -1
                } else {
                    i64::from(draw.slice % 2 == 1)
                };
                assert_eq!(batch.labels.int64_value(&[row]), label);
            }
        }
    }

    #[test]
    fn a_share_and_a_resumed_range_are_parts_of_the_whole() {
        let whole = load_all(0..6, 0..4);
        let share = load_all(3..6, 2..4);
        for (part, whole) in share.iter().zip(&whole[3..]) {
            assert_eq!(part.step, whole.step);
            assert_eq!(part.noise, whole.noise.narrow(0, 2, 2));
            assert_eq!(part.x0, whole.x0.narrow(0, 2, 2));
        }
    }

    #[test]
    fn a_flipped_sample_is_the_plain_one_mirrored_and_shares_are_parts_of_the_whole() {
        let steps = 0..9;
        let plain = load_all(steps.clone(), 0..4);
        let flipped = load_augmented(Augment::Flip, steps.clone(), 0..4);
        let mut sampler = plan(0..0, 0..0).sampler.augmented(Augment::Flip);
        let mut mirrored = 0;
        for (plain, flipped) in plain.iter().zip(&flipped) {
            for (row, draw) in (0..).zip(sampler.draw(plain.step, 0..4)) {
                let expected = plain.x0.get(row);
                let expected = if draw.mirrored {
                    mirrored += 1;
                    expected.flip([2])
                } else {
                    expected
                };
                assert_eq!(flipped.x0.get(row), expected);
                assert!(!draw.mirrored || expected != plain.x0.get(row));
            }
            assert_eq!(flipped.slices, plain.slices);
            assert_eq!(flipped.labels, plain.labels);
            assert_eq!(flipped.times, plain.times);
            assert_eq!(flipped.noise, plain.noise);
        }
        assert!((1..36).contains(&mirrored), "{mirrored} of 36");
        // Two ranks, and a range that is gone on with.
        for share in [0..2, 2..4, 1..4] {
            let part = load_augmented(Augment::Flip, 3..9, share.clone());
            for (part, whole) in part.iter().zip(&flipped[3..]) {
                let length = i64::try_from(share.len()).unwrap();
                let first = i64::try_from(share.start).unwrap();
                assert_eq!(part.x0, whole.x0.narrow(0, first, length));
            }
        }
    }

    #[test]
    fn an_unreadable_slice_is_named_and_a_dropped_loader_ends() {
        let data = Arc::new(Plain { broken: Some(5) });
        let mut loader = Loader::start(data, plan(0..1000, 0..4)).unwrap();
        let error = (0..3).find_map(|_| loader.next_batch().err()).unwrap();
        assert!(error.to_string().contains("plain/5"), "{error}");
        let data = Arc::new(Plain { broken: None });
        drop(Loader::start(data, plan(0..u64::MAX, 0..4)).unwrap());
    }
}
