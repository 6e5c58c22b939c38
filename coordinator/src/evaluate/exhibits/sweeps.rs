//! What strengths, end steps and thresholds do to the DICE (Figure 5), of the first noise seed.

use anofpdm_common::anofpdm::ImageLabel;
use anofpdm_common::method::{Encoding, MapKind, Method};
use anofpdm_common::metrics::bootstrap::{mean_interval, patient_sums};
use anofpdm_common::metrics::overlap::Overlap;
use anofpdm_common::metrics::setup::{Setup, SliceStatistics};
use anofpdm_common::plan::{CellOutput, Trajectory};
use anofpdm_common::record::{CandidateScore, Record};
use anofpdm_common::spec::Decision;

use super::Sources;
use super::records::seed_of;
use crate::evaluate::EvaluateError;
use crate::evaluate::measured::BOOTSTRAP_SEED;
use crate::evaluate::rows::row_of;
use crate::report::exhibits::{
    BothSetups, EndStepPoint, EndStepSweep, Estimate, StrengthPoint, StrengthSweep, ThresholdPoint,
    ThresholdSweep,
};
use crate::report::slices::SlicesOfCell;
use crate::report::statistics::RowId;
use crate::stored_record;

impl Sources<'_> {
    fn statistics(&self, place: usize, overlap: Overlap, called: bool) -> SliceStatistics {
        SliceStatistics {
            patient: self.dataset.patient(self.test[place]),
            unhealthy: overlap.truth > 0,
            classified_unhealthy: called,
            overlap,
        }
    }

    /// The first cell of a row.
    fn first_cell(&self, row: &RowId) -> Option<&SlicesOfCell> {
        let mut cells = self.table.cells.iter();
        cells.find(|cell| cell.method == row.method && cell.guidance == row.guidance)
    }
}

fn dice(slices: &[SliceStatistics]) -> BothSetups {
    let of = |setup: Setup| {
        let sums = patient_sums(slices, setup, Overlap::dice);
        let (sum, count) = sums
            .values()
            .fold((0.0, 0), |(sum, count), one| (sum + one.0, count + one.1));
        (count > 0).then(|| Estimate {
            mean: sum / count as f64,
            ci95: mean_interval(&sums, BOOTSTRAP_SEED),
        })
    };
    BothSetups {
        mixed: of(Setup::Mixed),
        unhealthy: of(Setup::Unhealthy),
    }
}

fn accuracy(slices: &[SliceStatistics]) -> Option<f64> {
    let right = slices
        .iter()
        .filter(|slice| slice.unhealthy == slice.classified_unhealthy)
        .count();
    (!slices.is_empty()).then(|| right as f64 / slices.len() as f64)
}

/// Every strength of each encoding's aggregated map: rows of the table, and candidates that are none.
pub(super) fn strengths(sources: &Sources<'_>) -> Result<Vec<StrengthSweep>, EvaluateError> {
    let plan = &sources.scored.plan;
    let mut found: Vec<StrengthSweep> = Vec::new();
    for (encoding, calibration) in sources.calibration {
        let Some(method) = Method::of(*encoding, MapKind::Aam) else {
            continue;
        };
        let mut sweep = StrengthSweep {
            method: method.name().to_owned(),
            seed: 0,
            points: Vec::new(),
            selected: None,
            all_empty: None,
        };
        for (number, cell) in plan.cells.iter().enumerate() {
            let Trajectory::Forward(walk) = plan.trajectory(cell)? else {
                continue;
            };
            let known = sweep
                .points
                .iter()
                .any(|point| point.guidance == cell.guidance);
            if walk.encoding != *encoding || known {
                continue;
            }
            let slices = match &cell.output {
                CellOutput::Mask {
                    map: MapKind::Aam, ..
                } => of_table(sources, method, cell.guidance),
                CellOutput::Candidate { .. } => {
                    candidates(sources, number, *encoding, cell.guidance)?
                }
                _ => continue,
            };
            let strength = calibration.strength(cell.guidance);
            sweep.seed = walk.seed;
            sweep.points.push(StrengthPoint {
                guidance: cell.guidance,
                validation_accuracy: strength.map(|strength| match sources.decision {
                    Decision::Cosine => strength.accuracy,
                    Decision::MseRatio => strength.ratio_accuracy,
                }),
                test_accuracy: accuracy(&slices),
                dice: dice(&slices),
            });
        }
        if !sweep.points.is_empty() {
            sweep
                .points
                .sort_by(|a, b| a.guidance.total_cmp(&b.guidance));
            found.push(sweep);
        }
    }
    Ok(found)
}

fn of_table(sources: &Sources<'_>, method: Method, guidance: f64) -> Vec<SliceStatistics> {
    let row = RowId {
        method: method.name().to_owned(),
        guidance: Some(guidance),
    };
    let slices = sources.first_cell(&row).map(|cell| &cell.cell.slices);
    let slices = slices.into_iter().flatten().enumerate();
    slices
        .map(|(place, slice)| sources.statistics(place, slice.overlap, slice.called_unhealthy))
        .collect()
}

