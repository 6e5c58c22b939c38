//! Rows of the table: the numbers of a method and strength, over seeds, with intervals over patients.

use std::collections::BTreeMap;

use anofpdm_common::anofpdm::{ImageLabel, classify, classify_ratio};
use anofpdm_common::baseline::{Baseline, NATIVE_THRESHOLD, NativeRule};
use anofpdm_common::method::{Encoding, Method};
use anofpdm_common::metrics::batch_ap::REFERENCE_BATCH;
use anofpdm_common::metrics::best_dice::{BestDice, DiceCurve};
use anofpdm_common::metrics::bootstrap::{
    PatientSums, average_precision_interval, mean_interval, patient_histograms, patient_sums,
};
use anofpdm_common::metrics::evaluate::{Section, evaluate};
use anofpdm_common::metrics::overlap::Overlap;
use anofpdm_common::metrics::score_run::RunSource;
use anofpdm_common::metrics::setup::{Setup, SliceStatistics};
use anofpdm_common::plan::{Cell, CellOutput, Postprocessing, Trajectory};
use anofpdm_common::semantics::Semantics;
use anofpdm_common::spec::Decision;
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::strength::Strength;

use super::records::{CellRecords, Scored};
use super::tally::Tally;
use super::{EvaluateError, Finished};
use crate::dataset::Dataset;
use crate::evaluate::calibrate::Calibration;
use crate::evaluate::tune::Tuning;
use crate::report::summary::{Row, RowSettings, Value};

/// Seed of the bootstrap: intervals of the same records are the same numbers, and all see the same draws.
pub(super) const BOOTSTRAP_SEED: u64 = 0;

pub(super) struct RowName {
    pub(super) method: String,
    pub(super) guidance: Option<f64>,
    pub(super) seeds: Vec<u64>,
    pub(super) pixel_labels: bool,
    pub(super) settings: Option<RowSettings>,
}

/// One run of a row over the test slices: statistics of every slice, and where its score runs are.
pub(super) struct Repeat<'a, S: ?Sized> {
    pub(super) slices: Vec<SliceStatistics>,
    pub(super) runs: &'a S,
}

/// A row with what differences to other rows are formed from.
pub(super) struct Measured {
    pub(super) row: Row,
    /// DICE of each patient's slices, over seeds.
    pub(super) dice: PatientSums,
}

/// What one method at one strength made of the test slices.
pub(super) struct MethodResult {
    pub(super) rows: Vec<Measured>,
    /// Encoding and strength of a method of the AnoFPDM family.
    pub(super) walk: Option<(Encoding, f64)>,
    pub(super) tally: Tally,
    /// What the slices could be classified by, one entry a noise seed; nothing of a baseline.
    pub(super) scores: Vec<SeedScores>,
}

/// The numbers of the test slices that healthy and unhealthy are told apart by.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SeedScores {
    pub(super) seed: u64,
    pub(super) cosine: Vec<f32>,
    /// Where every record carries it.
    pub(super) mse_ratio: Option<Vec<f32>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TestSlice {
    pub(super) patient: u32,
    pub(super) unhealthy: bool,
    pub(super) brain_area: u32,
}

/// All methods, and the slices they were scored on.
pub(super) struct Results {
    /// In the order of the report.
    pub(super) methods: Vec<MethodResult>,
    pub(super) slices: Vec<TestSlice>,
}

/// The seeds a cell serves, and its number.
type SeededCell<'a> = (&'a [u64], usize);

/// What the cells of one row have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Kind {
    method: Method,
    /// With the post-processing of the method's authors.
    native: bool,
    strength: Strength,
    noise_scale: Option<u32>,
}

impl Kind {
    fn of(trajectory: &Trajectory, cell: &Cell) -> Option<Self> {
        let (method, native) = match (trajectory, &cell.output) {
            (Trajectory::Forward(walk), CellOutput::Mask { map, .. }) => {
                (Method::of(walk.encoding, *map)?, false)
            }
            (Trajectory::Restoration(walk), CellOutput::Restored { postprocessing, .. }) => (
                Method::Baseline(walk.baseline),
                matches!(postprocessing, Postprocessing::Native),
            ),
            _ => return None,
        };
        Some(Self {
            method,
            native,
            strength: cell.strength(),
            noise_scale: cell.setting().map(|setting| setting.noise_scale),
        })
    }

    /// The strength of the row; none for a baseline without.
    fn strength(&self) -> Option<f64> {
        let has = self.method.baseline().is_none_or(Baseline::has_strength);
        has.then_some(self.strength.0)
    }
}

/// What the validation slices decided, as the rows need it.
pub(super) struct Decisions<'a> {
    pub(super) calibration: &'a BTreeMap<Encoding, Calibration>,
    pub(super) tunings: &'a BTreeMap<Baseline, Tuning>,
    /// Seeds of the spec: what draws no noise serves them all.
    pub(super) seeds: &'a [u64],
    /// By which number a slice is called unhealthy.
    pub(super) decision: Decision,
}

