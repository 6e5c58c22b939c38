//! DICE, IoU, precision, recall and average precision against the public evaluation.

use std::num::NonZeroUsize;
use std::ops::Range;

use anofpdm_common::anofpdm::drop_small;
use anofpdm_common::metrics::{
    Evaluation, Overlap, REFERENCE_BATCH, Section, Setup, SliceStatistics, average_precision,
    batch_average_precision, evaluate, score_run,
};
use anofpdm_test_support::oracle::{assert_close, read_tensors, shared_dir};
use serde_json::Value;

const SIDE: usize = 36;
const PIXELS: usize = SIDE * SIDE;

/// The oracle's ten slices.
struct Slices {
    predicted: Vec<u8>,
    truth: Vec<u8>,
    score: Vec<f32>,
    foreground: Vec<u8>,
    unhealthy: Vec<bool>,
    dice: Vec<f64>,
    iou: Vec<f64>,
    expected: Value,
}

impl Slices {
    fn read(test: &str) -> Option<Self> {
        let oracles = shared_dir(test)?.join("oracles");
        let tensors = read_tensors(&oracles.join("metrics.safetensors"));
        let bytes = |name: &str| {
            tensors[name]
                .values
                .iter()
                .map(|value| *value as u8)
                .collect()
        };
        // The foreground of the public evaluation: mean over all channels above -0.95.
        let source = tensors["source"].f32();
        let foreground: Vec<u8> = source
            .chunks(4 * PIXELS)
            .flat_map(|slice| {
                (0..PIXELS).map(|pixel| {
                    let sum: f32 = (0..4).map(|channel| slice[channel * PIXELS + pixel]).sum();
                    u8::from(sum / 4.0 > -0.95)
                })
            })
            .collect();
        assert_eq!(foreground, bytes("foreground"));
        let json = std::fs::read(oracles.join("metrics.json")).unwrap();
        Some(Self {
            predicted: bytes("pred"),
            truth: bytes("gt"),
            score: tensors["score"].f32(),
            foreground,
            unhealthy: tensors["label"]
                .i64()
                .iter()
                .map(|label| *label != 0)
                .collect(),
            dice: tensors["dice_per_slice"].values.clone(),
            iou: tensors["iou_per_slice"].values.clone(),
            expected: serde_json::from_slice(&json).unwrap(),
        })
    }

    fn statistics(&self, slices: Range<usize>, components: u32) -> Vec<SliceStatistics> {
        slices
            .map(|slice| {
                let pixels = slice * PIXELS..(slice + 1) * PIXELS;
                let mut predicted = self.predicted[pixels.clone()].to_vec();
                drop_small(&mut predicted, SIDE, SIDE, components);
                SliceStatistics {
                    patient: 0,
                    unhealthy: self.unhealthy[slice],
                    classified_unhealthy: true,
                    overlap: Overlap::count(&predicted, &self.truth[pixels]),
                }
            })
            .collect()
    }

    fn runs(&self, slices: Range<usize>, whole_image: bool) -> Vec<Vec<u32>> {
        slices
            .map(|slice| {
                let pixels = slice * PIXELS..(slice + 1) * PIXELS;
                let foreground = (!whole_image).then_some(&self.foreground[pixels.clone()]);
                score_run(&self.score[pixels.clone()], &self.truth[pixels], foreground).unwrap()
            })
            .collect()
    }

    fn evaluate(&self, slices: Range<usize>, components: u32) -> Evaluation {
        let runs = self.runs(slices.clone(), false);
        let statistics = self.statistics(slices, components);
        evaluate(&statistics, Some(runs.as_slice()), REFERENCE_BATCH).unwrap()
    }
}

fn near(name: &str, got: Option<f64>, want: &Value) {
    let got = got.unwrap_or_else(|| panic!("{name} is undefined"));
    assert_close(name, &[got], &[want.as_f64().unwrap()], 0.0, 1e-6);
}

