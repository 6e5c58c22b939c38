//! The aggregated map at multiples r of the end step (Figure 5).
//!
//! For r >= 1 the end lies ahead: every new maximum arms a snapshot at round(r t), and a later
//! maximum arms it again, further on. For r < 1 it lies behind, so the running sums of all steps are
//! kept: the only memory that grows with the steps.

use anofpdm_common::semantics::Aggregation;
use tch::{Kind, Tensor};

use super::averaged_steps::{averaged_steps, spread};

#[derive(Debug)]
pub struct RatioMap {
    /// r.
    pub ratio: f64,
    /// round(r t_e), halves to even, i64 `[N, m]`; may lie beyond the last index, where the map is
    /// that of all steps.
    pub end: Tensor,
    /// f32 `[N, m, H, W]`; NaN where no step is averaged.
    pub map: Tensor,
}

#[derive(Debug)]
struct Target {
    ratio: f64,
    /// Index the snapshot is armed for, i64 `[N, m]`.
    index: Tensor,
    taken: Tensor,
}

/// All ratios of one guidance strength.
#[derive(Debug)]
pub(super) struct EndRatioMaps {
    aggregation: Aggregation,
    targets: Vec<Target>,
    /// Sum of S over all steps so far.
    running: Tensor,
    /// The sum that would be averaged if the walk ended at index i; kept for r < 1 only.
    history: Option<Vec<Tensor>>,
    steps: i64,
}

impl EndRatioMaps {
    /// `like` is f32 `[N, m, H, W]`.
    pub(super) fn new(ratios: &[f64], aggregation: Aggregation, like: &Tensor) -> Self {
        let size = like.size();
        let (slices, modalities) = (size[0], size[1]);
        let targets = ratios
            .iter()
            .map(|&ratio| Target {
                ratio,
                index: Tensor::full([slices, modalities], -1, (Kind::Int64, like.device())),
                taken: like.zeros_like(),
            })
            .collect();
        Self {
            aggregation,
            targets,
            running: like.zeros_like(),
            history: ratios.iter().any(|ratio| *ratio < 1.0).then(Vec::new),
            steps: 0,
        }
    }

    /// One step: its S, f32 `[N, m, H, W]`, and where M reached a new maximum, bool `[N, m]`.
    pub(super) fn push(&mut self, squared_error: &Tensor, better: &Tensor) {
        if self.targets.is_empty() {
            return;
        }
        let after = &self.running + squared_error;
        let ending_here = match self.aggregation {
            Aggregation::EndIncluded => after.shallow_clone(),
            Aggregation::EndExcluded => self.running.shallow_clone(),
        };
        for target in &mut self.targets {
            let armed = target.index.full_like(scaled(target.ratio, self.steps));
            target.index = armed.where_self(better, &target.index);
            if target.ratio >= 1.0 {
                let reached = target.index.eq(self.steps).unsqueeze(-1).unsqueeze(-1);
                target.taken = ending_here.where_self(&reached, &target.taken);
            }
        }
        if let Some(history) = &mut self.history {
            history.push(ending_here);
        }
        self.running = after;
        self.steps += 1;
    }

    pub(super) fn finish(self) -> Vec<RatioMap> {
        let Self {
            aggregation,
            targets,
            running,
            history,
            steps,
        } = self;
        let history = history.unwrap_or_default();
        let last = match aggregation {
            Aggregation::EndIncluded => steps - 1,
            Aggregation::EndExcluded => steps,
        };
        targets
            .into_iter()
            .map(|target| {
                let mut taken = target.taken;
                if target.ratio < 1.0 {
                    for (index, sum) in (0_i64..).zip(&history) {
                        let here = target.index.eq(index).unsqueeze(-1).unsqueeze(-1);
                        taken = sum.where_self(&here, &taken);
                    }
                }
                let beyond = target.index.ge(steps).unsqueeze(-1).unsqueeze(-1);
                taken = running.where_self(&beyond, &taken);
                let count = averaged_steps(&target.index.clamp_max(last), aggregation);
                RatioMap {
                    ratio: target.ratio,
                    end: target.index,
                    map: taken / spread(&count),
                }
            })
            .collect()
    }
}

/// round(ratio index), halves to even.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // step numbers are small
fn scaled(ratio: f64, index: i64) -> i64 {
    (ratio * index as f64).round_ties_even() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    /// Runs one slice and modality of 1 x 1 pixels: S at index i is 2^i, so a sum names its steps.
    #[allow(clippy::cast_possible_truncation)]
    fn run(divergence: &[f32], ratios: &[f64], aggregation: Aggregation) -> Vec<(i64, f32)> {
        let pixel = Tensor::zeros([1, 1, 1, 1], (Kind::Float, Device::Cpu));
        let mut state = EndRatioMaps::new(ratios, aggregation, &pixel);
        let mut best = f32::NEG_INFINITY;
        for (index, &value) in divergence.iter().enumerate() {
            let better = Tensor::from_slice(&[value > best]).view([1, 1]);
            best = best.max(value);
            let s = &pixel + 2_f64.powi(i32::try_from(index).unwrap());
            state.push(&s, &better);
        }
        let done = state.finish();
        done.iter()
            .map(|r| {
                (
                    r.end.int64_value(&[0, 0]),
                    r.map.double_value(&[0, 0, 0, 0]) as f32,
                )
            })
            .collect()
    }

    #[allow(clippy::cast_possible_truncation)]
    fn mean(indices: std::ops::Range<i32>) -> f32 {
        let count = f64::from(indices.end - indices.start);
        (indices.map(|i| 2_f64.powi(i)).sum::<f64>() / count) as f32
    }

    #[test]
    fn re_armed_by_a_later_maximum() {
        // Maxima at 1 and 3: the first target of r = 2 (index 2) must be overwritten by 6.
        let divergence = [0., 1., 0.5, 2., 1., 1., 1., 1.];
        let ratios = [1.0, 1.5, 2.0, 3.0, 0.5];
        let got = run(&divergence, &ratios, Aggregation::EndIncluded);
        let want = [
            (3, mean(0..4)),
            (4, mean(0..5)),
            (6, mean(0..7)),
            (9, mean(0..8)),
            (2, mean(0..3)),
        ];
        assert_eq!(got, want);
        let got = run(&divergence, &ratios, Aggregation::EndExcluded);
        let want = [
            (3, mean(0..3)),
            (4, mean(0..4)),
            (6, mean(0..6)),
            (9, mean(0..8)),
            (2, mean(0..2)),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn an_end_at_the_first_step() {
        let divergence = [3., 1., 1.];
        let got = run(&divergence, &[0.5, 2.0], Aggregation::EndIncluded);
        assert_eq!(got, [(0, 1.0), (0, 1.0)]);
        let got = run(&divergence, &[0.5, 2.0], Aggregation::EndExcluded);
        assert!(got.iter().all(|(end, map)| *end == 0 && map.is_nan()));
    }
}
