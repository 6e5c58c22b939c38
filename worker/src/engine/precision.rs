//! The number formats an engine computes in.
//!
//! Whatever the format, the state x_t, the first and the last convolution, the predicted noise, the statistics of
//! norms, class tokens, sums of weights in attention, and everything after the network are float32: guidance
//! multiplies the rounding of the noise by w A_t.

use anofpdm_common::spec::Precision;
use tch::{Device, Kind};

use crate::shim::ShimError;
use crate::shim::numerics::allow_tf32;
use crate::shim::switches::without_tf32;

/// A number format that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrecisionError {
    #[error("precision {precision} needs a GPU: on the CPU fp32 and bf16 are there", precision = .0.name())]
    Unsupported(Precision),
    #[error("TF32 cannot be switched: {0}")]
    Switch(#[from] ShimError),
}

/// Sets this process to a format, and returns the kind of tensors that convolutions and products of an engine then take.
pub fn set(precision: Precision, device: Device) -> Result<Kind, PrecisionError> {
    let kind = compute_kind(precision, device)?;
    // TF32 is float32 to libtorch, and cuDNN uses it unless it is switched off.
    allow_tf32(precision == Precision::Tf32)?;
    Ok(kind)
}

/// Runs what is float32 in every format: on a GPU with TF32 off, where products and convolutions of the format use it.
pub(super) fn exactly<T>(device: Device, body: impl FnOnce() -> T) -> T {
    if !device.is_cuda() {
        return body();
    }
    // Reading and setting flags of libtorch's does not fail; a bug there is no reason to compute something else.
    without_tf32(body).unwrap_or_else(|error| panic!("TF32 cannot be switched: {error}"))
}

/// What a command that names a format computes in: `auto` is decided by a run, elsewhere it is `fp32`.
pub const fn name_of(precision: Precision) -> &'static str {
    match precision {
        Precision::Auto => Precision::Fp32.name(),
        named => named.name(),
    }
}

/// The kind of tensors that convolutions and products of an engine take.
fn compute_kind(precision: Precision, device: Device) -> Result<Kind, PrecisionError> {
    match (precision, device) {
        (Precision::Bf16, _) => Ok(Kind::BFloat16),
        (Precision::Auto | Precision::Fp32, _) => Ok(Kind::Float),
        (unsupported, Device::Cpu) => Err(PrecisionError::Unsupported(unsupported)),
        (Precision::Tf32, _) => Ok(Kind::Float),
        (Precision::Fp16, _) => Ok(Kind::Half),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_of_the_cpu() {
        let kind = |precision| compute_kind(precision, Device::Cpu);
        assert_eq!(kind(Precision::Auto), Ok(Kind::Float));
        assert_eq!(kind(Precision::Bf16), Ok(Kind::BFloat16));
        for precision in [Precision::Tf32, Precision::Fp16] {
            let message = kind(precision).unwrap_err().to_string();
            assert!(message.contains(precision.name()), "{message}");
            assert!(compute_kind(precision, Device::Cuda(0)).is_ok());
        }
    }
}
