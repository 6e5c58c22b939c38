//! Rows of the runs beside each other, counted anew over the slices that all have.

use anofpdm_common::metrics::bootstrap::{
    PatientSums, interval, mean_draws, mean_interval, patient_sums,
};
use anofpdm_common::metrics::evaluate::section;
use anofpdm_common::metrics::overlap::Overlap;
use anofpdm_common::metrics::setup::{Setup, SliceStatistics};

use super::common_slices::Common;
use super::compared::{ChangedSlice, ComparedPatient, ComparedRow, PairedRuns, RunPair, label};
use super::opened::Opened;
use crate::evaluate::difference::{Reach, Side, correct, difference};
use crate::evaluate::measured::BOOTSTRAP_SEED;
use crate::report::statistics::RowId;
use crate::report::summary::{Row, Value};

/// One method in every run, in one set-up.
pub(super) struct Aligned<'a> {
    pub(super) method: &'a str,
    pub(super) setup: Setup,
    /// Of each run.
    rows: Vec<Option<&'a Row>>,
    /// Of each run that has the row slice by slice.
    counted: Vec<Option<Counted>>,
}

/// A row over the common slices.
struct Counted {
    dice: Value,
    iou: Value,
    sums: PatientSums,
    draws: Vec<f64>,
    /// DICE of each slice of the set-up by place in the common list, mean over seeds.
    slices: Vec<(usize, f64)>,
}

impl Counted {
    fn new(seeds: &[Vec<SliceStatistics>], setup: Setup) -> Self {
        let all: Vec<SliceStatistics> = seeds.iter().flatten().copied().collect();
        let sums = patient_sums(&all, setup, Overlap::dice);
        let iou_sums = patient_sums(&all, setup, Overlap::iou);
        let draws = mean_draws(&sums, BOOTSTRAP_SEED).unwrap_or_default();
        let (dice, iou) = seeds
            .iter()
            .map(|slices| section(slices, None, setup))
            .map(|section| (section.dice, section.iou))
            .unzip();
        let first = seeds.first().map_or(&[][..], Vec::as_slice);
        let slices = setup.indices(first).into_iter().map(|place| {
            let each = seeds
                .iter()
                .map(|slices| setup.overlap(&slices[place]).dice());
            (place, each.sum::<f64>() / seeds.len() as f64)
        });
        Self {
            dice: Value::over_seeds(dice, interval(&draws)),
            iou: Value::over_seeds(iou, mean_interval(&iou_sums, BOOTSTRAP_SEED)),
            slices: slices.collect(),
            sums,
            draws,
        }
    }

    fn patient(&self, patient: u32) -> Option<f64> {
        let (sum, count) = self.sums.get(&patient)?;
        Some(sum / *count as f64)
    }
}

/// Rows of the same method are the same row where every run has one at most; else those of the same strength are.
pub(super) fn align<'a>(runs: &'a [Opened], common: &Common<'_>) -> Vec<Aligned<'a>> {
    let mut found = Vec::new();
    for setup in Setup::ALL {
        let of_runs: Vec<Vec<&Row>> = runs
            .iter()
            .map(|run| {
                let rows = run.summary.rows.iter();
                rows.filter(|row| row.setup == setup).collect()
            })
            .collect();
        let mut known: Vec<(&str, Option<f64>)> = Vec::new();
        for row in of_runs.iter().flatten() {
            let of_method = |rows: &Vec<&Row>| {
                let same = rows.iter().filter(|one| one.method == row.method);
                same.count()
            };
            let single = of_runs.iter().all(|rows| of_method(rows) <= 1);
            let same =
                |one: &Row| one.method == row.method && (single || one.guidance == row.guidance);
            let key = (row.method.as_str(), row.guidance.filter(|_| !single));
            if known.contains(&key) {
                continue;
            }
            known.push(key);
            let rows: Vec<Option<&Row>> = of_runs
                .iter()
                .map(|rows| rows.iter().copied().find(|one| same(one)))
                .collect();
            let counted = runs.iter().zip(&common.places).zip(&rows);
            let counted = counted.map(|((run, places), row)| {
                let row = row.filter(|row| !row.seeds.is_empty())?;
                let seeds = run.statistics(row, places, &common.patients)?;
                Some(Counted::new(&seeds, setup))
            });
            found.push(Aligned {
                method: &row.method,
                setup,
                counted: counted.collect(),
                rows,
            });
        }
    }
    found
}

