//! The number formats an engine computes in.
//!
//! Whatever the format, the state x_t, the first and the last convolution, the predicted noise, the statistics of
//! norms, class tokens, sums of weights in attention, and everything after the network are float32: guidance
//! multiplies the rounding of the noise by w A_t (DESIGN 10).

use anofpdm_common::spec::Precision;
use tch::{Device, Kind};

/// A number format that a device does not compute in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("precision {precision} needs a GPU: on the CPU fp32 and bf16 are there", precision = .0.name())]
pub struct UnsupportedPrecision(Precision);

/// The kind of tensors that convolutions and products of an engine take. TF32 is float32 to libtorch: whether the
/// GPU may shorten factors is decided before CUDA is loaded (`NVIDIA_TF32_OVERRIDE`).
///
/// # Errors
/// When the device does not compute in it.
pub fn compute_kind(precision: Precision, device: Device) -> Result<Kind, UnsupportedPrecision> {
    match (precision.resolved(), device) {
        (Precision::Bf16, _) => Ok(Kind::BFloat16),
        (Precision::Auto | Precision::Fp32, _) => Ok(Kind::Float),
        (unsupported, Device::Cpu) => Err(UnsupportedPrecision(unsupported)),
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
