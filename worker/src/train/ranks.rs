//! How the work of a step is shared, and what ranks tell each other after it.

use std::ops::Range;
use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};

use crate::collective::{Collective, CollectiveError, GradientSum};
use crate::shim::{ShimError, training};

/// Who trains: this process alone, or a rank with others.
#[derive(Debug, Clone, Copy)]
pub enum Ranks<'a> {
    /// This process has the whole batch.
    Alone,
    /// This rank has a share of the batch.
    Together(&'a dyn Collective),
}

impl Ranks<'_> {
    /// This rank, from 0.
    pub fn rank(&self) -> usize {
        match self {
            Self::Alone => 0,
            Self::Together(others) => others.rank(),
        }
    }

    /// Number of ranks.
    pub fn world(&self) -> usize {
        match self {
            Self::Alone => 1,
            Self::Together(others) => others.world(),
        }
    }

    /// Whether this rank reads and writes checkpoints.
    pub(super) fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// This rank's places in a global batch. The first ranks have one more where it does not divide.
    pub(super) fn share(&self, batch: usize) -> Range<usize> {
        let (rank, world) = (self.rank(), self.world().max(1));
        let start = |rank: usize| rank * (batch / world) + rank.min(batch % world);
        start(rank)..start(rank + 1)
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
pub(super) struct Told<'a> {
    /// Its part of the mean loss over the global batch.
    pub(super) loss: f64,
    /// It was asked to stop.
    pub(super) stop: bool,
    /// The slices it has trained on.
    pub(super) slices: &'a [usize],
}

/// What all ranks know after a step.
pub(super) struct Heard {
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
    told: &Told<'_>,
) -> Result<Heard, CollectiveError> {
    let Ranks::Together(others) = ranks else {
        return Ok(Heard {
            loss: told.loss,
            stop: told.stop,
            slices: told.slices.to_vec(),
            waited: Duration::ZERO,
        });
    };
    let mut values = vec![told.loss, f64::from(u8::from(told.stop))];
    values.resize(2 + batch, 0.0);
    let mine = values.iter_mut().skip(2 + ranks.share(batch).start);
    for (place, slice) in mine.zip(told.slices) {
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
    Ok(Heard {
        loss: values.first().copied().unwrap_or(f64::NAN),
        stop: values.get(1).is_some_and(|stop| *stop > 0.0),
        slices: values.iter().skip(2).map(slice_of).collect(),
        waited,
    })
}

/// Replaces `text` by rank 0's, which may be of another length.
pub(super) fn broadcast_text(
    others: &dyn Collective,
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
    sum: Option<Box<dyn GradientSum>>,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A rank without others, to see its share.
    #[derive(Debug)]
    struct Place(usize, usize);

    impl Collective for Place {
        fn rank(&self) -> usize {
            self.0
        }
        fn world(&self) -> usize {
            self.1
        }
        fn all_reduce(&self, _: &Tensor) -> Result<(), CollectiveError> {
            unreachable!()
        }
        fn broadcast(&self, _: &Tensor, _: usize) -> Result<(), CollectiveError> {
            unreachable!()
        }
        fn barrier(&self, _: std::time::Duration) -> Result<(), CollectiveError> {
            unreachable!()
        }
        fn gradient_sum(&self, _: &[&Tensor]) -> Result<Box<dyn GradientSum>, CollectiveError> {
            unreachable!()
        }
        fn timeout(&self) -> std::time::Duration {
            unreachable!()
        }
        fn abort(&self) {
            unreachable!()
        }
    }

    #[test]
    fn shares_follow_each_other_and_differ_by_one_at_most() {
        for (batch, world) in [(8, 1), (8, 2), (8, 3), (7, 4), (4, 4), (64, 5)] {
            let mut end = 0;
            for rank in 0..world {
                let place = Place(rank, world);
                let share = Ranks::Together(&place).share(batch);
                assert_eq!(share.start, end);
                assert!((batch / world..=batch.div_ceil(world)).contains(&share.len()));
                end = share.end;
            }
            assert_eq!(end, batch);
        }
        assert_eq!(Ranks::Alone.share(5), 0..5);
    }
}
