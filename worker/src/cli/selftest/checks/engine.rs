//! The engine beside the plain network, in every number format.

use anofpdm_common::spec::Precision;
use anyhow::Result;
use tch::{Device, Kind, Tensor};

use crate::cli::selftest::finding::{Finding, Verdict};
use crate::cli::selftest::setting::{LesionSlices, Setting, random_network, small_network};
use crate::engine::precision;
use crate::predictor::NoisePredictor;

const SEED: u64 = 1;
const TIME: i64 = 250;

pub(super) fn check(setting: &Setting) -> Result<Vec<Finding>> {
    let config = small_network();
    let slices = LesionSlices::of(&config, 2);
    // On the CPU, whatever the device: its arithmetic is what others are held against.
    let mut plain = random_network(&config, SEED, Device::Cpu);
    let x = slices.tensor(Device::Cpu)?;
    let want = tch::no_grad(|| plain.predict_pair(&x, TIME));
    let x = slices.tensor(setting.device)?;
    let mut found = Vec::new();
    for format in setting.precisions() {
        let mut engine = setting.engine(&config, SEED, *format)?;
        let got = engine.predict_pair(&x, TIME);
        let apart = distance(&got.0, &want.0).max(distance(&got.1, &want.1));
        found.push(judged(*format, apart));
    }
    precision::set(Precision::Fp32, setting.device)?;
    Ok(found)
}

/// Largest difference as a part of the largest value.
fn distance(got: &Tensor, want: &Tensor) -> f64 {
    let largest = |x: &Tensor| x.to_kind(Kind::Float).abs().max().double_value(&[]);
    largest(&(got.to_device(Device::Cpu) - want)) / largest(want)
}

/// What rounding explains, through all layers.
const fn tolerance(format: Precision) -> f64 {
    match format {
        Precision::Auto | Precision::Fp32 => 2e-5,
        Precision::Tf32 | Precision::Fp16 => 5e-3,
        Precision::Bf16 => 3e-2,
    }
}

fn judged(format: Precision, apart: f64) -> Finding {
    let allowed = tolerance(format);
    let name = precision::name_of(format);
    let finding = Finding::new(
        format!("engine, {name}"),
        format!("{apart:.1e} from the plain network in fp32 on the CPU, {allowed:.0e} allowed"),
    )
    .figure("difference", apart, "");
    // Not a number is no agreement either.
    if apart < allowed {
        finding
    } else {
        finding.but(
            Verdict::No,
            format!("do not score in {name} on this device; report a bug"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_the_network_and_a_wrong_one_is_a_no() {
        let found = check(&Setting::quick_cpu().unwrap()).unwrap();
        assert_eq!(found.len(), 2);
        for one in &found {
            assert_eq!(one.verdict, Verdict::Ok, "{one:?}");
        }
        assert_eq!(judged(Precision::Fp32, 1e-3).verdict, Verdict::No);
        assert_eq!(judged(Precision::Bf16, f64::NAN).verdict, Verdict::No);
    }
}