fn check_section(name: &str, got: &Section, want: &Value) {
    near(&format!("{name} dice"), got.dice, &want["dice"]);
    near(&format!("{name} iou"), got.iou, &want["iou"]);
    near(&format!("{name} AUPRC"), got.auprc, &want["AUPRC"]);
    // All ten slices fit one batch of 100.
    near(
        &format!("{name} batch AUPRC"),
        got.auprc_batch,
        &want["AUPRC"],
    );
    // The two names are swapped in the public code.
    near(&format!("{name} precision"), got.precision, &want["recall"]);
    near(&format!("{name} recall"), got.recall, &want["precision"]);
}

#[test]
fn every_section_with_and_without_the_component_filter() {
    let Some(slices) = Slices::read("every_section_with_and_without_the_component_filter") else {
        return;
    };
    for (suffix, components) in [("", 0), ("_cc", 40)] {
        let all = slices.evaluate(0..10, components);
        let sections = [
            ("mixed", all.mixed),
            ("unhealthy", all.unhealthy),
            ("batch_a", slices.evaluate(0..5, components).mixed),
            ("batch_b", slices.evaluate(5..10, components).mixed),
        ];
        for (name, section) in sections {
            let name = format!("{name}{suffix}");
            check_section(&name, &section, &slices.expected[&name]);
        }
    }
}

#[test]
fn each_slice() {
    let Some(slices) = Slices::read("each_slice") else {
        return;
    };
    let statistics = slices.statistics(0..10, 0);
    let dice: Vec<f64> = statistics
        .iter()
        .map(|slice| slice.overlap.dice())
        .collect();
    let iou: Vec<f64> = statistics.iter().map(|slice| slice.overlap.iou()).collect();
    assert_close("dice", &dice, &slices.dice, 0.0, 1e-6);
    assert_close("iou", &iou, &slices.iou, 0.0, 1e-6);
}

#[test]
fn pooled_batched_and_whole_image_average_precision() {
    let Some(slices) = Slices::read("pooled_batched_and_whole_image_average_precision") else {
        return;
    };
    let all: Vec<usize> = (0..10).collect();
    let foreground = slices.runs(0..10, false);
    let whole = slices.runs(0..10, true);
    let pooled = average_precision(foreground.as_slice(), &all).unwrap();
    near(
        "pooled",
        pooled,
        &slices.expected["pooled_foreground_auprc"],
    );
    let whole = average_precision(whole.as_slice(), &all).unwrap();
    near("whole image", whole, &slices.expected["whole_image_auprc"]);
    let batched = batch_average_precision(
        foreground.as_slice(),
        &slices.statistics(0..10, 0),
        NonZeroUsize::new(5).unwrap(),
        Setup::Mixed,
    );
    near(
        "batches of 5",
        batched.unwrap(),
        &slices.expected["mean_of_batch_auprc"],
    );
}

#[test]
fn a_batch_without_lesions() {
    let Some(slices) = Slices::read("a_batch_without_lesions") else {
        return;
    };
    let healthy = slices
        .unhealthy
        .iter()
        .position(|unhealthy| !unhealthy)
        .unwrap();
    let result = slices.evaluate(healthy..healthy + 1, 0);
    let want = &slices.expected["all_healthy_batch"];
    near("dice", result.mixed.dice, &want["dice"]);
    near("iou", result.mixed.iou, &want["iou"]);
    near("auprc", result.mixed.auprc, &want["auprc"]);
    near("auprc_batch", result.mixed.auprc_batch, &want["auprc"]);
    assert_eq!(result.unhealthy.auprc, None);
}

#[test]
fn small_average_precisions() {
    let Some(slices) = Slices::read("small_average_precisions") else {
        return;
    };
    let cases = slices.expected["small_average_precision"]
        .as_array()
        .unwrap();
    assert_eq!(cases.len(), 6);
    for (number, case) in cases.iter().enumerate() {
        let numbers = |name: &str| -> Vec<f64> {
            case[name]
                .as_array()
                .unwrap()
                .iter()
                .map(|value| value.as_f64().unwrap())
                .collect()
        };
        let scores: Vec<f32> = numbers("score").iter().map(|score| *score as f32).collect();
        let labels: Vec<u8> = numbers("y").iter().map(|label| *label as u8).collect();
        let runs = [score_run(&scores, &labels, None).unwrap()];
        let got = average_precision(runs.as_slice(), &[0]).unwrap();
        near(&format!("case {number}"), got, &case["ap"]);
    }
}
