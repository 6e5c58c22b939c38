//! Healthy or unhealthy: how well the numbers a slice is called by tell the two apart, and how well numbers do that need
//! no network at all.

use std::collections::{BTreeMap, BTreeSet};

use anofpdm_common::anofpdm::{CalibrationSlice, ImageLabel, cosine, mse_ratio, search_ratio};
use anofpdm_common::calibration::Calibration;
use anofpdm_common::method::Encoding;
use anofpdm_common::metrics::auroc::{Case, auroc};
use anofpdm_common::metrics::bootstrap::auroc_interval;
use anofpdm_common::plan::{SliceRef, Trajectory};
use anofpdm_common::spec::Decision;
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::store::slices::Split;
use anofpdm_common::strength::Strength;

use super::measured::BOOTSTRAP_SEED;
use super::position::Subjects;
use super::rows::{MethodResult, Results, TestSlice};
use super::{EvaluateError, Finished};
use crate::dataset::Dataset;
use crate::evaluate::calibrate;
use crate::ledger::Ledger;
use crate::plan::cells::CALIBRATION_SEED;
use crate::report::summary::{Classification, SliceScore, Value};

/// What classification is made of beside the results.
pub(super) struct Sources<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) calibrated: &'a Finished,
    pub(super) scored: &'a Finished,
    pub(super) calibration: &'a BTreeMap<Encoding, Calibration>,
    pub(super) decision: Decision,
    pub(super) ledger: &'a Ledger,
    pub(super) artifacts: &'a ArtifactStore,
}

/// The slices of a split, as a classification sees them.
struct Slices {
    split: Split,
    patients: Vec<u32>,
    unhealthy: Vec<bool>,
}

/// One score of all slices of a split. The higher a value, the more its slice looks unhealthy: a cosine is negated.
struct Scores {
    score: SliceScore,
    walk: Option<(Encoding, f64)>,
    decides: bool,
    seeds: Vec<u64>,
    /// One list a seed.
    values: Vec<Vec<f32>>,
    threshold: Option<Threshold>,
}

/// Slices at or above `value` are called unhealthy.
#[derive(Clone, Copy)]
struct Threshold {
    value: f32,
    from: &'static str,
}

const FROM_CALIBRATION: &str = "calibration";
const FROM_VALIDATION: &str = "validation";

/// All classifications: validation slices first, then test slices; of each the scores of the method, then the trivial
/// ones.
pub(super) fn classifications(
    sources: &Sources<'_>,
    results: &Results,
) -> Result<Vec<Classification>, EvaluateError> {
    let listed = |finished: &Finished| -> Vec<SliceRef> {
        finished.plan.batches.iter().flatten().copied().collect()
    };
    let validation = listed(sources.calibrated);
    let subjects = Subjects::of(sources.dataset, &validation)?;
    let slices = Slices {
        split: Split::Validation,
        patients: validation
            .iter()
            .map(|slice| sources.dataset.patient(*slice))
            .collect(),
        unhealthy: validation
            .iter()
            .map(|slice| subjects.is_unhealthy(*slice))
            .collect(),
    };
    let mut found = Vec::new();
    for scores in validation_scores(sources, &slices)? {
        found.push(slices.classify(&scores));
    }
    let areas = subjects.brain_areas(&validation)?;
    let nearness = |subjects: &Subjects<'_>, slices: &[SliceRef]| -> Vec<f32> {
        let places = slices.iter().map(|slice| subjects.middle_slice(*slice));
        places.collect()
    };
    let trivial = [
        trivial(SliceScore::BrainArea, as_scores(&areas), &slices),
        trivial(
            SliceScore::MiddleSlice,
            nearness(&subjects, &validation),
            &slices,
        ),
    ];
    found.extend(trivial.iter().map(|scores| slices.classify(scores)));
    drop(subjects);

    let tested = listed(sources.scored);
    let subjects = Subjects::of(sources.dataset, &tested)?;
    let slices = Slices::tested(&results.slices);
    for scores in test_scores(sources, &results.methods) {
        found.push(slices.classify(&scores));
    }
    let areas: Vec<u32> = results
        .slices
        .iter()
        .map(|slice| slice.brain_area)
        .collect();
    let [area, middle] = trivial;
    for (scores, values) in [
        (area, as_scores(&areas)),
        (middle, nearness(&subjects, &tested)),
    ] {
        found.push(slices.classify(&Scores {
            values: vec![values],
            ..scores
        }));
    }
    Ok(found)
}

