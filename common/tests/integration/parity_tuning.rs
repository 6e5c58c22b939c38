//! The threshold search of the baselines against the oracle.

use anofpdm_common::anofpdm::{COMPONENT_AREA, median};
use anofpdm_common::baseline_masks::{ThresholdCurve, threshold_overlaps};
use anofpdm_common::spec::published_thresholds;
use anofpdm_test_support::oracle::{assert_close, read_tensors, shared_dir};

/// Channels that maps are made of (`config.json`, `modality`).
const MODALITIES: [usize; 2] = [0, 3];

#[test]
fn the_threshold_search_is_that_of_the_public_code() {
    let Some(shared) = shared_dir("the_threshold_search_is_that_of_the_public_code") else {
        return;
    };
    let inputs = read_tensors(&shared.join("oracles/inputs.safetensors"));
    let oracle = read_tensors(&shared.join("oracles/baselines.safetensors"));
    let thresholds = published_thresholds();
    let wide: Vec<f64> = thresholds.iter().map(|t| f64::from(*t)).collect();
    let grid = &oracle["threshold_grid"].values;
    assert_close("threshold_grid", &wide, grid, 0.0, 1e-7);

    let x0 = &inputs["x0"];
    let [slices, channels, height, width] = x0.shape[..] else {
        panic!("{:?}", x0.shape)
    };
    let pixels = height * width;
    let plane = |values: &[f32], slice: usize, channel: usize| {
        let start = (slice * channels + channel) * pixels;
        values[start..start + pixels].to_vec()
    };
    let (x0, target) = (x0.f32(), oracle["anoddpm.target"].f32());
    let truth: Vec<u8> = inputs["gt_mask"].values.iter().map(|v| *v as u8).collect();
    let mut curve = ThresholdCurve::new(thresholds.len());
    for slice in 0..slices {
        let mut map = vec![0.0_f32; pixels];
        for modality in MODALITIES {
            let (x0, target) = (plane(&x0, slice, modality), plane(&target, slice, modality));
            for (sum, (a, b)) in map.iter_mut().zip(x0.iter().zip(&target)) {
                *sum += (a - b) * (a - b) / MODALITIES.len() as f32;
            }
        }
        let map = median(&map, height, width, 5);
        let map64: Vec<f64> = map.iter().map(|v| f64::from(*v)).collect();
        let want = &oracle["anoddpm.map"].values[slice * pixels..(slice + 1) * pixels];
        assert_close("anoddpm.map", &map64, want, 0.0, 1e-4);
        curve.add(&threshold_overlaps(
            &map,
            &truth[slice * pixels..(slice + 1) * pixels],
            (height, width),
            &thresholds,
            COMPONENT_AREA,
        ));
    }
    let want = &oracle["threshold_grid_dice"].values;
    assert_close("threshold_grid_dice", &curve.dice(), want, 0.0, 1e-4);
    let (best, _) = curve.best().unwrap();
    assert_eq!(
        f64::from(thresholds[best]),
        f64::from(oracle["threshold_best"].values[0] as f32)
    );
}