/// All rows of methods, in the order of the report.
pub(super) fn results(
    finished: &Finished,
    decisions: &Decisions<'_>,
    dataset: &Dataset,
    artifacts: &ArtifactStore,
) -> Result<Results, EvaluateError> {
    let plan = &finished.plan;
    let mut kinds: Vec<(Kind, Vec<SeededCell<'_>>)> = Vec::new();
    for (number, cell) in plan.cells.iter().enumerate() {
        let trajectory = plan.trajectory(cell)?;
        let Some(kind) = Kind::of(trajectory, cell) else {
            continue;
        };
        let seeds = match trajectory {
            Trajectory::Forward(walk) => std::slice::from_ref(&walk.seed),
            Trajectory::Restoration(walk) => match &walk.seed {
                Some(seed) => std::slice::from_ref(seed),
                None => decisions.seeds,
            },
        };
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, cells)) => cells.push((seeds, number)),
            None => kinds.push((kind, vec![(seeds, number)])),
        }
    }
    kinds.sort_by_key(|(kind, _)| (kind.method, kind.native));

    let slices = plan.batches.iter().flatten();
    let patients: Vec<u32> = slices.map(|slice| dataset.patient(*slice)).collect();
    let last_step = plan.steps.saturating_sub(1);
    let mut test_slices = Vec::new();
    let mut methods = Vec::new();
    for (kind, cells) in kinds {
        let records: Vec<(&[u64], usize, CellRecords<'_>)> = cells
            .into_iter()
            .map(|(seeds, cell)| (seeds, cell, CellRecords::new(finished, cell, artifacts)))
            .collect();
        let mut tally = Tally::default();
        let mut repeats = Vec::new();
        let mut scores = Vec::new();
        for (seeds, cell, runs) in &records {
            let maxima: &[f32] = match &plan.cells[*cell].output {
                CellOutput::Mask { max_divergence, .. } => max_divergence,
                _ => &[],
            };
            let mut slices = Vec::new();
            let mut gathered = Gathered::default();
            let first = test_slices.is_empty();
            runs.for_each(|slice, score| {
                tally.add(score, last_step, maxima);
                gathered.add(score);
                let statistics = SliceStatistics {
                    patient: patients[slice],
                    unhealthy: score.overlap.truth > 0,
                    classified_unhealthy: decisions.classify(&kind, score),
                    overlap: score.overlap,
                };
                slices.push(statistics);
                if first {
                    test_slices.push(TestSlice {
                        patient: statistics.patient,
                        unhealthy: statistics.unhealthy,
                        brain_area: u32::try_from(score.run.len()).unwrap_or(u32::MAX),
                    });
                }
            })?;
            scores.extend(seeds.first().and_then(|seed| gathered.of_seed(*seed)));
            for _ in *seeds {
                repeats.push(Repeat {
                    slices: slices.clone(),
                    runs,
                });
            }
        }
        let name = RowName {
            method: if kind.native {
                format!("{}-native", kind.method)
            } else {
                kind.method.name().to_owned()
            },
            guidance: kind.strength(),
            seeds: records
                .iter()
                .flat_map(|(seeds, _, _)| *seeds)
                .copied()
                .collect(),
            pixel_labels: decisions.used_pixel_labels(&kind),
            settings: decisions.settings(&kind, plan.semantics),
        };
        let mut rows = both_setups(&name, &repeats)?;
        for measured in &mut rows {
            measured.row.undefined_maps = tally.undefined;
        }
        let encoding = kind.method.forward().map(|(encoding, _)| encoding);
        methods.push(MethodResult {
            rows,
            walk: encoding.map(|encoding| (encoding, kind.strength.0)),
            tally,
            scores,
        });
    }
    Ok(Results {
        methods,
        slices: test_slices,
    })
}

/// The numbers of one noise seed's slices, as they are read.
#[derive(Debug, Default)]
struct Gathered {
    slices: usize,
    cosine: Vec<f32>,
    mse_ratio: Vec<f32>,
}

impl Gathered {
    fn add(&mut self, slice: &Scored) {
        self.slices += 1;
        self.cosine.extend(slice.cosine);
        self.mse_ratio.extend(slice.mse_ratio);
    }

    /// `None` where not every slice has a cosine.
    fn of_seed(self, seed: u64) -> Option<SeedScores> {
        let complete = |values: &[f32]| values.len() == self.slices;
        let mse_ratio = complete(&self.mse_ratio).then_some(self.mse_ratio);
        (self.cosine.len() == self.slices).then_some(SeedScores {
            seed,
            cosine: self.cosine,
            mse_ratio,
        })
    }
}