#[allow(clippy::cast_precision_loss)]
fn as_scores(areas: &[u32]) -> Vec<f32> {
    areas.iter().map(|area| *area as f32).collect()
}

fn negated(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| -value).collect()
}

/// A score that needs no network, with the threshold that is best on the validation slices; none where those are of one
/// kind.
fn trivial(score: SliceScore, values: Vec<f32>, validation: &Slices) -> Scores {
    let labels: Vec<ImageLabel> = validation.labels().collect();
    let threshold = search_ratio(&values, &labels).ok().map(|found| Threshold {
        value: found.threshold,
        from: FROM_VALIDATION,
    });
    Scores {
        score,
        walk: None,
        decides: false,
        seeds: Vec::new(),
        values: vec![values],
        threshold,
    }
}

/// The two numbers of every encoding and strength on the validation slices, from their traces.
fn validation_scores(sources: &Sources<'_>, slices: &Slices) -> Result<Vec<Scores>, EvaluateError> {
    let plan = &sources.calibrated.plan;
    let modalities = plan.data.scored.len();
    let labels: Vec<ImageLabel> = slices.labels().collect();
    let mut found = Vec::new();
    for (number, cell) in plan.cells.iter().enumerate() {
        let Trajectory::Forward(walk) = plan.trajectory(cell)? else {
            continue;
        };
        let traces = calibrate::traces(plan, number, &labels, sources.ledger, sources.artifacts)?;
        let of_slices = |number: &dyn Fn(&CalibrationSlice) -> f32| -> Vec<f32> {
            traces.iter().map(number).collect()
        };
        let cosines = of_slices(&|slice| cosine(&slice.mse_h, &slice.mse_null, modalities));
        let ratios = of_slices(&|slice| mse_ratio(&slice.mse_h, &slice.mse_null));
        let walk = (walk.encoding, cell.guidance);
        let seeds = [CALIBRATION_SEED];
        found.push(sources.scores(SliceScore::Cosine, walk, &seeds, vec![negated(&cosines)]));
        found.push(sources.scores(SliceScore::MseRatio, walk, &seeds, vec![ratios]));
    }
    Ok(found)
}

/// The two numbers on the test slices. Methods of one encoding and strength share them; the ratio is there where the
/// records carry it.
fn test_scores(sources: &Sources<'_>, methods: &[MethodResult]) -> Vec<Scores> {
    let mut known = BTreeSet::new();
    let mut found = Vec::new();
    for method in methods {
        let Some((encoding, guidance)) = method.walk else {
            continue;
        };
        if !known.insert((encoding, Strength(guidance))) {
            continue;
        }
        let walk = (encoding, guidance);
        let seeds: Vec<u64> = method.scores.iter().map(|scores| scores.seed).collect();
        let cosines = method
            .scores
            .iter()
            .map(|one| negated(&one.cosine))
            .collect();
        found.push(sources.scores(SliceScore::Cosine, walk, &seeds, cosines));
        let ratios: Option<Vec<Vec<f32>>> = method
            .scores
            .iter()
            .map(|one| one.mse_ratio.clone())
            .collect();
        if let Some(ratios) = ratios {
            found.push(sources.scores(SliceScore::MseRatio, walk, &seeds, ratios));
        }
    }
    found
}

