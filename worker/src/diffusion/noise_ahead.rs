//! Noise drawn on a thread of its own while the steps before it are computed.
//!
//! Drawing takes the host about as long as a GPU needs for a step. On a CPU, which is busy with the step itself, it would
//! only take turns with it.

use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use anofpdm_common::telemetry::in_context;
use tch::{Device, Tensor};

use super::noise::{NoiseSource, gaussian_batch};
use crate::host::pinned;

/// Rows of noise that wait, at most, but for the noise of two indices.
const ROWS_AHEAD: usize = 64;
const LEAST_AHEAD: usize = 2;

/// Standard normal noise of one index after another, in host memory.
#[derive(Debug)]
pub struct NoiseAhead {
    /// `None` only while dropping.
    drawn: Option<Receiver<(usize, Tensor)>>,
    thread: Option<JoinHandle<()>>,
}

impl NoiseAhead {
    /// Begins to draw what [`NoiseSource::at`] would for `indices`, in memory that `device` reads from without delay.
    /// `None` where there is nothing to draw or no thread to be had: then it is drawn when it is wanted.
    pub fn start(
        source: &NoiseSource,
        indices: Range<usize>,
        shape: &[i64],
        device: Device,
    ) -> Option<Self> {
        let NoiseSource::Counter { seed, slices } = source else {
            return None;
        };
        let (seed, slices, shape) = (*seed, slices.clone(), shape.to_vec());
        let ahead = (ROWS_AHEAD / slices.len().max(1)).max(LEAST_AHEAD);
        let (sender, receiver) = sync_channel(ahead);
        let draw = move |sender: &SyncSender<(usize, Tensor)>| {
            for index in indices {
                let noise = gaussian_batch(seed, &slices, index, &shape);
                if sender.send((index, pinned(noise, device))).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("noise".to_owned())
            .spawn(in_context(move || draw(&sender)))
            .map_err(|error| tracing::warn!(%error, "noise is drawn without a thread of its own"))
            .ok()?;
        Some(Self {
            drawn: Some(receiver),
            thread: Some(thread),
        })
    }

    /// The noise at `index`, which must be the one after the last; waits for it. `None` where there is none.
    pub fn take(&mut self, index: usize) -> Option<Tensor> {
        let (drawn, noise) = self.drawn.as_ref()?.recv().ok()?;
        (drawn == index).then_some(noise)
    }
}

impl Drop for NoiseAhead {
    fn drop(&mut self) {
        // Without a receiver the thread's next send fails and it ends.
        drop(self.drawn.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that draws noise has panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_ahead_is_the_noise_of_its_index() {
        let source = NoiseSource::Counter {
            seed: 7,
            slices: vec![3, 9],
        };
        let shape = [2, 1, 5, 5];
        let mut ahead = NoiseAhead::start(&source, 2..50, &shape, Device::Cpu).unwrap();
        for index in 2..50 {
            let want = source.at(index, &shape, Device::Cpu);
            assert_eq!(ahead.take(index), Some(want), "{index}");
        }
        assert_eq!(ahead.take(50), None);
    }

    #[test]
    fn a_walk_that_ends_early_leaves_no_thread_and_a_gap_is_no_noise() {
        let source = NoiseSource::Counter {
            seed: 7,
            slices: vec![1],
        };
        let mut ahead = NoiseAhead::start(&source, 0..usize::MAX, &[1, 1, 4, 4], Device::Cpu);
        let ahead = ahead.as_mut().unwrap();
        assert!(ahead.take(0).is_some());
        assert_eq!(ahead.take(2), None);
        let bank = NoiseSource::Given(Tensor::from(1.0_f32).view([1, 1, 1, 1, 1]));
        assert!(NoiseAhead::start(&bank, 0..1, &[1, 1, 1, 1], Device::Cpu).is_none());
    }
}