impl Decisions<'_> {
    /// Whether a slice is called unhealthy: by its cosine or its ratio of MSE sequences, or by any pixel of a baseline's
    /// mask.
    fn classify(&self, kind: &Kind, score: &Scored) -> bool {
        let (Some((encoding, _)), Some(cosine)) = (kind.method.forward(), score.cosine) else {
            return score.overlap.predicted > 0;
        };
        let calibration = self.calibration.get(&encoding);
        let strength = calibration.and_then(|c| c.strength(kind.strength.0));
        let Some(strength) = strength else {
            return false;
        };
        let label = match (self.decision, score.mse_ratio) {
            (Decision::Cosine, _) => classify(cosine, strength.cos_threshold),
            (Decision::MseRatio, ratio) => {
                classify_ratio(ratio.unwrap_or(f32::NAN), strength.ratio_threshold)
            }
        };
        label == ImageLabel::Unhealthy
    }

    /// A native rule has no threshold to tune, but the settings may have been.
    fn used_pixel_labels(&self, kind: &Kind) -> bool {
        let Some(tuning) = kind.method.baseline().and_then(|b| self.tunings.get(&b)) else {
            return false;
        };
        tuning.pixel_labels && (!kind.native || tuning.candidates.len() > 1)
    }

    fn settings(&self, kind: &Kind, semantics: Semantics) -> Option<RowSettings> {
        let baseline = kind.method.baseline()?;
        let chosen = self.tunings.get(&baseline).and_then(Tuning::chosen)?;
        let rule = baseline.native_rule().filter(|_| kind.native);
        Some(RowSettings {
            form: semantics.switches().baselines.name().to_owned(),
            noise_scale: kind.noise_scale?,
            strength: kind.strength(),
            threshold: match rule {
                None => Some(chosen.threshold),
                Some(NativeRule::Fixed) => Some(NATIVE_THRESHOLD),
                Some(NativeRule::Otsu) => None,
            },
            postprocessing: match rule {
                None => "common",
                Some(NativeRule::Fixed) => "fixed",
                Some(NativeRule::Otsu) => "otsu",
            }
            .to_owned(),
        })
    }
}

/// The two rows of one method: mixed and unhealthy.
pub(super) fn both_setups<S: RunSource + ?Sized>(
    name: &RowName,
    repeats: &[Repeat<'_, S>],
) -> Result<Vec<Measured>, S::Error> {
    let evaluations = repeats
        .iter()
        .map(|repeat| evaluate(&repeat.slices, Some(repeat.runs), REFERENCE_BATCH))
        .collect::<Result<Vec<_>, _>>()?;
    let all: Vec<SliceStatistics> = repeats
        .iter()
        .flat_map(|repeat| repeat.slices.iter().copied())
        .collect();
    Setup::ALL
        .into_iter()
        .map(|setup| {
            let sections: Vec<Section> = evaluations
                .iter()
                .map(|evaluation| match setup {
                    Setup::Mixed => evaluation.mixed,
                    Setup::Unhealthy => evaluation.unhealthy,
                })
                .collect();
            let sums = |measure: fn(Overlap) -> f64| patient_sums(&all, setup, measure);
            let dice = sums(Overlap::dice);
            let interval = |sums: &PatientSums| mean_interval(sums, BOOTSTRAP_SEED);
            let mut curves = Vec::new();
            let histograms = repeats
                .iter()
                .map(|repeat| {
                    let mut curve = DiceCurve::default();
                    let histograms = patient_histograms(
                        repeat.runs,
                        &repeat.slices,
                        setup,
                        &mut |slice, scores| {
                            let thresholded =
                                setup == Setup::Unhealthy || slice.classified_unhealthy;
                            curve.add(slice.overlap, thresholded.then_some(scores));
                        },
                    );
                    curves.push(curve);
                    histograms
                })
                .collect::<Result<Vec<_>, _>>()?;
            let auprc_interval = average_precision_interval(&histograms, BOOTSTRAP_SEED);
            let row = Row {
                method: name.method.clone(),
                guidance: name.guidance,
                setup,
                seeds: name.seeds.clone(),
                dice: value(&sections, |s| s.dice, interval(&dice)),
                iou: value(&sections, |s| s.iou, interval(&sums(Overlap::iou))),
                auprc: value(&sections, |s| s.auprc, auprc_interval),
                auprc_batch: value(&sections, |s| s.auprc_batch, None),
                best_dice: best_dice(&curves),
                pixel_labels: name.pixel_labels,
                undefined_maps: 0,
                settings: name.settings.clone(),
            };
            Ok(Measured { row, dice })
        })
        .collect()
}

/// Means over seeds; the threshold where every seed has one.
fn best_dice(curves: &[DiceCurve]) -> Option<BestDice> {
    let best: Vec<BestDice> = curves.iter().map(DiceCurve::best).collect::<Option<_>>()?;
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

fn value(
    sections: &[Section],
    metric: fn(&Section) -> Option<f64>,
    ci95: Option<[f64; 2]>,
) -> Value {
    Value::over_seeds(sections.iter().map(metric).collect(), ci95)
}
