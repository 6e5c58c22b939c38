//! The rows every table needs beside its methods: what no method at all would score.
//!
//! `raw-threshold` thresholds the stored FLAIR (else first) modality; its threshold is the one with the best DICE on the
//! validation slices, found with pixel labels for each set-up apart, and the row says so. The
//! tuning of the baselines looks at validation masks too; the calibration of AnoFPDM does not.

use anofpdm_common::anofpdm::drop_small;
use anofpdm_common::metrics::collected_runs::CollectedRuns;
use anofpdm_common::metrics::overlap::Overlap;
use anofpdm_common::metrics::score_run::score_run;
use anofpdm_common::metrics::setup::{Setup, SliceStatistics};
use anofpdm_common::metrics::{Localization, MaskGrid, RunDetail};
use anofpdm_common::plan::{ForwardPlan, SliceRef};
use anofpdm_common::store::scaling::foreground;
use anofpdm_common::store::slices::{ImageReader, TruthReader};
use rayon::prelude::*;

use super::EvaluateError;
use super::measured::{Measured, Repeat, RowName, both_setups};
use super::truth::SMALLEST_LESION;
use crate::dataset::Dataset;
use crate::report::marks::{ALL_BRAIN, ALL_EMPTY, RAW_THRESHOLD};

/// Thresholds tried on the percentile-divided values: 0.02, 0.04 .. 2.
const THRESHOLDS: usize = 100;
const THRESHOLD_STEP: f32 = 0.02;

/// One slice as the trivial rows see it.
struct RawSlice {
    patient: u32,
    values: Vec<f32>,
    foreground: Vec<u8>,
    mask: Vec<u8>,
}

/// A predictor of the trivial rows.
#[derive(Clone, Copy)]
enum Predictor {
    AllEmpty,
    AllBrain,
    RawThreshold(f32),
}

impl Predictor {
    const fn name(self) -> &'static str {
        match self {
            Self::AllEmpty => ALL_EMPTY,
            Self::AllBrain => ALL_BRAIN,
            Self::RawThreshold(_) => RAW_THRESHOLD,
        }
    }

    fn mask(self, slice: &RawSlice, size: usize, component_area: u32) -> Vec<u8> {
        let mut mask = match self {
            Self::AllEmpty => return vec![0; slice.mask.len()],
            Self::AllBrain => slice.foreground.clone(),
            Self::RawThreshold(threshold) => slice
                .values
                .iter()
                .map(|value| u8::from(*value >= threshold))
                .collect(),
        };
        drop_small(&mut mask, size, size, component_area);
        mask
    }

    /// What the pixels are ranked by.
    fn scores(self, slice: &RawSlice) -> Vec<f32> {
        match self {
            Self::AllEmpty | Self::AllBrain => vec![0.0; slice.values.len()],
            // Resampling can undershoot zero by a rounding error.
            Self::RawThreshold(_) => slice.values.iter().map(|value| value.max(0.0)).collect(),
        }
    }
}

/// The trivial rows on the test slices of `plan`, and what could not be computed.
pub(super) fn rows(
    dataset: &Dataset,
    plan: &ForwardPlan,
) -> Result<(Vec<Measured>, Vec<String>), EvaluateError> {
    let size = dataset.store().manifest().size;
    let area = plan.component_area;
    let reader = Reader {
        dataset,
        images: dataset.store().images(),
        truth: dataset.store().truth(),
    };
    let test: Vec<SliceRef> = plan.batches.iter().flatten().copied().collect();
    let mut warnings = Vec::new();
    let mut rows = Vec::new();
    for predictor in [Predictor::AllEmpty, Predictor::AllBrain] {
        rows.extend(evaluate(predictor, &reader, &test, size, area)?);
    }
    let validation = dataset.validation()?.slices;
    match reader.read_all(&validation)? {
        None => warnings.push(
            "raw-threshold is left out: a validation subject has no mask to tune it on".to_owned(),
        ),
        Some(validation) => {
            for setup in Setup::ALL {
                let Some(threshold) = best_threshold(&validation, setup, size, area) else {
                    continue;
                };
                let both = evaluate(
                    Predictor::RawThreshold(threshold),
                    &reader,
                    &test,
                    size,
                    area,
                )?;
                rows.extend(
                    both.into_iter()
                        .filter(|measured| measured.row.setup == setup),
                );
            }
        }
    }
    Ok((rows, warnings))
}

