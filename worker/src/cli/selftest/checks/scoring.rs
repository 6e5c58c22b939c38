//! A walk of AnoFPDM over the same slices has the same bits twice, and after a training.

use std::ops::ControlFlow;

use anofpdm_common::ids::Digest;
use anofpdm_common::method::{Encoding, MapKind};
use anofpdm_common::network::NetworkConfig;
use anofpdm_common::semantics::{Semantics, Switches};
use anofpdm_common::spec::{DIFFUSION_STEPS, Precision};
use anyhow::Result;
use tch::Tensor;

use super::training;
use crate::anofpdm::{ForwardPass, ForwardResult};
use crate::cli::selftest::finding::{Finding, Verdict};
use crate::cli::selftest::setting::{LesionSlices, Setting, small_network};
use crate::diffusion::noise::NoiseSource;
use crate::diffusion::{Respacing, Schedule};
use crate::engine::precision;
use crate::host::numbers;

const SEED: u64 = 2;

/// A walk that checks compare with itself.
#[derive(Debug)]
pub(super) struct Walk {
    config: NetworkConfig,
    slices: usize,
    steps: usize,
    pub(super) encoding: Encoding,
}

impl Walk {
    pub(super) fn of(setting: &Setting) -> Self {
        let (slices, steps) = if setting.quick { (2, 4) } else { (16, 50) };
        Self {
            config: small_network(),
            slices,
            steps,
            encoding: Encoding::Ddim,
        }
    }

    pub(super) fn slices(&self) -> LesionSlices {
        LesionSlices::of(&self.config, self.slices)
    }

    pub(super) fn switches(&self) -> Switches {
        Semantics::PaperClipped.switches()
    }
}

/// What the walk yields in `format`.
pub(super) fn walked(setting: &Setting, walk: &Walk, format: Precision) -> Result<ForwardResult> {
    let mut engine = setting.engine(&walk.config, SEED, format)?;
    let schedule = Schedule::linear(DIFFUSION_STEPS as usize, &Respacing::Sections(vec![100]))?;
    let pass = ForwardPass {
        schedule: &schedule,
        switches: walk.switches(),
        encoding: walk.encoding,
        steps: walk.steps,
        guidance: &[2.0],
        modalities: &[0, 3],
        maps: &[MapKind::Aam],
        end_step_ratios: &[],
        keep: &[],
        lesion: None,
    };
    let noise = NoiseSource::Counter {
        seed: 5,
        slices: (0..walk.slices as u64).collect(),
    };
    let x0 = walk.slices().tensor(setting.device)?;
    let done = pass.run(&mut engine, &x0, &noise, &mut |_| ControlFlow::Continue(()))?;
    Ok(done.on_host())
}

/// One digest over everything that a walk yields.
pub(super) fn fingerprint(result: &ForwardResult) -> Digest {
    let mut bytes = Vec::new();
    let mut push = |tensor: &Tensor| {
        for value in numbers::<f32>(tensor) {
            bytes.extend(value.to_le_bytes());
        }
    };
    push(&result.mse_null);
    for strength in &result.guidance {
        for tensor in [&strength.divergence, &strength.mse_h, &strength.peak] {
            push(tensor);
        }
        push(&strength.t_e);
        for map in strength.maps.values() {
            push(&map.defined());
        }
    }
    Digest::of(&bytes)
}

pub(super) fn check(setting: &Setting) -> Result<Vec<Finding>> {
    let mut walks = Vec::new();
    for encoding in [Encoding::Ddim, Encoding::Ddpm] {
        for format in setting.precisions() {
            let walk = Walk {
                encoding,
                ..Walk::of(setting)
            };
            walks.push((walk, *format));
        }
    }
    let prints = || -> Result<Vec<Digest>> {
        let each = walks.iter();
        each.map(|(walk, format)| Ok(fingerprint(&walked(setting, walk, *format)?)))
            .collect()
    };
    let (first, second) = (prints()?, prints()?);
    training::a_step(setting)?;
    let after = prints()?;
    precision::set(Precision::Fp32, setting.device)?;
    let found = walks.iter().zip(first).zip(second).zip(after);
    Ok(found
        .map(|((((walk, format), first), second), after)| {
            let name = format!("{}, {}", walk.encoding.name(), precision::name_of(*format));
            judged(&name, [first, second], after)
        })
        .collect())
}

fn judged(name: &str, [first, second]: [Digest; 2], after: Digest) -> Finding {
    let check = format!("scoring, {name}");
    let first_text: String = first.to_string().chars().take(16).collect();
    if first != second {
        let says = "the same slices have other bits the second time";
        let advice = "fingerprints do not repeat on this device; report a bug";
        return Finding::new(check, says).but(Verdict::No, advice);
    }
    if first != after {
        let says = "the same slices have other bits after a training in this process";
        let advice = "a run that trains and scores has another fingerprint than one that scores; report a bug";
        return Finding::new(check, says).but(Verdict::No, advice);
    }
    Finding::new(
        check,
        format!("the same bits twice and after a training, {first_text}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bits_are_a_no() {
        let [a, b] = [b"a", b"b"].map(|bytes| Digest::of(bytes));
        assert_eq!(judged("x", [a, a], a).verdict, Verdict::Ok);
        assert_eq!(judged("x", [a, b], a).verdict, Verdict::No);
        assert_eq!(judged("x", [a, a], b).verdict, Verdict::No);
    }

    #[test]
    fn every_result_is_in_the_fingerprint() {
        let setting = Setting::quick_cpu().unwrap();
        let walk = Walk {
            slices: 2,
            steps: 2,
            ..Walk::of(&setting)
        };
        let mut done = walked(&setting, &walk, Precision::Fp32).unwrap();
        let before = fingerprint(&done);
        let other = &done.guidance[0].peak + 1e-6;
        done.guidance[0].peak = other;
        assert_ne!(fingerprint(&done), before);
    }
}
