//! The divergence M_t of the two predictions (Eq. 12), and the end step t_e, where it is largest (Eq. 21).

use tch::{Kind, Tensor};

use super::step_trace::StepTrace;
use crate::method_error::NotFinite;

/// M_t of one guidance strength while the walk goes on.
#[derive(Debug)]
pub struct Divergence {
    /// Largest M so far and its index, `[N, m]`.
    largest: Tensor,
    end_step: Tensor,
    trace: StepTrace,
}

#[derive(Debug)]
pub struct EndStep {
    /// M_t, f32 `[N, K, m]`.
    pub divergence: Tensor,
    /// t_e: first argmax of M over the index (Eq. 21), i64 `[N, m]`.
    pub t_e: Tensor,
    /// M at t_e, f32 `[N, m]`.
    pub peak: Tensor,
}

impl Divergence {
    /// `like` is f32 `[N, m, H, W]`.
    pub fn new(like: &Tensor) -> Self {
        let size = like.size();
        let (slices, modalities) = (size[0], size[1]);
        let options = (Kind::Float, like.device());
        Self {
            largest: Tensor::full([slices, modalities], f64::NEG_INFINITY, options),
            end_step: Tensor::zeros([slices, modalities], (Kind::Int64, like.device())),
            trace: StepTrace::default(),
        }
    }

    /// The next step, from (HGP - UGP)^2, f32 `[N, m, H, W]`. Says where M_t is larger than at all steps before, bool
    /// `[N, m]`: t_e is this step or a later one there.
    pub fn push(&mut self, squared_difference: &Tensor) -> Tensor {
        let index = self.trace.len();
        // Eq. 12.
        let divergence = pixel_mean(squared_difference);
        // Eq. 21. Strictly greater: the first of equal maxima stays.
        let new_maximum = divergence.gt_tensor(&self.largest);
        self.largest = divergence.where_self(&new_maximum, &self.largest);
        let here = self.end_step.full_like(index);
        self.end_step = here.where_self(&new_maximum, &self.end_step);
        self.trace.push(&divergence);
        new_maximum
    }

    pub fn finish(self, guidance: f64) -> Result<EndStep, NotFinite> {
        Ok(EndStep {
            divergence: self.trace.finish("M", guidance)?,
            t_e: self.end_step,
            peak: self.largest,
        })
    }
}

/// Mean over pixels, f32 `[N, m]`. Summed in f64, so that the order of summation leaves no trace.
pub fn pixel_mean(values: &Tensor) -> Tensor {
    values
        .to_kind(Kind::Double)
        .mean_dim(&[2_i64, 3][..], false, Kind::Double)
        .to_kind(Kind::Float)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn run(values: &[f64]) -> Result<EndStep, NotFinite> {
        let ones = Tensor::ones([1, 1, 2, 2], (Kind::Float, Device::Cpu));
        let mut state = Divergence::new(&ones);
        for value in values {
            drop(state.push(&(&ones * *value)));
        }
        state.finish(1.0)
    }

    #[test]
    fn the_first_of_equal_maxima_is_the_end_step() {
        let done = run(&[1., 9., 4., 9.]).unwrap();
        assert_eq!(done.t_e.int64_value(&[0, 0]), 1);
        assert_eq!(done.peak.double_value(&[0, 0]), 9.0);
        assert_eq!(done.divergence.double_value(&[0, 2, 0]), 4.0);
    }

    #[test]
    fn not_finite_names_slice_and_step() {
        let error = run(&[1., f64::NAN]).unwrap_err();
        assert_eq!((error.slice, error.step), (0, 1));
        assert!(error.to_string().contains("M of slice 0"), "{error}");
    }
}
