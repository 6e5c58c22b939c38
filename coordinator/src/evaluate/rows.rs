//! What each method at each strength made of the test slices, from its records.

use std::collections::BTreeMap;

use anofpdm_common::anofpdm::ImageLabel;
use anofpdm_common::baseline::{Baseline, NATIVE_THRESHOLD, NativeRule};
use anofpdm_common::calibration::Calibration;
use anofpdm_common::method::{Encoding, Method};
use anofpdm_common::metrics::RunDetail;
use anofpdm_common::metrics::collected_runs::{CollectedRuns, MOST_KEYS};
use anofpdm_common::metrics::histogram_ap::ScoreHistogram;
use anofpdm_common::metrics::setup::SliceStatistics;
use anofpdm_common::plan::{Cell, CellOutput, Postprocessing, SliceRef, Trajectory};
use anofpdm_common::semantics::Semantics;
use anofpdm_common::spec::Decision;
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::strength::Strength;

use super::measured::{Measured, Repeat, RowName, both_setups};
use super::records::{CellRecords, CellRuns, Scored};
use super::slice_table::{add_precisions, cell_slice};
use super::tally::Tally;
use super::truth::TruthMasks;
use super::{EvaluateError, Finished};
use crate::dataset::Dataset;
use crate::evaluate::tune::Tuning;
use crate::report::slices::CellSlices;
use crate::report::statistics::RowId;
use crate::report::summary::RowSettings;

/// What one method at one strength made of the test slices.
pub(super) struct MethodResult {
    pub(super) rows: Vec<Measured>,
    /// Encoding and strength of a method of the AnoFPDM family.
    pub(super) walk: Option<(Encoding, f64)>,
    pub(super) tally: Tally,
    /// What the slices could be classified by, one entry a noise seed; nothing of a baseline.
    pub(super) scores: Vec<SeedScores>,
    /// What became of each slice, in each cell of the row.
    pub(super) cells: Vec<CellSlices>,
    /// Scored pixels of all slices in the first of these.
    pub(super) pixels: ScoreHistogram,
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
            (
                Trajectory::Forward(walk),
                CellOutput::Mask { map, .. } | CellOutput::Exhibit { map },
            ) => (Method::of(walk.encoding, *map)?, false),
            (
                Trajectory::Restoration(walk),
                CellOutput::Restored { postprocessing, .. }
                | CellOutput::RestoredExhibit { postprocessing, .. },
            ) => (
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

    fn row(&self) -> RowId {
        RowId {
            method: match self.native {
                true => format!("{}-native", self.method),
                false => self.method.name().to_owned(),
            },
            guidance: self.strength(),
        }
    }
}

/// The row of the table that a cell belongs to; none for what belongs to no row.
pub(super) fn row_of(finished: &Finished, cell: &Cell) -> Option<RowId> {
    let trajectory = finished.plan.trajectory(cell).ok()?;
    Kind::of(trajectory, cell).map(|kind| kind.row())
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
    let scored = plan.cells.iter().enumerate();
    for (number, cell) in scored.filter(|(_, cell)| cell.output.counts()) {
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

    let slices: Vec<SliceRef> = plan.batches.iter().flatten().copied().collect();
    let truth = TruthMasks::read(dataset, &slices)?;
    let patients: Vec<u32> = slices.iter().map(|slice| dataset.patient(*slice)).collect();
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
        let mut cells = Vec::new();
        let mut room = MOST_KEYS;
        for (seeds, cell, records) in &records {
            let maxima: &[f32] = match &plan.cells[*cell].output {
                CellOutput::Mask { max_divergence, .. } => max_divergence,
                _ => &[],
            };
            let mut slices = Vec::new();
            let mut localizations = Vec::new();
            let mut gathered = Gathered::default();
            let first = test_slices.is_empty();
            let mut runs = Some(CollectedRuns::default());
            let mut of_slices = Vec::new();
            records.for_each(&truth, |slice, score, located, run| {
                tally.add(score, last_step, maxima);
                gathered.add(score);
                let statistics = SliceStatistics {
                    patient: patients[slice],
                    unhealthy: score.overlap.truth > 0,
                    classified_unhealthy: decisions.classify(&kind, score),
                    overlap: score.overlap,
                };
                slices.push(statistics);
                localizations.push(located);
                of_slices.push(cell_slice(score, located, statistics.classified_unhealthy));
                runs = runs
                    .take()
                    .and_then(|mut runs| runs.push(run, room).then_some(runs));
                if first {
                    test_slices.push(TestSlice {
                        patient: statistics.patient,
                        unhealthy: statistics.unhealthy,
                        brain_area: u32::try_from(score.run.len()).unwrap_or(u32::MAX),
                    });
                }
            })?;
            scores.extend(seeds.first().and_then(|seed| gathered.of_seed(*seed)));
            room -= runs.as_ref().map_or(0, CollectedRuns::keys);
            repeats.push(Repeat {
                slices,
                localizations,
                runs: runs.map_or(CellRuns::Stored(records), CellRuns::Collected),
                seeds: seeds.len(),
            });
            cells.push(CellSlices {
                // A cell that serves several seeds drew no noise.
                seed: (seeds.len() == 1).then(|| seeds[0]),
                slices: of_slices,
            });
        }
        let RowId { method, guidance } = kind.row();
        let name = RowName {
            method,
            guidance,
            seeds: records
                .iter()
                .flat_map(|(seeds, _, _)| *seeds)
                .copied()
                .collect(),
            pixel_labels: decisions.used_pixel_labels(&kind),
            settings: decisions.settings(&kind, plan.semantics),
            detail: detail(
                records
                    .first()
                    .map(|(_, cell, _)| &plan.cells[*cell].output),
            ),
        };
        let counted = both_setups(&name, &repeats)?;
        let (mut rows, precisions) = (counted.rows, counted.precisions);
        for (cell, precisions) in cells.iter_mut().zip(precisions) {
            add_precisions(cell, &precisions);
        }
        for measured in &mut rows {
            measured.row.undefined_maps = tally.undefined;
        }
        let encoding = kind.method.forward().map(|(encoding, _)| encoding);
        methods.push(MethodResult {
            rows,
            walk: encoding.map(|encoding| (encoding, kind.strength.0)),
            tally,
            scores,
            cells,
            pixels: counted.pixels,
        });
    }
    Ok(Results {
        methods,
        slices: test_slices,
    })
}

/// How much of the scores the records of a row keep: the same in all of its cells.
fn detail(output: Option<&CellOutput>) -> RunDetail {
    match output {
        Some(CellOutput::Mask { scores, .. } | CellOutput::Restored { scores, .. }) => *scores,
        _ => RunDetail::Exact,
    }
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
        let rule = strength.label_rule(self.decision);
        rule.label(cosine, score.mse_ratio.unwrap_or(f32::NAN)) == ImageLabel::Unhealthy
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