impl Sources<'_> {
    fn scores(
        &self,
        score: SliceScore,
        walk: (Encoding, f64),
        seeds: &[u64],
        values: Vec<Vec<f32>>,
    ) -> Scores {
        let strength = self
            .calibration
            .get(&walk.0)
            .and_then(|calibration| calibration.strength(walk.1));
        let value = strength.map(|strength| match score {
            SliceScore::Cosine => -strength.cos_threshold,
            _ => strength.ratio_threshold,
        });
        Scores {
            score,
            walk: Some(walk),
            decides: match self.decision {
                Decision::Cosine => score == SliceScore::Cosine,
                Decision::MseRatio => score == SliceScore::MseRatio,
            },
            seeds: seeds.to_vec(),
            values,
            threshold: value.map(|value| Threshold {
                value,
                from: FROM_CALIBRATION,
            }),
        }
    }
}

impl Slices {
    fn tested(slices: &[TestSlice]) -> Self {
        Self {
            split: Split::Test,
            patients: slices.iter().map(|slice| slice.patient).collect(),
            unhealthy: slices.iter().map(|slice| slice.unhealthy).collect(),
        }
    }

    fn labels(&self) -> impl Iterator<Item = ImageLabel> {
        self.unhealthy.iter().map(|unhealthy| match unhealthy {
            true => ImageLabel::Unhealthy,
            false => ImageLabel::Healthy,
        })
    }

    fn classify(&self, scores: &Scores) -> Classification {
        let mut patients = self.patients.clone();
        patients.sort_unstable();
        patients.dedup();
        let slices = self.unhealthy.len();
        let unhealthy = self
            .unhealthy
            .iter()
            .filter(|unhealthy| **unhealthy)
            .count();
        let cases: Vec<Vec<Case>> = scores
            .values
            .iter()
            .map(|values| self.cases(values))
            .collect();
        let areas = cases.iter().map(|cases| auroc(cases)).collect();
        let calls = scores.threshold.map(|threshold| {
            let mut calls = Calls::default();
            for case in cases.iter().flatten() {
                calls.add(case.unhealthy, case.score >= threshold.value);
            }
            calls
        });
        let (walk, threshold) = (scores.walk, scores.threshold);
        Classification {
            split: self.split,
            score: scores.score,
            encoding: walk.map(|(encoding, _)| encoding.name().to_owned()),
            guidance: walk.map(|(_, guidance)| guidance),
            decides: scores.decides,
            seeds: scores.seeds.clone(),
            patients: patients.len(),
            slices,
            unhealthy,
            threshold: threshold.map(|threshold| {
                let sign = if scores.score == SliceScore::Cosine {
                    -1.0
                } else {
                    1.0
                };
                sign * f64::from(threshold.value)
            }),
            threshold_from: threshold.map(|threshold| threshold.from.to_owned()),
            accuracy: calls.and_then(Calls::accuracy),
            base_rate: share(unhealthy.max(slices - unhealthy), slices),
            balanced_accuracy: calls.and_then(Calls::balanced_accuracy),
            sensitivity: calls.and_then(Calls::sensitivity),
            specificity: calls.and_then(Calls::specificity),
            auroc: Value::over_seeds(areas, auroc_interval(&cases, BOOTSTRAP_SEED)),
        }
    }

    fn cases(&self, values: &[f32]) -> Vec<Case> {
        let slices = self.patients.iter().zip(&self.unhealthy);
        slices
            .zip(values)
            .map(|((patient, unhealthy), score)| Case {
                score: *score,
                unhealthy: *unhealthy,
                patient: *patient,
            })
            .collect()
    }
}

/// Slices by what they are and what they are called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Calls {
    unhealthy: usize,
    unhealthy_right: usize,
    healthy: usize,
    healthy_right: usize,
}

impl Calls {
    fn add(&mut self, unhealthy: bool, called_unhealthy: bool) {
        let right = usize::from(unhealthy == called_unhealthy);
        if unhealthy {
            self.unhealthy += 1;
            self.unhealthy_right += right;
        } else {
            self.healthy += 1;
            self.healthy_right += right;
        }
    }

