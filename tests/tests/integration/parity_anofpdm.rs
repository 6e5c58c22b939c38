//! AnoFPDM's forward process against what of the `fpdm_*` oracles `anofpdm-worker trace` does not say (`parity_trace`
//! has the rest).

#![allow(clippy::cast_possible_wrap)] // small counts

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use anofpdm_common::anofpdm::{MaskRule, segment};
use anofpdm_common::method::{Encoding, MapKind};
use anofpdm_common::network::NetworkConfig;
use anofpdm_common::semantics::Semantics;
use anofpdm_test_support::oracle::{Tensor as Oracle, assert_close, read_tensors, shared_dir};
use anofpdm_tests::{Torch, values};
use anofpdm_worker::anofpdm::divergence::{Divergence, pixel_mean};
use anofpdm_worker::anofpdm::maps::{AggregatedMaps, SingleMaps};
use anofpdm_worker::anofpdm::{ForwardPass, ForwardResult};
use anofpdm_worker::diffusion::{NoiseSource, Schedule};
use anofpdm_worker::engine::{self, Engine};
use anofpdm_worker::torch;
use tch::{Device, Kind, Tensor};

const SEMANTICS: [(&str, Semantics); 3] = [
    ("reference", Semantics::Reference),
    ("paper", Semantics::Paper),
    ("paper_clipped", Semantics::PaperClipped),
];

/// Name, respacing, steps, encoding.
const SCENARIOS: [(&str, &str, usize, Encoding); 4] = [
    ("S50_ddim", "50", 26, Encoding::Ddim),
    ("S50_ddpm", "50", 26, Encoding::Ddpm),
    ("T1000_ddim", "none", 16, Encoding::Ddim),
    ("T1000_ddpm", "none", 16, Encoding::Ddpm),
];

const MODALITIES: [i64; 2] = [0, 3];
const GUIDANCE: f64 = 2.0;

type Oracles = BTreeMap<String, Oracle>;

struct Fixture {
    net: Engine,
    inputs: Oracles,
}

impl Fixture {
    fn new(oracles: &Path) -> Self {
        // Tests run side by side already.
        torch::set_threads(1);
        let text = std::fs::read_to_string(oracles.join("config.json")).unwrap();
        let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
        let config: NetworkConfig = serde_json::from_value(whole["unet_v2"].clone()).unwrap();
        let weights = oracles.join("unet_v2.safetensors");
        Self {
            net: engine::open(&weights, &config, Device::Cpu, Kind::Float).unwrap(),
            inputs: read_tensors(&oracles.join("inputs.safetensors")),
        }
    }

    fn run(&mut self, pass: &ForwardPass<'_>) -> ForwardResult {
        let noise = NoiseSource::Given(self.inputs["noise"].torch());
        let x0 = self.inputs["x0"].torch();
        pass.run(&mut self.net, &x0, &noise, &mut |_| {
            ControlFlow::Continue(())
        })
        .unwrap()
    }
}

fn pass<'a>(
    schedule: &'a Schedule,
    semantics: Semantics,
    encoding: Encoding,
    steps: usize,
) -> ForwardPass<'a> {
    ForwardPass {
        schedule,
        switches: semantics.switches(),
        encoding,
        steps,
        guidance: &[GUIDANCE],
        modalities: &MODALITIES,
        maps: &[MapKind::Aam],
        end_step_ratios: &[],
        keep: &[],
        lesion: None,
    }
}

fn close(oracle: &Oracles, name: &str, got: &Tensor, rtol: f64, atol: f64) {
    assert_close(name, &values(got), &oracle[name].values, rtol, atol);
}

fn exact(oracle: &Oracles, name: &str, got: &Tensor) {
    close(oracle, name, got, 0.0, 0.5);
}

#[test]
fn evaluations_do_not_depend_on_strengths_and_maps() {
    let Some(shared) = shared_dir("evaluations_do_not_depend_on_strengths_and_maps") else {
        return;
    };
    let mut fixture = Fixture::new(&shared.join("oracles"));
    let schedule = Schedule::linear(1000, &"50".parse().unwrap()).unwrap();
    let all = [
        MapKind::Aam,
        MapKind::Ste,
        MapKind::Gradient,
        MapKind::GradientTe,
        MapKind::GradientWeighted,
    ];
    let (slices, steps) = (6, 5);
    for (_, semantics) in SEMANTICS {
        for encoding in [Encoding::Ddim, Encoding::Ddpm] {
            let result = fixture.run(&ForwardPass {
                guidance: &[0.5, 1.0, 2.0, 5.0],
                maps: &all,
                end_step_ratios: &[0.5, 1.0, 2.0],
                ..pass(&schedule, semantics, encoding, steps)
            });
            let per_slice = match (semantics, encoding) {
                // The public walk asks for the null prediction at the next time on the same input.
                (Semantics::Reference, Encoding::Ddim) => 3 * steps - 1,
                _ => 2 * steps,
            };
            assert_eq!(result.evaluations, slices * per_slice as u64);
            for done in &result.guidance {
                let end = &done.maps[&MapKind::Aam].map;
                assert_eq!(&done.ratio_maps[1].map, end, "a ratio of 1");
            }
        }
    }
}

