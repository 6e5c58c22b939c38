//! What every method asks of a batch and its noise before the first step.

use tch::{Kind, Tensor};

use crate::diffusion::noise::NoiseSource;
use crate::method_error::MethodError;

/// Shape `[N, C, H, W]` of `x0`.
///
/// # Errors
/// When it is no f32 batch of at least one slice, or a slice holds NaN or infinity.
pub(crate) fn check_batch(x0: &Tensor) -> Result<[i64; 4], MethodError> {
    let size = x0.size();
    let [slices, channels, height, width] = match size[..] {
        [slices, channels, height, width] if slices > 0 => [slices, channels, height, width],
        _ => {
            return fail(format!(
                "x0 is {size:?}: it must be [N, C, H, W] with N >= 1"
            ));
        }
    };
    if x0.kind() != Kind::Float {
        return fail(format!("x0 is stored as {:?}: it must be f32", x0.kind()));
    }
    match not_finite(x0) {
        None => Ok([slices, channels, height, width]),
        Some(slice) => fail(format!("slice {slice} of the batch holds NaN or infinity")),
    }
}

/// Whether `noise` serves a batch of `shape` at `needed` indices; `walk` is what needs them.
///
/// # Errors
/// When it is of another shape or too short.
pub(crate) fn check_noise(
    noise: &NoiseSource,
    shape: [i64; 4],
    needed: usize,
    walk: &str,
) -> Result<(), MethodError> {
    if needed == 0 {
        return Ok(());
    }
    if let Some(given) = noise.len().filter(|given| *given < needed) {
        return fail(format!(
            "noise for {given} indices given, {walk} needs {needed}"
        ));
    }
    let batch = match noise {
        NoiseSource::Given(_) => noise.batch_shape(),
        NoiseSource::Counter { slices, .. } => {
            let mut expected = shape.to_vec();
            expected[0] = i64::try_from(slices.len()).unwrap_or(i64::MAX);
            Some(expected)
        }
    };
    match batch.filter(|batch| *batch != shape) {
        None => Ok(()),
        Some(batch) => fail(format!(
            "the noise is for a batch of {batch:?}, x0 is {shape:?}"
        )),
    }
}

/// Whether `modalities` are channels of a batch of `channels`, at least one.
pub(crate) fn check_modalities(modalities: &[i64], channels: i64) -> Result<(), MethodError> {
    if modalities.is_empty() {
        return fail("at least one modality is needed".to_owned());
    }
    match modalities.iter().find(|m| !(0..channels).contains(*m)) {
        None => Ok(()),
        Some(m) => fail(format!(
            "modality {m}: the input has channels 0 to {}",
            channels - 1
        )),
    }
}

/// First slice of a batch `[N, C, H, W]` with NaN or infinity in it.
pub(crate) fn not_finite(batch: &Tensor) -> Option<i64> {
    let finite = batch.isfinite().flatten(1, -1).all_dim(1, false);
    (0..finite.size()[0]).find(|slice| finite.int64_value(&[*slice]) == 0)
}

fn fail<T>(message: String) -> Result<T, MethodError> {
    Err(MethodError::Invalid(message))
}