fn evaluate(
    predictor: Predictor,
    reader: &Reader<'_>,
    slices: &[SliceRef],
    size: usize,
    area: u32,
) -> Result<Vec<Measured>, EvaluateError> {
    let grid = MaskGrid::slice(size, size);
    let computed = slices
        .par_iter()
        .map(|slice| {
            let Some(raw) = reader.read(*slice)? else {
                return Ok(None);
            };
            let mask = predictor.mask(&raw, size, area);
            let overlap = Overlap::count(&mask, &raw.mask);
            let located = Localization::of(&mask, &raw.mask, &grid, SMALLEST_LESION);
            let run = score_run(&predictor.scores(&raw), &raw.mask, Some(&raw.foreground)).ok();
            Ok(run.map(|run| (statistics(raw.patient, overlap), located, run)))
        })
        .collect::<Result<Vec<_>, EvaluateError>>()?;
    let mut runs = CollectedRuns::default();
    let mut statistics: Vec<SliceStatistics> = Vec::with_capacity(computed.len());
    let mut localizations = Vec::with_capacity(computed.len());
    for (of_slice, located, run) in computed.into_iter().flatten() {
        // These scores were in memory already, so there is room for them.
        runs.push(&run, usize::MAX);
        statistics.push(of_slice);
        localizations.push(located);
    }
    let name = RowName {
        method: predictor.name().to_owned(),
        guidance: None,
        seeds: Vec::new(),
        pixel_labels: matches!(predictor, Predictor::RawThreshold(_)),
        settings: None,
        detail: RunDetail::Exact,
    };
    let repeat = Repeat {
        slices: statistics,
        localizations,
        runs,
        seeds: 1,
    };
    Ok(match both_setups(&name, &[repeat]) {
        Ok(counted) => counted.rows,
        Err(never) => match never {},
    })
}

/// The threshold with the best mean DICE of a set-up; the lowest of equals.
fn best_threshold(slices: &[RawSlice], setup: Setup, size: usize, area: u32) -> Option<f32> {
    let dice: Vec<(f32, f64)> = (1..=THRESHOLDS)
        .into_par_iter()
        .map(|number| {
            #[allow(clippy::cast_precision_loss)]
            let threshold = number as f32 * THRESHOLD_STEP;
            let predictor = Predictor::RawThreshold(threshold);
            let of_slices: Vec<SliceStatistics> = slices
                .iter()
                .map(|slice| {
                    let mask = predictor.mask(slice, size, area);
                    statistics(slice.patient, Overlap::count(&mask, &slice.mask))
                })
                .collect();
            let sum: f64 = setup.slices(&of_slices).map(|(_, o)| o.dice()).sum();
            (threshold, sum)
        })
        .collect();
    dice.into_iter()
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map(|(threshold, _)| threshold)
}

const fn statistics(patient: u32, overlap: Overlap) -> SliceStatistics {
    SliceStatistics {
        patient,
        unhealthy: overlap.truth > 0,
        classified_unhealthy: true,
        overlap,
    }
}

struct Reader<'a> {
    dataset: &'a Dataset,
    images: ImageReader,
    truth: TruthReader,
}

impl Reader<'_> {
    /// `None` where a subject has no mask.
    fn read_all(&self, slices: &[SliceRef]) -> Result<Option<Vec<RawSlice>>, EvaluateError> {
        slices.par_iter().map(|slice| self.read(*slice)).collect()
    }

    fn read(&self, slice: SliceRef) -> Result<Option<RawSlice>, EvaluateError> {
        let id = self.dataset.subject(slice);
        let position = slice.position as usize;
        let Some(mask) = self.truth.mask(id, position)? else {
            return Ok(None);
        };
        let mut image = Vec::new();
        self.images.subject(id)?.read_slice(position, &mut image)?;
        let manifest = self.dataset.store().manifest();
        let pixels = manifest.size * manifest.size;
        let channel = self.dataset.raw_channel();
        let values = image[channel * pixels..(channel + 1) * pixels].to_vec();
        let channels = manifest.modalities.len();
        self.dataset.scaling().apply(&mut image, channels, pixels);
        Ok(Some(RawSlice {
            patient: self.dataset.patient(slice),
            values,
            foreground: foreground(&image, channels, pixels)
                .into_iter()
                .map(u8::from)
                .collect(),
            mask,
        }))
    }
}