fn candidates(
    sources: &Sources<'_>,
    cell: usize,
    encoding: Encoding,
    guidance: f64,
) -> Result<Vec<SliceStatistics>, EvaluateError> {
    let calibration = sources.calibration.get(&encoding);
    let strength = calibration.and_then(|calibration| calibration.strength(guidance));
    let rule = strength.map(|strength| strength.label_rule(sources.decision));
    let called = |score: &CandidateScore| {
        let label = rule.map(|rule| rule.label(score.cosine, score.mse_ratio));
        label == Some(ImageLabel::Unhealthy)
    };
    let mut slices = Vec::new();
    for records in &sources.scored.records {
        let digest = records[cell].1;
        let Record::Candidates(scores) = stored_record::read(sources.artifacts, digest)? else {
            return Err(EvaluateError::Kind(digest));
        };
        for score in scores {
            let place = slices.len();
            slices.push(sources.statistics(place, score.overlap, called(&score)));
        }
    }
    Ok(slices)
}

/// Figures 5c and 5d, from the first cell of each row whose records carry them (`[score.figures]`).
pub(super) fn of_figures(
    sources: &Sources<'_>,
) -> Result<(Vec<EndStepSweep>, Vec<ThresholdSweep>), EvaluateError> {
    let plan = &sources.scored.plan;
    let (mut end_steps, mut thresholds) = (Vec::new(), Vec::new());
    let mut known: Vec<RowId> = Vec::new();
    for (number, cell) in plan.cells.iter().enumerate() {
        let CellOutput::Mask { figures, .. } = &cell.output else {
            continue;
        };
        let Some(row) = row_of(sources.scored, cell) else {
            continue;
        };
        let asked = figures.end_step_ratios.len() + figures.fixed_thresholds.len();
        if asked == 0 || known.contains(&row) {
            continue;
        }
        known.push(row.clone());
        let Some(of_table) = sources.first_cell(&row) else {
            continue;
        };
        let called = |place: usize| {
            let slice = of_table.cell.slices.get(place);
            slice.is_some_and(|slice| slice.called_unhealthy)
        };
        // Slice by slice, one list a ratio and one a threshold.
        let mut by_ratio = vec![Vec::new(); figures.end_step_ratios.len()];
        let mut by_threshold = vec![Vec::new(); figures.fixed_thresholds.len()];
        let mut place = 0;
        for records in &sources.scored.records {
            let digest = records[number].1;
            let scores = match stored_record::read(sources.artifacts, digest)? {
                Record::Masks(scores) => scores,
                Record::RatedMasks(scores) => scores.into_iter().map(|rated| rated.score).collect(),
                _ => return Err(EvaluateError::Kind(digest)),
            };
            for score in scores {
                let figures = score.figures.as_deref();
                for (lists, overlaps) in [
                    (&mut by_ratio, figures.map(|f| &f.end_step_ratios)),
                    (&mut by_threshold, figures.map(|f| &f.fixed_thresholds)),
                ] {
                    for (list, overlap) in lists.iter_mut().zip(overlaps.into_iter().flatten()) {
                        list.push(sources.statistics(place, *overlap, called(place)));
                    }
                }
                place += 1;
            }
        }
        let seed = seed_of(sources.scored, cell);
        if !by_ratio.is_empty() {
            let ratios = figures.end_step_ratios.iter().zip(&by_ratio);
            let mut points: Vec<EndStepPoint> = ratios
                .map(|(ratio, slices)| EndStepPoint {
                    ratio: *ratio,
                    dice: dice(slices),
                    cut_off: cut_off(of_table, *ratio, plan.steps),
                })
                .collect();
            points.sort_by(|a, b| a.ratio.total_cmp(&b.ratio));
            end_steps.push(EndStepSweep {
                row: row.clone(),
                seed,
                points,
            });
        }
        if !by_threshold.is_empty() {
            let asked = figures.fixed_thresholds.iter().zip(&by_threshold);
            let mut points: Vec<ThresholdPoint> = asked
                .map(|(threshold, slices)| ThresholdPoint {
                    threshold: *threshold,
                    dice: dice(slices),
                })
                .collect();
            points.sort_by(|a, b| a.threshold.total_cmp(&b.threshold));
            let slices = of_table.cell.slices.iter().enumerate();
            let dynamic: Vec<SliceStatistics> = slices
                .map(|(place, slice)| {
                    sources.statistics(place, slice.overlap, slice.called_unhealthy)
                })
                .collect();
            thresholds.push(ThresholdSweep {
                row,
                seed,
                points,
                dynamic: dice(&dynamic),
                q_star: q_star(of_table),
            });
        }
    }
    Ok((end_steps, thresholds))
}

/// Share of slices and modalities whose multiple of t_e lies beyond the last step.
fn cut_off(cell: &SlicesOfCell, ratio: f64, steps: u32) -> f64 {
    let ends = || {
        let slices = cell.cell.slices.iter();
        slices.flat_map(|slice| slice.modalities.iter().map(|one| one.end_step))
    };
    let beyond = ends().filter(|end| ratio * (f64::from(*end) + 1.0) > f64::from(steps));
    beyond.count() as f64 / ends().count().max(1) as f64
}

/// 10 %, 50 % and 90 % quantile of the slices' thresholds.
fn q_star(cell: &SlicesOfCell) -> Option<[f64; 3]> {
    let slices = cell.cell.slices.iter();
    let mut values: Vec<f64> = slices
        .filter_map(|slice| slice.q_star.map(f64::from))
        .filter(|value| value.is_finite())
        .collect();
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let at = |share: f64| values[(share * last as f64).round() as usize];
    Some([at(0.1), at(0.5), at(0.9)])
}