/// The public code's `interval` ablation, every third S before t_e and S at t_e, from predictions kept whole, and
/// the extremes of M over the unhealthy slices. The project offers neither; both hold the pass to more of the oracle.
#[test]
fn every_third_step_and_extremes_of_divergence() {
    let Some(shared) = shared_dir("every_third_step_and_extremes_of_divergence") else {
        return;
    };
    let oracles = shared.join("oracles");
    let mut fixture = Fixture::new(&oracles);
    let x0 = fixture.inputs["x0"]
        .torch()
        .index_select(1, &Tensor::from_slice(&MODALITIES));
    let labels = fixture.inputs["label"].i64();
    for (scenario, respacing, steps, encoding) in SCENARIOS {
        let oracle = read_tensors(&oracles.join(format!("fpdm_{scenario}.safetensors")));
        let schedule = Schedule::linear(1000, &respacing.parse().unwrap()).unwrap();
        let all: Vec<usize> = (0..steps).collect();
        let result = fixture.run(&ForwardPass {
            keep: &all,
            ..pass(&schedule, Semantics::Reference, encoding, steps)
        });
        let done = &result.guidance[0];
        let levels = oracle["reference.level"].f32();
        let t_e = values(&done.t_e);
        let (mut maps, mut masks) = (Vec::new(), Vec::new());
        for slice in 0..labels.len() {
            let planes: Vec<Vec<f32>> = (0..2)
                .map(|modality| {
                    let end = t_e[2 * slice + modality] as usize;
                    let chosen: Vec<Tensor> = (0..end)
                        .step_by(3)
                        .chain([end])
                        .map(|index| {
                            let at =
                                |tensor: &Tensor| tensor.get(slice as i64).get(modality as i64);
                            (at(&result.kept[index].hgp[0]) - at(&x0)).square()
                        })
                        .collect();
                    let mean = Tensor::stack(&chosen, 0).mean_dim(0, false, Kind::Float);
                    values(&mean).iter().map(|value| *value as f32).collect()
                })
                .collect();
            let views: Vec<&[f32]> = planes.iter().map(Vec::as_slice).collect();
            let of_slice = &levels[2 * slice..2 * slice + 2];
            let found = segment(&views, of_slice, (32, 32), MaskRule::default());
            maps.extend(found.aam_median.iter().map(|value| f64::from(*value)));
            masks.extend(found.mask.iter().map(|pixel| f64::from(*pixel)));
        }
        let want = |name: &str| &oracle[&format!("reference.ablation.interval3.{name}")].values;
        assert_close("interval3", &maps, want("aam_median"), 1e-3, 1e-5);
        let flipped = masks
            .iter()
            .zip(want("mask_unhealthy"))
            .filter(|(a, b)| a != b);
        assert_eq!(flipped.count(), 0, "{scenario}");

        let divergence = values(&done.divergence);
        for (name, keep) in [
            ("search.diff_max", f64::max as fn(f64, f64) -> f64),
            ("search.diff_min", f64::min),
        ] {
            let extremes: Vec<f64> = (0..2)
                .map(|modality| {
                    let largest = |slice: usize| {
                        (0..steps)
                            .map(|step| divergence[(slice * steps + step) * 2 + modality])
                            .fold(0.0, f64::max)
                    };
                    let unhealthy = (0..labels.len()).filter(|slice| labels[*slice] == 1);
                    unhealthy.map(largest).reduce(keep).unwrap()
                })
                .collect();
            assert_close(name, &extremes, &oracle[name].values, 1e-3, 0.0);
        }
    }
}

/// Given predictions with the end step at index 0, in the middle and at the end.
#[test]
fn edge_cases() {
    let Some(shared) = shared_dir("edge_cases") else {
        return;
    };
    let oracle = read_tensors(&shared.join("oracles/fpdm_edge.safetensors"));
    let (hgp, ugp) = (oracle["xstart"].torch(), oracle["xstart_null"].torch());
    let channels = Tensor::from_slice(&MODALITIES);
    let x0 = oracle["source"].torch().index_select(1, &channels);
    for (convention, semantics) in [
        ("reference", Semantics::Reference),
        ("paper", Semantics::Paper),
    ] {
        let aggregation = semantics.switches().aggregation;
        let mut divergence = Divergence::new(&x0);
        let mut maps = AggregatedMaps::new(&[MapKind::Aam], &[], aggregation, &x0);
        let (mut mse_h, mut mse_null) = (Vec::new(), Vec::new());
        for index in 0..6 {
            let (hgp, ugp) = (hgp.select(1, index), ugp.select(1, index));
            let single = SingleMaps::new(&hgp, &ugp, &x0, 1.0, GUIDANCE);
            let new_maximum = divergence.push(&single.squared_difference);
            maps.push(&single, &new_maximum);
            mse_h.push(pixel_mean(&single.squared_error));
            mse_null.push(pixel_mean(&(ugp - &x0).square()));
        }
        let end = divergence.finish(GUIDANCE).unwrap();
        let done = maps.finish(&end.t_e, GUIDANCE).unwrap();
        let name = |tensor: &str| format!("{convention}.{tensor}");
        close(&oracle, &name("M"), &end.divergence, 1e-3, 1e-6);
        let mse_h = Tensor::stack(&mse_h, 1);
        close(&oracle, &name("mse_h"), &mse_h, 1e-3, 1e-6);
        let mse_null = Tensor::stack(&mse_null, 1);
        close(&oracle, &name("mse_null"), &mse_null, 1e-3, 1e-6);
        exact(&oracle, &name("t_e"), &end.t_e);
        let aam = &done.maps[&MapKind::Aam].map;
        close(&oracle, &name("aam_mod"), aam, 1e-3, 1e-5);
    }
}
