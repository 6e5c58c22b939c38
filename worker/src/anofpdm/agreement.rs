//! How far the results of one number format are from those of another: what a trial compares.

use anofpdm_common::anofpdm::{MaskRule, Segmentation, drop_small};
use anofpdm_common::method::MapKind;
use anofpdm_common::metrics::{Overlap, ScoreError, average_precision, score_run};
use anofpdm_common::plan::Agreement;
use anofpdm_common::semantics::LevelIndex;
use tch::Tensor;

use super::classification::batch_cosines;
use super::forward_pass::{ForwardResult, StrengthResult};
use super::segmentation::{batch_levels, segment_batch};
use crate::host::numbers;

/// What decides and draws the masks of some slices, on the host, strength by strength.
#[derive(Debug, Default)]
pub struct FormatResults {
    strengths: Vec<FormatStrength>,
}

/// Row-major in the slices.
#[derive(Debug, Default)]
struct FormatStrength {
    /// `[N, m]`
    end_steps: Vec<i64>,
    /// `[N, m]`
    undefined: Vec<bool>,
    /// M at the end step, f32 `[N, m]` of each batch.
    peaks: Vec<Tensor>,
    /// f32 `[N, m, H, W]` of each batch.
    maps: Vec<Tensor>,
    /// M_t of each slice, `[K, m]`.
    divergences: Vec<Vec<f32>>,
    /// `[N]`
    cosines: Vec<f32>,
}

/// Pixel labels of a slice, 0 or 1.
#[derive(Debug, Clone, Copy)]
pub struct PixelTruth<'a> {
    pub mask: &'a [u8],
    pub foreground: &'a [u8],
}

/// What turns results into masks.
#[derive(Debug, Clone, Copy)]
pub struct MaskSettings<'a> {
    /// Level of a quotient M_te / M_max.
    pub level_index: LevelIndex,
    pub mask_rule: MaskRule,
    /// Components up to this many pixels are dropped.
    pub component_area: u32,
    /// Of every slice, or of none.
    pub truth: &'a [PixelTruth<'a>],
}

impl FormatResults {
    /// Adds the first `slices` of a batch (the others are padding).
    pub fn add(&mut self, pass: &ForwardResult, slices: i64) {
        self.strengths
            .resize_with(pass.guidance.len(), FormatStrength::default);
        for (strength, result) in self.strengths.iter_mut().zip(&pass.guidance) {
            strength.add(result, &pass.mse_null, slices);
        }
    }

    /// The largest M at an end step of each strength and modality: stands for M_max.
    fn largest_peaks(&self) -> Vec<Vec<f32>> {
        let of = |strength: &FormatStrength| match Tensor::cat(&strength.peaks, 0) {
            peaks if peaks.numel() > 0 => numbers(&peaks.amax(0_i64, false)),
            _ => Vec::new(),
        };
        self.strengths.iter().map(of).collect()
    }

    /// How far `self` is from `exact`, which is the same slices at the same strengths. Masks of both are drawn with the M_max
    /// of `exact`, as a calibration would hand it to both.
    pub fn compare(&self, exact: &Self, rules: &MaskSettings<'_>) -> Result<Agreement, ScoreError> {
        let mut agreement = Agreement {
            end_steps: 0,
            end_steps_equal: 0,
            divergence_error: 0.0,
            cosine_error: 0.0,
            mask_iou: 0.0,
            dice_change: None,
            auprc_change: None,
        };
        let mut overlaps = Vec::new();
        let strengths = self.strengths.iter().zip(&exact.strengths);
        for ((ours, theirs), m_max) in strengths.zip(exact.largest_peaks()) {
            agreement.end_steps += theirs.end_steps.len() as u64;
            let equal = ours.end_steps.iter().zip(&theirs.end_steps);
            agreement.end_steps_equal += equal.filter(|(a, b)| a == b).count() as u64;
            let error = ours.divergence_error(theirs);
            agreement.divergence_error = agreement.divergence_error.max(error);
            let cosines = ours.cosines.iter().zip(&theirs.cosines);
            let error = cosines.map(|(a, b)| f64::from((a - b).abs()));
            agreement.cosine_error = error.fold(agreement.cosine_error, f64::max);

            let ours = ours.masks(&m_max, rules);
            let theirs = theirs.masks(&m_max, rules);
            let masks = ours.iter().zip(&theirs);
            overlaps.extend(masks.map(|(a, b)| Overlap::count(&a.mask, &b.mask).iou()));
            if rules.truth.len() == theirs.len() {
                let change = (mean_dice(&ours, rules) - mean_dice(&theirs, rules)).abs();
                agreement.dice_change = larger(agreement.dice_change, Some(change));
                let (ours, theirs) = (auprc(&ours, rules)?, auprc(&theirs, rules)?);
                let change = ours.zip(theirs).map(|(a, b)| (a - b).abs());
                agreement.auprc_change = larger(agreement.auprc_change, change);
            }
        }
        agreement.mask_iou = mean(&overlaps);
        Ok(agreement)
    }
}

