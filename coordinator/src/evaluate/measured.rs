//! Rows of the table: the numbers of a method and strength, over seeds, with intervals over patients.

use std::collections::BTreeMap;

use anofpdm_common::metrics::batch_ap::REFERENCE_BATCH;
use anofpdm_common::metrics::best_dice::BestDice;
use anofpdm_common::metrics::bootstrap::{
    PatientHistograms, PatientSums, PixelDraws, interval, mean_draws, mean_interval, patient_sums,
    pixel_draws,
};
use anofpdm_common::metrics::evaluate::{Section, section};
use anofpdm_common::metrics::histogram_ap::{Resolution, ScoreHistogram};
use anofpdm_common::metrics::overlap::{Overlap, PooledOverlap};
use anofpdm_common::metrics::run_metrics::RunMetrics;
use anofpdm_common::metrics::score_run::RunSource;
use anofpdm_common::metrics::setup::{Setup, SliceStatistics};
use anofpdm_common::metrics::{Localization, RunDetail};
use rayon::prelude::*;

use super::localized::localized;
use crate::report::summary::{Row, RowSettings, Value};

/// Seed of the bootstrap: intervals of the same records are the same numbers, and all see the same draws.
pub(crate) const BOOTSTRAP_SEED: u64 = 0;

pub(super) struct RowName {
    pub(super) method: String,
    pub(super) guidance: Option<f64>,
    pub(super) seeds: Vec<u64>,
    pub(super) pixel_labels: bool,
    pub(super) settings: Option<RowSettings>,
    /// How much of the scores its records keep.
    pub(super) detail: RunDetail,
}

/// What one cell made of the test slices: statistics of every slice, and its score runs.
pub(super) struct Repeat<S> {
    pub(super) slices: Vec<SliceStatistics>,
    /// Of every slice, where its mask lies.
    pub(super) localizations: Vec<Localization>,
    pub(super) runs: S,
    /// Noise seeds it stands for.
    pub(super) seeds: usize,
}

/// A row with what differences to other rows are formed from.
pub(super) struct Measured {
    pub(super) row: Row,
    /// DICE of each patient's slices, over seeds.
    pub(super) dice: PatientSums,
    pub(super) patients: PatientNumbers,
    pub(super) draws: Draws,
}

/// Further numbers of each patient.
#[derive(Debug, Default)]
pub(super) struct PatientNumbers {
    pub(super) iou: PatientSums,
    /// Average precision of the patient's pixels by the bins of its histogram, mean over seeds; of patients with
    /// anomalous pixels.
    pub(super) auprc: BTreeMap<u32, f64>,
    /// Pixels added up over slices and seeds.
    pub(super) pixels: BTreeMap<u32, PooledOverlap>,
    /// Seeds that these are sums over.
    pub(super) seeds: usize,
}

/// What a row was in each bootstrap resample; empty with fewer than two patients.
#[derive(Debug, Default)]
pub(super) struct Draws {
    pub(super) dice: Vec<f64>,
    pub(super) auprc: Vec<f64>,
}

/// Average precision of each slice.
pub(super) type SlicePrecisions = Vec<Option<f64>>;

/// One method, counted.
pub(super) struct Counted {
    /// Mixed and unhealthy.
    pub(super) rows: Vec<Measured>,
    /// Of each repeat.
    pub(super) precisions: Vec<SlicePrecisions>,
    /// Scored pixels of all slices of the first repeat.
    pub(super) pixels: ScoreHistogram,
}

pub(super) fn both_setups<S: RunSource>(
    name: &RowName,
    repeats: &[Repeat<S>],
) -> Result<Counted, S::Error> {
    let mut counted = repeats
        .par_iter()
        .map(|repeat| RunMetrics::count(&repeat.runs, &repeat.slices, REFERENCE_BATCH))
        .collect::<Result<Vec<_>, _>>()?;
    let all: Vec<SliceStatistics> = repeats
        .iter()
        .flat_map(|repeat| (0..repeat.seeds).flat_map(|_| repeat.slices.iter().copied()))
        .collect();
    let rows = Setup::ALL
        .into_par_iter()
        .map(|setup| measured(name, setup, repeats, &counted, &all))
        .collect();
    let mut pixels = ScoreHistogram::empty(Resolution::Coarse);
    if let Some(first) = counted.first() {
        // Every slice is of one patient and in this set-up.
        for patient in first.of(Setup::Mixed).patients.values() {
            pixels.merge(patient);
        }
    }
    let precisions = counted
        .iter_mut()
        .map(|counted| std::mem::take(&mut counted.slice_average_precision));
    Ok(Counted {
        rows,
        precisions: precisions.collect(),
        pixels,
    })
}

