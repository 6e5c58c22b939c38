//! Quantile, median filter, components and the way from maps to masks against the oracles.

#![allow(clippy::cast_possible_wrap)] // small counts

use std::collections::BTreeMap;
use std::path::Path;

use anofpdm_common::anofpdm::{
    COMPONENT_AREA, MaskRule, QuantileLevels, components, drop_small, level_index, mask_at, median,
    quantile, segment,
};
use anofpdm_common::metrics::Overlap;
use anofpdm_common::semantics::{LevelIndex, Semantics};
use anofpdm_test_support::oracle::{Tensor, assert_close, read_tensors, shared_dir};

type Tensors = BTreeMap<String, Tensor>;

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    tensor.values.iter().map(|value| *value as u8).collect()
}

/// The tensor's images, one after the other.
fn images<T: Clone>(values: &[T], shape: &[usize]) -> (Vec<Vec<T>>, usize, usize) {
    let [.., height, width] = *shape else {
        panic!("{shape:?} has no image");
    };
    let images = values.chunks(height * width).map(<[T]>::to_vec).collect();
    (images, height, width)
}

#[test]
fn quantiles_levels_and_indices() {
    let Some(shared) = shared_dir("quantiles_levels_and_indices") else {
        return;
    };
    let oracle = read_tensors(&shared.join("oracles/quantile.safetensors"));
    let levels = oracle["q"].f32();
    for name in ["map", "random37", "single", "ties", "with_nan"] {
        let values = oracle[&format!("x_{name}")].f32();
        let got: Vec<f32> = levels.iter().map(|q| quantile(&values, *q)).collect();
        let want = &oracle[&format!("quantile_{name}")].values;
        assert_close(name, &wide(&got), want, 0.0, 1e-6);
    }

    let table = QuantileLevels::default();
    let want = &oracle["level_table"].values;
    assert_close("level_table", &wide(table.table()), want, 0.0, 1e-7);

    let ratios = oracle["ratio"].f32();
    let index = |rule| -> Vec<i64> {
        ratios
            .iter()
            .map(|ratio| level_index(*ratio, rule) as i64)
            .collect()
    };
    assert_eq!(index(LevelIndex::Rounded), oracle["index_paper"].i64());
    assert_eq!(
        index(LevelIndex::TruncatedFloat32),
        oracle["index_reference"].i64()
    );
    let got: Vec<f32> = ratios
        .iter()
        .map(|ratio| {
            table
                .select(*ratio, 1.0, LevelIndex::TruncatedFloat32)
                .level
        })
        .collect();
    let want = &oracle["level_reference"].values;
    assert_close("level_reference", &wide(&got), want, 0.0, 1e-7);
}

#[test]
fn medians() {
    let Some(shared) = shared_dir("medians") else {
        return;
    };
    let oracle = read_tensors(&shared.join("oracles/median.safetensors"));
    for (input, output) in [("x", "y"), ("x_small", "y_small")] {
        let (maps, height, width) = images(&oracle[input].f32(), &oracle[input].shape);
        let got: Vec<f32> = maps
            .iter()
            .flat_map(|map| median(map, height, width, 5))
            .collect();
        assert_close(
            output,
            &wide(&got),
            &oracle[output].values,
            0.0,
            0.0_f64.next_up(),
        );
    }
}

#[test]
fn component_labels_and_filters() {
    let Some(shared) = shared_dir("component_labels_and_filters") else {
        return;
    };
    let oracle = read_tensors(&shared.join("oracles/components.safetensors"));
    let (masks, height, width) = images(&bytes(&oracle["mask"]), &oracle["mask"].shape);
    let found: Vec<_> = masks
        .iter()
        .map(|mask| components(mask, height, width))
        .collect();
    let labels: Vec<i64> = found
        .iter()
        .flat_map(|one| one.labels.iter().map(|label| i64::from(*label)))
        .collect();
    let numbers: Vec<i64> = found.iter().map(|one| one.areas.len() as i64).collect();
    assert_eq!(labels, oracle["labels"].i64());
    assert_eq!(numbers, oracle["n_components"].i64());
    for area in [0, 20, 40, 100] {
        let mut kept = masks.clone();
        for mask in &mut kept {
            drop_small(mask, height, width, area);
        }
        assert_eq!(
            kept.concat(),
            bytes(&oracle[&format!("keep_gt_{area}")]),
            "area {area}"
        );
    }
}

/// One convention of one scenario file.
struct Scenario<'a> {
    name: String,
    tensors: &'a Tensors,
    prefix: &'a str,
    max_divergence: Vec<f32>,
    rule: LevelIndex,
}