impl FormatStrength {
    fn add(&mut self, result: &StrengthResult, mse_null: &Tensor, slices: i64) {
        let real = |tensor: &Tensor| tensor.narrow(0, 0, slices).to_device(tch::Device::Cpu);
        self.end_steps.extend(numbers::<i64>(&real(&result.t_e)));
        self.undefined
            .extend(numbers::<bool>(&real(&result.undefined)));
        self.peaks.push(real(&result.peak));
        if let Some(map) = result.maps.get(&MapKind::Aam) {
            self.maps.push(real(&map.defined()));
        }
        self.cosines
            .extend(batch_cosines(&real(&result.mse_h), &real(mse_null)));
        let divergence = real(&result.divergence);
        let length = divergence.size().iter().skip(1).product::<i64>();
        let sequences = numbers::<f32>(&divergence);
        let sequences = sequences.chunks(usize::try_from(length).unwrap_or(0).max(1));
        self.divergences.extend(sequences.map(<[f32]>::to_vec));
    }

    /// Largest difference of M_t over the slice's largest M_t in `exact`, worst slice.
    fn divergence_error(&self, exact: &Self) -> f64 {
        let slices = self.divergences.iter().zip(&exact.divergences);
        slices
            .map(|(ours, theirs)| {
                let largest = theirs.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
                let pairs = ours.iter().zip(theirs);
                let difference = pairs.fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
                // A slice without any divergence still has to give a number.
                f64::from(difference) / f64::from(largest.max(f32::MIN_POSITIVE))
            })
            .fold(0.0, f64::max)
    }

    /// The end of Algorithm 3; small components dropped.
    fn masks(&self, m_max: &[f32], rules: &MaskSettings<'_>) -> Vec<Segmentation> {
        let mut all = Vec::new();
        for (peak, maps) in self.peaks.iter().zip(&self.maps) {
            let levels = batch_levels(peak, m_max, rules.level_index);
            let side = |axis: usize| usize::try_from(maps.size()[axis]).unwrap_or(0);
            for mut slice in segment_batch(maps, &levels, rules.mask_rule) {
                let first = all.len() * m_max.len();
                let undefined = self.undefined.get(first..first + m_max.len());
                if undefined.is_some_and(|flags| flags.contains(&true)) {
                    slice.clear();
                }
                drop_small(&mut slice.mask, side(2), side(3), rules.component_area);
                all.push(slice);
            }
        }
        all
    }
}

fn mean_dice(slices: &[Segmentation], rules: &MaskSettings<'_>) -> f64 {
    let pairs = slices.iter().zip(rules.truth);
    let each: Vec<f64> = pairs
        .map(|(slice, truth)| Overlap::count(&slice.mask, truth.mask).dice())
        .collect();
    mean(&each)
}

/// Average precision of all foreground pixels together; `None` where no slice has a lesion.
fn auprc(slices: &[Segmentation], rules: &MaskSettings<'_>) -> Result<Option<f64>, ScoreError> {
    if !rules.truth.iter().any(|truth| truth.mask.contains(&1)) {
        return Ok(None);
    }
    let pairs = slices.iter().zip(rules.truth);
    let runs = pairs
        .map(|(slice, truth)| score_run(&slice.aam_median, truth.mask, Some(truth.foreground)))
        .collect::<Result<Vec<_>, _>>()?;
    let all: Vec<usize> = (0..runs.len()).collect();
    let Ok(average) = average_precision(runs.as_slice(), &all);
    Ok(average)
}

fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

#[allow(clippy::cast_precision_loss)] // counts of slices
fn mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.iter().sum::<f64>() / values.len() as f64
}
