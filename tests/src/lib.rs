//! What the whole-program tests and the comparisons with reference tensors share.

pub mod chaos;
pub mod fake;
pub mod fixture;
pub mod process_usage;
pub mod programs;
pub mod prometheus_page;
pub mod queue_cost;
pub mod running;
pub mod scale;

use anofpdm_test_support::oracle::Tensor;

/// A reference tensor for libtorch.
pub trait Torch {
    /// As a libtorch tensor of f32.
    fn torch(&self) -> tch::Tensor;
}

impl Torch for Tensor {
    fn torch(&self) -> tch::Tensor {
        #[allow(clippy::cast_possible_wrap)]
        let shape: Vec<i64> = self.shape.iter().map(|size| *size as i64).collect();
        tch::Tensor::from_slice(&self.f32()).reshape(shape)
    }
}

/// The numbers of a libtorch tensor in row-major order, widened to f64.
pub fn values(tensor: &tch::Tensor) -> Vec<f64> {
    let flat = tensor.to_kind(tch::Kind::Double).contiguous().view([-1]);
    Vec::<f64>::try_from(flat).expect("a flat f64 tensor")
}