impl Scenario<'_> {
    fn tensor(&self, name: &str) -> &Tensor {
        &self.tensors[&format!("{}.{name}", self.prefix)]
    }

    /// M to t_e, index and level; maps and levels to threshold and masks.
    fn check(&self) {
        let divergence = self.tensor("M");
        let [slices, steps, modalities] = divergence.shape[..] else {
            panic!("M has another shape");
        };
        let m = divergence.f32();
        let table = QuantileLevels::default();
        let (mut indices, mut levels) = (Vec::new(), Vec::new());
        for slice in 0..slices {
            for modality in 0..modalities {
                let largest = (0..steps)
                    .map(|step| m[(slice * steps + step) * modalities + modality])
                    .fold(f32::NEG_INFINITY, f32::max);
                let max = self.max_divergence[modality];
                let selected = table.select(largest, max, self.rule);
                indices.push(i64::from(selected.index));
                levels.push(selected.level);
            }
        }
        assert_eq!(indices, self.tensor("index").i64(), "{}: index", self.name);
        self.close("level", &levels, 0.0, 1e-6);

        let maps = self.tensor("aam_mod");
        let (maps, height, width) = images(&maps.f32(), &maps.shape);
        let results: Vec<_> = maps
            .chunks(modalities)
            .zip(levels.chunks(modalities))
            .map(|(maps, levels)| {
                let maps: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();
                segment(&maps, levels, (height, width), MaskRule::default())
            })
            .collect();
        let gather = |part: fn(&anofpdm_common::anofpdm::Segmentation) -> &[f32]| -> Vec<f32> {
            results
                .iter()
                .flat_map(|result| part(result).to_vec())
                .collect()
        };
        self.close("aam", &gather(|r| &r.aam), 1e-3, 1e-5);
        self.close("Q_mod", &gather(|r| &r.quantiles), 1e-3, 0.0);
        self.close(
            "Q_star",
            &gather(|r| std::slice::from_ref(&r.q_star)),
            1e-3,
            0.0,
        );
        self.close("aam_median", &gather(|r| &r.aam_median), 1e-3, 1e-5);

        // The maps are the oracle's own, so the masks must agree in every pixel.
        let mut masks: Vec<Vec<u8>> = results.into_iter().map(|result| result.mask).collect();
        assert_eq!(
            masks.concat(),
            bytes(self.tensor("mask_unhealthy")),
            "{}",
            self.name
        );
        if !self
            .tensors
            .contains_key(&format!("{}.mask_unhealthy_cc40", self.prefix))
        {
            return;
        }
        for mask in &mut masks {
            drop_small(mask, height, width, COMPONENT_AREA);
        }
        assert_eq!(
            masks.concat(),
            bytes(self.tensor("mask_unhealthy_cc40")),
            "{}",
            self.name
        );
    }

    fn close(&self, name: &str, got: &[f32], rtol: f64, atol: f64) {
        let atol = if atol == 0.0 { f64::MIN_POSITIVE } else { atol };
        let label = format!("{}: {name}", self.name);
        assert_close(&label, &wide(got), &self.tensor(name).values, rtol, atol);
    }
}

#[test]
fn maps_become_masks_in_all_conventions() {
    let Some(shared) = shared_dir("maps_become_masks_in_all_conventions") else {
        return;
    };
    for file in ["S50_ddim", "S50_ddpm", "T1000_ddim", "T1000_ddpm"] {
        let tensors = scenario_file(&shared, file);
        for (prefix, semantics) in [
            ("paper", Semantics::Paper),
            ("paper_clipped", Semantics::PaperClipped),
            ("reference", Semantics::Reference),
        ] {
            Scenario {
                name: format!("{file} {prefix}"),
                max_divergence: tensors[&format!("{prefix}.M_max")].f32(),
                tensors: &tensors,
                prefix,
                rule: semantics.switches().level_index,
            }
            .check();
        }
    }
}

#[test]
fn edge_cases_become_the_stated_masks() {
    let Some(shared) = shared_dir("edge_cases_become_the_stated_masks") else {
        return;
    };
    let tensors = scenario_file(&shared, "edge");
    Scenario {
        name: "edge".to_owned(),
        max_divergence: tensors["M_max"].f32(),
        tensors: &tensors,
        prefix: "reference",
        rule: Semantics::Reference.switches().level_index,
    }
    .check();
}

#[test]
fn a_fixed_threshold_replaces_the_quantile() {
    let Some(shared) = shared_dir("a_fixed_threshold_replaces_the_quantile") else {
        return;
    };
    for file in ["S50_ddim", "S50_ddpm", "T1000_ddim", "T1000_ddpm"] {
        let tensors = scenario_file(&shared, file);
        let Some(maps) = tensors.get("reference.ablation.fixed_thr.aam_median") else {
            continue;
        };
        let want = bytes(&tensors["reference.ablation.fixed_thr.mask_unhealthy"]);
        // The oracle does not store its threshold: it lies between the lowest set and the highest unset pixel.
        let of = |set: u8| {
            let pixels = maps.f32().into_iter().zip(&want);
            pixels
                .filter(move |(_, mask)| **mask == set)
                .map(|(value, _)| value)
        };
        let threshold = of(1).fold(f32::INFINITY, f32::min);
        assert!(
            of(0).all(|value| value < threshold),
            "{file}: one threshold for all slices"
        );
        assert_eq!(mask_at(&maps.f32(), threshold), want, "{file}");
    }
}

