//! The number that a batch is classified by: Eq. 18, slice by slice.

use anofpdm_common::anofpdm::cosine;
use tch::Tensor;

use crate::host::numbers;

/// Cosine of the MSE sequences (f32 `[N, K, m]`) of every slice.
pub fn batch_cosines(mse_h: &Tensor, mse_null: &Tensor) -> Vec<f32> {
    let size = mse_null.size();
    let modalities = size[2].unsigned_abs() as usize;
    let sequence = size[1].unsigned_abs() as usize * modalities;
    let (h, null) = (numbers::<f32>(mse_h), numbers::<f32>(mse_null));
    h.chunks(sequence)
        .zip(null.chunks(sequence))
        .map(|(h, null)| cosine(h, null, modalities))
        .collect()
}
