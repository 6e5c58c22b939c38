//! Numbers of every step of a walk, gathered without leaving small blocks between the maps.

use tch::{Kind, Tensor};

use crate::method_error::NotFinite;

/// Steps whose memory is taken at once. A tensor a step, made between the maps of that step, would pin the heap where
/// it lies: the maps of later steps would not fit between, and memory would grow with the steps.
const CHUNK_STEPS: i64 = 128;

/// A sequence of `[N, m]`, one a step.
#[derive(Debug, Default)]
pub(super) struct StepTrace {
    /// `[N, 128, m]` each, the last one partly filled.
    chunks: Vec<Tensor>,
    steps: i64,
}

impl StepTrace {
    /// The numbers of the next step, `[N, m]`, always of one shape and kind.
    pub(super) fn push(&mut self, numbers: &Tensor) {
        let used = self.steps % CHUNK_STEPS;
        if used == 0 {
            let (slices, modalities) = (numbers.size()[0], numbers.size()[1]);
            let size = [slices, CHUNK_STEPS, modalities];
            self.chunks
                .push(Tensor::empty(size, (numbers.kind(), numbers.device())));
        }
        if let Some(chunk) = self.chunks.last() {
            chunk.select(1, used).copy_(numbers);
        }
        self.steps += 1;
    }

    pub(super) const fn len(&self) -> i64 {
        self.steps
    }

    /// `[N, K, m]`; `None` of no step.
    pub(super) fn stacked(&self) -> Option<Tensor> {
        (self.steps > 0).then(|| {
            Tensor::cat(&self.chunks, 1)
                .narrow(1, 0, self.steps)
                .contiguous()
        })
    }

    /// `[N, K, m]` of at least one step.
    ///
    /// # Errors
    /// When a number is NaN or infinite: names `what` it is of, and the earliest step of the first slice concerned.
    pub(super) fn finish(&self, what: &str, guidance: f64) -> Result<Tensor, NotFinite> {
        let trace = self.stacked().unwrap_or_default();
        let sums = trace.sum_dim_intlist(2_i64, false, Kind::Double);
        match first_not_finite(&sums) {
            None => Ok(trace),
            Some([slice, step]) => Err(NotFinite {
                what: what.to_owned(),
                slice,
                step,
                guidance,
            }),
        }
    }
}

/// Position of the first NaN or infinity of a matrix.
pub(super) fn first_not_finite(matrix: &Tensor) -> Option<[i64; 2]> {
    let wrong = matrix.isfinite().logical_not().nonzero();
    (wrong.size()[0] > 0).then(|| [wrong.int64_value(&[0, 0]), wrong.int64_value(&[0, 1])])
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn steps_come_back_in_order() {
        let mut trace = StepTrace::default();
        assert!(trace.stacked().is_none());
        let options = (Kind::Float, Device::Cpu);
        let steps: Vec<Tensor> = (0..CHUNK_STEPS + 3)
            .map(|step| Tensor::arange(6, options).view([3, 2]) + 10 * step)
            .collect();
        for step in &steps {
            trace.push(step);
        }
        assert_eq!(trace.len(), CHUNK_STEPS + 3);
        assert_eq!(trace.stacked(), Some(Tensor::stack(&steps, 1)));
    }
}
