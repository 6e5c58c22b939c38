//! How the work of a step is shared, and what ranks tell each other after it.

use std::ops::Range;
use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};

use crate::collective::{CollectiveError, GradientSum, Group, Membership};
use crate::shim::{ShimError, training};

/// Who trains: this process alone, or a rank with others.
#[derive(Debug, Clone, Copy)]
pub enum Ranks<'a> {
    /// This process has the whole batch.
    Alone,
    /// This rank has a share of the batch.
    Together(&'a Group),
}

impl Ranks<'_> {
    /// This process among those that train.
    fn membership(&self) -> Membership {
        match self {
            Self::Alone => Membership { rank: 0, world: 1 },
            Self::Together(others) => others.membership(),
        }
    }

    /// This rank, from 0.
    pub fn rank(&self) -> usize {
        self.membership().rank
    }

    pub fn world(&self) -> usize {
        self.membership().world
    }

    /// Whether this rank reads and writes checkpoints.
    pub(super) fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// This rank's places in a global batch.
    pub(super) fn share(&self, batch: usize) -> Range<usize> {
        self.membership().share(batch)
    }
}

/// Aborts a group when training ends early for whatever reason, so that no other rank waits for this one.
pub(super) struct AbortUnlessDone<'a> {
    ranks: Ranks<'a>,
    done: bool,
}

impl<'a> AbortUnlessDone<'a> {
    pub(super) fn new(ranks: Ranks<'a>) -> Self {
        Self { ranks, done: false }
    }

    pub(super) fn done(mut self) {
        self.done = true;
    }
}

impl Drop for AbortUnlessDone<'_> {
    fn drop(&mut self) {
        if let (Ranks::Together(others), false) = (self.ranks, self.done) {
            others.abort();
        }
    }
}

/// What a rank tells the others after its share of a step.
pub(super) struct RankStep<'a> {
    /// Its part of the mean loss over the global batch.
    pub(super) loss: f64,
    /// It was asked to stop.
    pub(super) stop: bool,
    /// The slices it has trained on.
    pub(super) slices: &'a [usize],
}

/// What all ranks know after a step.
pub(super) struct GlobalStep {
    /// Mean loss over the global batch.
    pub(super) loss: f64,
    /// Some rank was asked to stop.
    pub(super) stop: bool,
    /// The slices of the global batch, in order.
    pub(super) slices: Vec<usize>,
    /// How long this rank waited for it.
    pub(super) waited: Duration,
}

/// Tells and hears. One sum over the ranks: each writes to its own places only.
pub(super) fn exchange(
    ranks: Ranks<'_>,
    batch: usize,
    device: Device,
    own: &RankStep<'_>,
) -> Result<GlobalStep, CollectiveError> {
    let Ranks::Together(others) = ranks else {
        return Ok(GlobalStep {
            loss: own.loss,
            stop: own.stop,
            slices: own.slices.to_vec(),
            waited: Duration::ZERO,
        });
    };
    let mut values = vec![own.loss, f64::from(u8::from(own.stop))];
    values.resize(2 + batch, 0.0);
    let mine = values.iter_mut().skip(2 + ranks.share(batch).start);
    for (place, slice) in mine.zip(own.slices) {
        // A sampler has fewer than 2^32 slices: exact.
        #[allow(clippy::cast_precision_loss)]
        let number = *slice as f64;
        *place = number;
    }
    let sum = Tensor::from_slice(&values).to_device(device);
    let start = Instant::now();
    others.all_reduce(&sum)?;
    let waited = start.elapsed();
    sum.to_device(Device::Cpu).copy_data(&mut values, 2 + batch);
    let slice_of = |number: &f64| {
        // Written as whole numbers below 2^32 by exactly one rank each.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let slice = *number as usize;
        slice
    };
    Ok(GlobalStep {
        loss: values.first().copied().unwrap_or(f64::NAN),
        stop: values.get(1).is_some_and(|stop| *stop > 0.0),
        slices: values.iter().skip(2).map(slice_of).collect(),
        waited,
    })
}

/// Replaces `text` by rank 0's, which may be of another length.
pub(super) fn broadcast_text(
    others: &Group,
    device: Device,
    text: Vec<u8>,
) -> Result<Vec<u8>, CollectiveError> {
    let length = Tensor::from(text.len().cast_signed() as i64).to_device(device);
    others.broadcast(&length, 0)?;
    let wanted = usize::try_from(length.int64_value(&[])).unwrap_or(0);
    let mut text = text;
    text.resize(wanted, 0);
    let bytes = Tensor::from_slice(&text).to_device(device);
    others.broadcast(&bytes, 0)?;
    bytes
        .to_device(Device::Cpu)
        .to_kind(Kind::Uint8)
        .copy_data(&mut text, wanted);
    Ok(text)
}

/// A backward pass that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum BackwardError {
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    #[error(transparent)]
    Torch(#[from] ShimError),
}

/// Gradients of a step: of this process, or summed over the ranks.
#[derive(Debug)]
pub(super) struct Gradients {
    sum: Option<GradientSum>,
}

impl Gradients {
    pub(super) fn new(ranks: Ranks<'_>, parameters: &[&Tensor]) -> Result<Self, CollectiveError> {
        let sum = match ranks {
            Ranks::Alone => None,
            Ranks::Together(others) => Some(others.gradient_sum(parameters)?),
        };
        Ok(Self { sum })
    }

    /// Adds the gradients of a piece of this rank's share; those of the last piece with `last`, after
    /// which the sum over the ranks is there. Returns how long it was waited for.
    pub(super) fn add(&mut self, loss: &Tensor, last: bool) -> Result<Duration, BackwardError> {
        match &mut self.sum {
            Some(sum) if last => Ok(sum.backward(loss)?),
            _ => {
                training::backward(loss)?;
                Ok(Duration::ZERO)
            }
        }
    }

    /// See [`GradientSum::settle_order`].
    pub(super) fn settle_order(&mut self) -> Result<(), CollectiveError> {
        self.sum.as_mut().map_or(Ok(()), |sum| sum.settle_order())
    }
}