impl Aligned<'_> {
    /// The row as it is shown; `None` where slices were left out and it is not known slice by slice.
    pub(super) fn compared(&self, intersected: bool) -> Option<ComparedRow> {
        if intersected && self.counted.iter().all(Option::is_none) {
            return None;
        }
        let told = |of: fn(&Row) -> &Value| -> Vec<Option<Value>> {
            let rows = self.rows.iter();
            rows.map(|row| row.map(|row| of(row).clone())).collect()
        };
        let counted = |of: fn(&Counted) -> &Value| -> Vec<Option<Value>> {
            let counted = self.counted.iter();
            counted
                .map(|one| one.as_ref().map(|one| of(one).clone()))
                .collect()
        };
        let [dice, iou, auprc] = match intersected {
            false => [
                told(|row| &row.dice),
                told(|row| &row.iou),
                told(|row| &row.auprc),
            ],
            true => [
                counted(|one| &one.dice),
                counted(|one| &one.iou),
                vec![None; self.rows.len()],
            ],
        };
        Some(ComparedRow {
            method: self.method.to_owned(),
            guidance: self
                .rows
                .iter()
                .map(|row| row.and_then(|row| row.guidance))
                .collect(),
            setup: self.setup,
            pixel_labels: self.rows.iter().flatten().any(|row| row.pixel_labels),
            dice,
            iou,
            auprc,
        })
    }

    /// Every two runs that have the row, the later one first.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let there = |run: usize| self.counted[run].is_some();
        let runs =
            (0..self.counted.len()).flat_map(|first| (0..first).map(move |second| (first, second)));
        runs.filter(move |(first, second)| there(*first) && there(*second))
    }

    fn side(&self, run: usize) -> Option<(&Counted, Side<'_>)> {
        let counted = self.counted.get(run)?.as_ref()?;
        let guidance = self.rows.get(run)?.and_then(|row| row.guidance);
        let side = Side {
            id: RowId {
                method: self.method.to_owned(),
                guidance,
            },
            mean: counted.dice.mean,
            draws: &counted.draws,
        };
        Some((counted, side))
    }

    fn pair(&self, first: usize, second: usize) -> Option<RunPair> {
        let (one, one_side) = self.side(first)?;
        let (other, other_side) = self.side(second)?;
        // The same slices, so the same patients.
        let patients = one.sums.keys();
        let differences: Vec<f64> = patients
            .filter_map(|patient| Some(one.patient(*patient)? - other.patient(*patient)?))
            .collect();
        Some(RunPair {
            first_run: label(first),
            second_run: label(second),
            comparison: difference(one_side, other_side, &differences)?,
        })
    }
}

/// The paired differences of each set-up that has some.
pub(super) fn paired(rows: &[Aligned<'_>]) -> Vec<PairedRuns> {
    let of_setup = |setup: Setup| {
        let rows = rows.iter().filter(move |row| row.setup == setup);
        let mut comparisons: Vec<RunPair> = rows
            .clone()
            .flat_map(|row| {
                row.pairs()
                    .filter_map(|(first, second)| row.pair(first, second))
            })
            .collect();
        correct(comparisons.iter_mut().map(|pair| &mut pair.comparison));
        let counted = rows.flat_map(|row| &row.counted).flatten().next();
        let patients = counted.map_or(0, |counted| counted.sums.len());
        let reach = Reach::of(patients, comparisons.len());
        (!comparisons.is_empty()).then_some(PairedRuns {
            setup,
            patients,
            smallest_p: reach.smallest_p,
            smallest_adjusted_p: reach.smallest_adjusted_p,
            note: reach.note,
            comparisons,
        })
    };
    Setup::ALL.into_iter().filter_map(of_setup).collect()
}

/// Each patient in each row that two runs have.
pub(super) fn patients(rows: &[Aligned<'_>], common: &Common<'_>) -> Vec<ComparedPatient> {
    let mut found = Vec::new();
    for row in rows.iter().filter(|row| row.pairs().next().is_some()) {
        for (number, name) in (0..).zip(&common.patient_names) {
            let of_runs = row.counted.iter();
            let dice: Vec<Option<f64>> = of_runs
                .map(|counted| counted.as_ref()?.patient(number))
                .collect();
            if dice.iter().any(Option::is_some) {
                found.push(ComparedPatient {
                    patient: (*name).to_owned(),
                    setup: row.setup,
                    method: row.method.to_owned(),
                    dice,
                });
            }
        }
    }
    found
}

/// The `most` slices whose mixed DICE differs most between two runs.
pub(super) fn changed(
    rows: &[Aligned<'_>],
    common: &Common<'_>,
    runs: &[Opened],
    most: usize,
) -> Vec<ChangedSlice> {
    let mut found: Vec<ChangedSlice> = Vec::new();
    let by_change =
        |a: &ChangedSlice, b: &ChangedSlice| b.change().abs().total_cmp(&a.change().abs());
    for row in rows.iter().filter(|row| row.setup == Setup::Mixed) {
        for (first, second) in row.pairs() {
            let (Some(one), Some(other)) = (&row.counted[first], &row.counted[second]) else {
                continue;
            };
            let each = one.slices.iter().zip(&other.slices);
            let differ = each.filter(|((_, one), (_, other))| one != other);
            found.extend(differ.map(|((place, first_dice), (_, second_dice))| {
                let name = common.names[*place];
                let there = common.places[second][*place];
                let cells = &runs[second].slices.cells;
                let truth = cells.first().map(|cell| cell.outcomes[there].overlap.truth);
                ChangedSlice {
                    patient: name.patient.clone(),
                    subject: name.subject.clone(),
                    slice: name.slice,
                    truth: truth.unwrap_or(0),
                    method: row.method.to_owned(),
                    first_run: label(first),
                    second_run: label(second),
                    first: *first_dice,
                    second: *second_dice,
                }
            }));
            // What cannot be among them any more is not kept.
            found.sort_by(by_change);
            found.truncate(most);
        }
    }
    found
}