#[test]
fn slices_classified_healthy_have_an_empty_mixed_mask() {
    let Some(shared) = shared_dir("slices_classified_healthy_have_an_empty_mixed_mask") else {
        return;
    };
    for file in ["S50_ddim", "S50_ddpm", "T1000_ddim", "T1000_ddpm", "edge"] {
        let tensors = scenario_file(&shared, file);
        for prefix in ["paper", "paper_clipped", "reference", "reference_single"] {
            let tensor = |name: &str| tensors.get(&format!("{prefix}.{name}"));
            let (Some(mixed), Some(labels)) = (tensor("mask_mixed"), tensor("pred_label")) else {
                continue;
            };
            let unhealthy = tensor("mask_unhealthy").unwrap();
            let (mut masks, height, width) = images(&bytes(unhealthy), &unhealthy.shape);
            for (mask, label) in masks.iter_mut().zip(labels.i64()) {
                if label == 0 {
                    mask.fill(0);
                }
            }
            assert_eq!(masks.concat(), bytes(mixed), "{file} {prefix}");
            if let Some(filtered) = tensor("mask_mixed_cc40") {
                for mask in &mut masks {
                    drop_small(mask, height, width, COMPONENT_AREA);
                }
                assert_eq!(masks.concat(), bytes(filtered), "{file} {prefix}");
            }
        }
    }
}

#[test]
fn one_modality_alone() {
    let Some(shared) = shared_dir("one_modality_alone") else {
        return;
    };
    for file in ["S50_ddim", "S50_ddpm", "T1000_ddim", "T1000_ddpm"] {
        let tensors = scenario_file(&shared, file);
        let Some(want) = tensors.get("reference_single.aam_median") else {
            continue;
        };
        let maps = &tensors["reference.aam_mod"];
        let (maps, height, width) = images(&maps.f32(), &maps.shape);
        let levels = tensors["reference.level"].f32();
        let results: Vec<_> = maps
            .chunks(2)
            .zip(levels.chunks(2))
            .map(|(maps, levels)| {
                let rule = MaskRule::default();
                segment(&[&maps[1]], &levels[1..], (height, width), rule)
            })
            .collect();
        let medians: Vec<f32> = results.iter().flat_map(|r| r.aam_median.clone()).collect();
        let masks: Vec<u8> = results.iter().flat_map(|r| r.mask.clone()).collect();
        assert_close(file, &wide(&medians), &want.values, 1e-3, 1e-5);
        assert_eq!(
            masks,
            bytes(&tensors["reference_single.mask_unhealthy"]),
            "{file}"
        );
    }
}

#[test]
fn the_best_fixed_threshold_of_a_baseline() {
    let Some(shared) = shared_dir("the_best_fixed_threshold_of_a_baseline") else {
        return;
    };
    let oracle = read_tensors(&shared.join("oracles/baselines.safetensors"));
    let truth = &read_tensors(&shared.join("oracles/inputs.safetensors"))["gt_mask"];
    let (truth, height, width) = images(&bytes(truth), &truth.shape);
    let (maps, ..) = images(&oracle["anoddpm.map"].f32(), &oracle["anoddpm.map"].shape);
    let at_tenth: Vec<u8> = maps.iter().flat_map(|map| mask_at(map, 0.1)).collect();
    assert_eq!(at_tenth, bytes(&oracle["anoddpm.mask_at_0.1"]));

    let grid = &oracle["threshold_grid"].values;
    let dice: Vec<f64> = grid
        .iter()
        .map(|threshold| {
            let dice = maps.iter().zip(&truth).map(|(map, truth)| {
                let mut mask = mask_at(map, *threshold as f32);
                drop_small(&mut mask, height, width, COMPONENT_AREA);
                Overlap::count(&mask, truth).dice()
            });
            dice.sum::<f64>() / maps.len() as f64
        })
        .collect();
    assert_close(
        "threshold_grid_dice",
        &dice,
        &oracle["threshold_grid_dice"].values,
        0.0,
        1e-4,
    );
    // The public code compares float32 means: thresholds that differ by less are a tie, and the first wins.
    let most = dice.iter().copied().fold(0.0, f64::max);
    let best = dice.iter().position(|dice| *dice >= most - 1e-7).unwrap();
    assert_eq!([grid[best]][..], oracle["threshold_best"].values);
}

fn scenario_file(shared: &Path, name: &str) -> Tensors {
    read_tensors(&shared.join(format!("oracles/fpdm_{name}.safetensors")))
}
