//! Cosine, threshold search and M_max against the oracles.

#![allow(clippy::cast_possible_wrap)] // small counts

use anofpdm_common::anofpdm::{
    CalibrationSlice, ImageLabel, calibrate, classify, cosine, search_threshold,
};
use anofpdm_common::semantics::{CosineSearch, Semantics};
use anofpdm_test_support::oracle::{Tensor, assert_close, read_tensors, shared_dir};

fn labels(tensor: &Tensor) -> Vec<ImageLabel> {
    let label = |value: &i64| match value {
        0 => ImageLabel::Healthy,
        _ => ImageLabel::Unhealthy,
    };
    tensor.i64().iter().map(label).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// Validation slices from `[slice, step, modality]` tensors; with the number of modalities.
fn slices(labels: &[ImageLabel], sequences: [&Tensor; 3]) -> (Vec<CalibrationSlice>, usize) {
    let [_, steps, modalities] = sequences[0].shape[..] else {
        panic!("the sequences have another shape");
    };
    let [mse_h, mse_null, divergence] = sequences.map(Tensor::f32);
    let of = |values: &[f32], slice: usize| -> Vec<f32> {
        values[slice * steps * modalities..(slice + 1) * steps * modalities].to_vec()
    };
    let slices = labels
        .iter()
        .enumerate()
        .map(|(slice, label)| CalibrationSlice {
            label: *label,
            mse_h: of(&mse_h, slice),
            mse_null: of(&mse_null, slice),
            divergence: of(&divergence, slice),
        });
    (slices.collect(), modalities)
}

/// Errors as the public code counts them.
fn reference_errors(cosines: &[f32], labels: &[ImageLabel], threshold: f32) -> i64 {
    let wrong = cosines
        .iter()
        .zip(labels)
        .filter(|(cosine, label)| match label {
            ImageLabel::Unhealthy => **cosine > threshold,
            ImageLabel::Healthy => **cosine < threshold,
        });
    wrong.count() as i64
}

#[test]
fn the_search_on_synthetic_sequences() {
    let Some(shared) = shared_dir("the_search_on_synthetic_sequences") else {
        return;
    };
    let oracle = read_tensors(&shared.join("oracles/hyperparam_search.safetensors"));
    let labels = labels(&oracle["label"]);
    let sequences = ["mse_h", "mse_null", "diff"].map(|name| &oracle[name]);
    let (slices, modalities) = slices(&labels, sequences);
    let cosines: Vec<f32> = slices
        .iter()
        .map(|slice| cosine(&slice.mse_h, &slice.mse_null, modalities))
        .collect();
    assert_close("cos", &wide(&cosines), &oracle["cos"].values, 0.0, 1e-6);

    let switches = Semantics::Reference.switches();
    let found = calibrate(&slices, modalities, &switches).unwrap();
    let threshold = found.cosine.threshold;
    assert_close(
        "thr_01",
        &[f64::from(threshold)],
        &oracle["thr_01"].values,
        0.0,
        1e-6,
    );
    assert_eq!(
        [reference_errors(&cosines, &labels, threshold)][..],
        oracle["n_errors"].i64()
    );
    assert_close(
        "accuracy",
        &[found.cosine.accuracy()],
        &oracle["accuracy"].values,
        0.0,
        1e-6,
    );
    let diff_max = wide(&found.max_divergence);
    assert_close("diff_max", &diff_max, &oracle["diff_max"].values, 0.0, 1e-6);

    let best = search_threshold(&cosines, &labels, CosineSearch::BestAccuracy).unwrap();
    let want = &oracle["exhaustive_best_accuracy"].values;
    assert_close(
        "exhaustive_best_accuracy",
        &[best.accuracy()],
        want,
        0.0,
        1e-6,
    );
}

#[test]
fn the_search_on_scenarios() {
    let Some(shared) = shared_dir("the_search_on_scenarios") else {
        return;
    };
    let inputs = read_tensors(&shared.join("oracles/inputs.safetensors"));
    let labels = labels(&inputs["label"]);
    for name in ["S50_ddim", "T1000_ddim"] {
        let oracle = read_tensors(&shared.join(format!("oracles/fpdm_{name}.safetensors")));
        let sequences = ["mse_h", "mse_null", "M"].map(|one| &oracle[&format!("reference.{one}")]);
        let (slices, modalities) = slices(&labels, sequences);
        let found = calibrate(&slices, modalities, &Semantics::Reference.switches()).unwrap();
        let threshold = found.cosine.threshold;
        assert_close(
            name,
            &[f64::from(threshold)],
            &oracle["search.thr_01"].values,
            0.0,
            1e-5,
        );
        let diff_max = wide(&found.max_divergence);
        assert_close(
            name,
            &diff_max,
            &oracle["search.diff_max"].values,
            1e-3,
            1e-12,
        );
        let cosines: Vec<f32> = slices
            .iter()
            .map(|slice| cosine(&slice.mse_h, &slice.mse_null, modalities))
            .collect();
        assert_eq!(
            [reference_errors(&cosines, &labels, threshold)][..],
            oracle["search.n_min"].i64()
        );
    }
}

#[test]
fn cosines_and_labels_in_all_conventions() {
    let Some(shared) = shared_dir("cosines_and_labels_in_all_conventions") else {
        return;
    };
    for name in ["S50_ddim", "S50_ddpm", "T1000_ddim", "T1000_ddpm", "edge"] {
        let oracle = read_tensors(&shared.join(format!("oracles/fpdm_{name}.safetensors")));
        let threshold = oracle["cos_threshold"].f32()[0];
        for convention in ["paper", "paper_clipped", "reference"] {
            let Some(mse_h) = oracle.get(&format!("{convention}.mse_h")) else {
                continue;
            };
            let tensor = |one: &str| &oracle[&format!("{convention}.{one}")];
            let [_, steps, modalities] = mse_h.shape[..] else {
                panic!("the sequences have another shape");
            };
            let (h, null) = (mse_h.f32(), tensor("mse_null").f32());
            let size = steps * modalities;
            let got: Vec<f32> = h
                .chunks(size)
                .zip(null.chunks(size))
                .map(|(h, null)| cosine(h, null, modalities))
                .collect();
            let label = format!("{name} {convention}");
            assert_close(&label, &wide(&got), &tensor("cos").values, 0.0, 1e-4);
            // The oracle's own cosines: one of them may be the threshold itself.
            let predicted: Vec<i64> = tensor("cos")
                .f32()
                .iter()
                .map(|cosine| i64::from(classify(*cosine, threshold) == ImageLabel::Unhealthy))
                .collect();
            assert_eq!(predicted, tensor("pred_label").i64(), "{label}");
        }
    }
}