    fn accuracy(self) -> Option<f64> {
        share(
            self.unhealthy_right + self.healthy_right,
            self.unhealthy + self.healthy,
        )
    }

    fn sensitivity(self) -> Option<f64> {
        share(self.unhealthy_right, self.unhealthy)
    }

    fn specificity(self) -> Option<f64> {
        share(self.healthy_right, self.healthy)
    }

    fn balanced_accuracy(self) -> Option<f64> {
        Some(self.sensitivity()?.midpoint(self.specificity()?))
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six slices of three patients.
    fn slices() -> Slices {
        Slices {
            split: Split::Test,
            patients: vec![0, 0, 4, 4, 7, 7],
            unhealthy: vec![true, false, true, false, false, false],
        }
    }

    fn scores(score: SliceScore, values: Vec<Vec<f32>>, threshold: Option<f32>) -> Scores {
        Scores {
            score,
            walk: Some((Encoding::Ddim, 2.0)),
            decides: true,
            seeds: vec![0, 1],
            values,
            threshold: threshold.map(|value| Threshold {
                value,
                from: FROM_CALIBRATION,
            }),
        }
    }

    /// scikit-learn 1.9.1: `accuracy_score` 2/3, `balanced_accuracy_score` 0.625, `recall_score` 0.5 and 0.75 of the
    /// twelve calls; `roc_auc_score` 0.875 and 0.6875 of the two seeds.
    #[test]
    fn shares_are_over_seeds_and_areas_a_seed() {
        let cosines = [
            vec![0.2, 0.8, 0.6, 0.5, 0.9, 0.7],
            vec![0.4, 0.6, 0.7, 0.45, 0.9, 0.7],
        ];
        let values = cosines.iter().map(|seed| negated(seed)).collect();
        let found = slices().classify(&scores(SliceScore::Cosine, values, Some(-0.5)));
        assert_eq!((found.patients, found.slices, found.unhealthy), (3, 6, 2));
        assert_eq!(found.threshold, Some(0.5));
        assert_eq!(found.accuracy, Some(8.0 / 12.0));
        assert_eq!(found.base_rate, Some(4.0 / 6.0));
        assert_eq!(found.balanced_accuracy, Some(0.625));
        assert_eq!(found.sensitivity, Some(0.5));
        assert_eq!(found.specificity, Some(0.75));
        assert_eq!(found.auroc.per_seed, [Some(0.875), Some(0.6875)]);
        assert_eq!(found.auroc.mean, Some(0.78125));
        assert!(found.auroc.ci95.is_some());
    }

    #[test]
    fn slices_of_one_kind_have_no_area_and_a_threshold_is_not_invented() {
        let healthy = Slices {
            unhealthy: vec![false; 6],
            ..slices()
        };
        let values = vec![vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]];
        let trivial = trivial(SliceScore::BrainArea, values[0].clone(), &healthy);
        let found = healthy.classify(&trivial);
        assert_eq!((found.threshold, found.accuracy), (None, None));
        assert_eq!(found.base_rate, Some(1.0));
        assert_eq!((found.auroc.mean, found.auroc.ci95), (None, None));
        let found = healthy.classify(&scores(SliceScore::MseRatio, values, Some(3.0)));
        assert_eq!((found.sensitivity, found.balanced_accuracy), (None, None));
        assert_eq!(found.specificity, Some(2.0 / 6.0));
    }

    #[test]
    fn a_trivial_threshold_is_the_best_on_the_validation_slices() {
        let area = trivial(
            SliceScore::BrainArea,
            vec![40.0, 10.0, 30.0, 20.0, 5.0, 1.0],
            &slices(),
        );
        assert_eq!(area.threshold.map(|t| t.value), Some(25.0));
        assert_eq!(slices().classify(&area).accuracy, Some(1.0));
    }
}
