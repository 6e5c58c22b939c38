//! Memory runs out, is recognised as that, and the device goes on.

use anofpdm_common::spec::Precision;
use anyhow::Result;
use tch::{Kind, TchError, Tensor};

use super::scoring::{Walk, fingerprint, walked};
use crate::cli::selftest::finding::{Finding, Verdict};
use crate::cli::selftest::setting::Setting;
use crate::torch;
use crate::worker_loop::device_failure::class_in;
use anofpdm_common::queue::ErrorClass;

/// Pieces of the device's memory that are asked for at once.
const PIECES: u64 = 16;

pub(super) fn exhausted(setting: &Setting) -> Result<Vec<Finding>> {
    let walk = Walk::of(setting);
    let before = fingerprint(&walked(setting, &walk, Precision::Fp32)?);
    let bytes = torch::memory_bytes(setting.device)
        .ok_or_else(|| anyhow::anyhow!("the driver does not say how much memory there is"))?;
    let values = i64::try_from(bytes / PIECES / 4)?;
    let piece = || Tensor::f_empty([values], (Kind::Float, setting.device));
    let refused = fill(&piece, PIECES + 1);
    let after = fingerprint(&walked(setting, &walk, Precision::Fp32)?);
    Ok(vec![judged(refused.as_deref(), before == after)])
}

/// What was said when memory was at its end; all of it is free again.
fn fill(piece: &dyn Fn() -> Result<Tensor, TchError>, most: u64) -> Option<String> {
    let mut held = Vec::new();
    for _ in 0..most {
        match piece() {
            Ok(tensor) => held.push(tensor),
            Err(error) => return Some(error.to_string()),
        }
    }
    None
}

fn judged(refused: Option<&str>, recovered: bool) -> Finding {
    const CHECK: &str = "out of memory";
    let Some(text) = refused else {
        let advice = "memory is shared with the host here: a worker may be slow instead of failing";
        return Finding::new(CHECK, "more than the whole memory was given")
            .but(Verdict::Look, advice);
    };
    if class_in(text) != Some(ErrorClass::OutOfMemory) {
        let said: String = text.chars().take(200).collect();
        let advice = "a run would try it again for nothing; report a bug";
        return Finding::new(CHECK, format!("not recognised: {said}")).but(Verdict::No, advice);
    }
    if !recovered {
        let advice = "a worker that has run out of memory is not to be relied on; report a bug";
        return Finding::new(CHECK, "recognised, but scores differ afterwards")
            .but(Verdict::No, advice);
    }
    Finding::new(CHECK, "recognised; scores are the same afterwards")
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn a_text_that_is_not_recognised_is_a_no() {
        let known = "CUDA out of memory. Tried to allocate 20.00 GiB";
        assert_eq!(judged(Some(known), true).verdict, Verdict::Ok);
        assert_eq!(judged(Some(known), false).verdict, Verdict::No);
        assert_eq!(judged(Some("no more"), true).verdict, Verdict::No);
        assert_eq!(judged(None, true).verdict, Verdict::Look);
        let small = || Tensor::f_empty([4], (Kind::Float, Device::Cpu));
        assert_eq!(fill(&small, 3), None);
        let impossible = || Tensor::f_empty([i64::MAX / 8], (Kind::Float, Device::Cpu));
        assert!(fill(&impossible, 3).is_some());
    }
}