fn measured<S>(
    name: &RowName,
    setup: Setup,
    repeats: &[Repeat<S>],
    counted: &[RunMetrics],
    all: &[SliceStatistics],
) -> Measured {
    let each_seed = || {
        let repeats = repeats.iter().zip(counted);
        repeats.flat_map(|(repeat, counted)| (0..repeat.seeds).map(move |_| (repeat, counted)))
    };
    let sections: Vec<Section> = each_seed()
        .map(|(repeat, counted)| section(&repeat.slices, Some(counted), setup))
        .collect();
    let sums = |measure: fn(Overlap) -> f64| patient_sums(all, setup, measure);
    let (dice, iou) = (sums(Overlap::dice), sums(Overlap::iou));
    let dice_draws = mean_draws(&dice, BOOTSTRAP_SEED).unwrap_or_default();
    let histograms: Vec<&PatientHistograms> = counted
        .iter()
        .map(|counted| &counted.of(setup).patients)
        .collect();
    let ranked = pixel_draws(&histograms, BOOTSTRAP_SEED);
    let of_pixels =
        |interval: fn(&PixelDraws) -> Option<[f64; 2]>| ranked.as_ref().and_then(interval);
    let pixels = patient_pixels(all, setup);
    let pooled = |parts: fn(&PooledOverlap) -> (u64, u64)| pooled_interval(&pixels, parts);
    let best: Vec<Option<BestDice>> = each_seed()
        .map(|(_, counted)| counted.of(setup).best_dice)
        .collect();
    let bounds = (!name.detail.is_exact()).then(|| {
        let each = each_seed().map(|(_, counted)| counted.of(setup).ranking.tie_bounds);
        each.collect::<Vec<_>>()
    });
    let value = |metric: fn(&Section) -> Option<f64>, ci95| {
        Value::over_seeds(sections.iter().map(metric).collect(), ci95)
    };
    let row = Row {
        method: name.method.clone(),
        guidance: name.guidance,
        setup,
        seeds: name.seeds.clone(),
        slices: sections.first().map_or(0, |section| section.slices),
        patients: dice.len(),
        dice: value(|s| s.dice, interval(&dice_draws)),
        iou: value(|s| s.iou, mean_interval(&iou, BOOTSTRAP_SEED)),
        auprc: value(
            |s| s.auprc,
            of_pixels(PixelDraws::average_precision_interval),
        )
        .within(bounds.as_deref()),
        auprc_batch: value(|s| s.auprc_batch, None),
        auroc: value(|s| s.auroc, of_pixels(PixelDraws::auroc_interval)),
        fpr95: value(|s| s.fpr95, None),
        best_dice: best_dice(&best),
        precision: value(|s| s.precision, pooled(|p| (p.intersection, p.predicted))),
        recall: value(|s| s.recall, pooled(|p| (p.intersection, p.truth))),
        localized: localized(setup, repeats),
        volume: None,
        pixel_labels: name.pixel_labels,
        undefined_maps: 0,
        settings: name.settings.clone(),
    };
    let patients = PatientNumbers {
        iou,
        auprc: patient_precisions(&histograms),
        pixels,
        seeds: sections.len(),
    };
    let draws = Draws {
        dice: dice_draws,
        auprc: ranked
            .map(|ranked| ranked.average_precision)
            .unwrap_or_default(),
    };
    Measured {
        row,
        dice,
        patients,
        draws,
    }
}

/// Of patients with anomalous pixels: which these are, the truth decides, so it is the same for every seed.
fn patient_precisions(seeds: &[&PatientHistograms]) -> BTreeMap<u32, f64> {
    let mut found = BTreeMap::<u32, (f64, usize)>::new();
    for (patient, histogram) in seeds.iter().copied().flatten() {
        let positives: u64 = histogram.bins().iter().map(|bin| bin.positives).sum();
        if let Some(average) = histogram.average_precision().filter(|_| positives > 0) {
            let (sum, count) = found.entry(*patient).or_default();
            *sum += average;
            *count += 1;
        }
    }
    let means = found.into_iter();
    means
        .map(|(patient, (sum, count))| (patient, sum / count as f64))
        .collect()
}

/// Interval of a share of pooled pixels: numerator and denominator add up over patients.
pub(super) fn pooled_interval(
    pixels: &BTreeMap<u32, PooledOverlap>,
    parts: fn(&PooledOverlap) -> (u64, u64),
) -> Option<[f64; 2]> {
    let sums: PatientSums = pixels
        .iter()
        .map(|(patient, pooled)| {
            let (numerator, denominator) = parts(pooled);
            (*patient, (numerator as f64, denominator))
        })
        .collect();
    mean_interval(&sums, BOOTSTRAP_SEED)
}

fn patient_pixels(slices: &[SliceStatistics], setup: Setup) -> BTreeMap<u32, PooledOverlap> {
    let mut patients = BTreeMap::<u32, PooledOverlap>::new();
    for (slice, overlap) in setup.slices(slices) {
        patients.entry(slice.patient).or_default().add(overlap);
    }
    patients
}

/// Means over seeds; the threshold where every seed has one.
fn best_dice(best: &[Option<BestDice>]) -> Option<BestDice> {
    let best: Vec<BestDice> = best.iter().copied().collect::<Option<_>>()?;
    if best.is_empty() {
        return None;
    }
    let count = best.len() as f64;
    let mean_of = |part: fn(&BestDice) -> f64| best.iter().map(part).sum::<f64>() / count;
    let thresholds: Option<Vec<f64>> = best
        .iter()
        .map(|best| best.threshold.map(f64::from))
        .collect();
    #[allow(clippy::cast_possible_truncation)]
    let threshold = thresholds.map(|all| (all.iter().sum::<f64>() / count) as f32);
    Some(BestDice {
        mean: mean_of(|best| best.mean),
        threshold,
        pooled: mean_of(|best| best.pooled),
    })
}
