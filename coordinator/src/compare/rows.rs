//! Rows of the runs beside each other, counted anew over the slices that all have.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

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
use crate::report::statistics::{Metric, RowId};
use crate::report::summary::{Row, Value};

/// One method in every run, in one set-up.
pub(super) struct Aligned<'a> {
    pub(super) method: &'a str,
    pub(super) setup: Setup,
    /// Of each run.
    rows: Vec<Option<&'a Row>>,
    /// Of each run that has the row slice by slice.
    counted: Vec<Option<Counted>>,
    /// AUPRC of each patient in each run; empty where slices were left out, since it is of all the patient's pixels.
    auprc: Vec<BTreeMap<&'a str, f64>>,
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
            let auprc = runs.iter().zip(&rows).map(|(run, row)| match row {
                Some(row) if !common.told.intersected => auprc_of_patients(run, row),
                _ => BTreeMap::new(),
            });
            found.push(Aligned {
                method: &row.method,
                setup,
                auprc: auprc.collect(),
                counted: counted.collect(),
                rows,
            });
        }
    }
    found
}

/// As the report has it: mean over seeds, of patients with a lesion.
fn auprc_of_patients<'a>(run: &'a Opened, row: &Row) -> BTreeMap<&'a str, f64> {
    let patients = run.summary.per_patient.iter();
    let of_setup = patients.filter(|patient| patient.setup == row.setup);
    let found = of_setup.filter_map(|patient| {
        let mut rows = patient.rows.iter();
        let same = rows.find(|one| one.method == row.method && one.guidance == row.guidance);
        Some((patient.patient.as_str(), same?.auprc?))
    });
    found.collect()
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
            guidance: self.strengths(),
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

    /// Of each run.
    fn strengths(&self) -> Vec<Option<f64>> {
        let rows = self.rows.iter();
        rows.map(|row| row.and_then(|row| row.guidance)).collect()
    }

    fn row_id(&self, run: usize) -> RowId {
        RowId {
            method: self.method.to_owned(),
            guidance: self.rows[run].and_then(|row| row.guidance),
        }
    }

    /// The slices that two runs made another DICE of; `number` is this row's.
    fn changes(&self, number: usize) -> impl Iterator<Item = Change> {
        self.pairs().flat_map(move |(first, second)| {
            let each = self.counted[first].iter().zip(&self.counted[second]);
            let slices = each.flat_map(|(one, other)| one.slices.iter().zip(&other.slices));
            slices.filter_map(move |((place, one), (_, other))| {
                (one != other).then_some(Change {
                    place: *place,
                    runs: [first, second],
                    row: number,
                    dice: [*one, *other],
                })
            })
        })
    }

    /// What two runs have of the row; `None` where one does not have it.
    fn values(&self, runs: [usize; 2], metric: Metric) -> Option<Values<'_>> {
        match metric {
            Metric::Dice => {
                let [one, other] = runs.map(|run| self.counted[run].as_ref());
                let (one, other) = (one?, other?);
                // The same slices, so the same patients.
                let patients = one.sums.keys();
                let differences = patients
                    .filter_map(|patient| Some(one.patient(*patient)? - other.patient(*patient)?));
                Some(Values {
                    means: [one, other].map(|counted| counted.dice.mean),
                    draws: [one, other].map(|counted| &counted.draws[..]),
                    differences: differences.collect(),
                })
            }
            Metric::Auprc => {
                let [one, other] = runs.map(|run| &self.auprc[run]);
                let patients = one.iter();
                let differences =
                    patients.filter_map(|(patient, value)| Some(value - other.get(patient)?));
                Some(Values {
                    means: runs.map(|run| self.rows[run].and_then(|row| row.auprc.mean)),
                    draws: [&[], &[]],
                    differences: differences.collect(),
                })
            }
        }
    }

    /// The first run less the second, with the number of patients; `None` without a patient of both.
    fn pair(&self, first: usize, second: usize, metric: Metric) -> Option<(RunPair, usize)> {
        let values = self.values([first, second], metric)?;
        let side = |which: usize, run: usize| Side {
            id: self.row_id(run),
            mean: values.means[which],
            draws: values.draws[which],
        };
        let pair = RunPair {
            first_run: label(first),
            second_run: label(second),
            comparison: difference(side(0, first), side(1, second), &values.differences)?,
        };
        Some((pair, values.differences.len()))
    }
}

/// A row by one metric in two runs.
struct Values<'a> {
    /// The numbers in the tables.
    means: [Option<f64>; 2],
    /// The same in each bootstrap resample; nothing where these are not known.
    draws: [&'a [f64]; 2],
    /// Patient by patient.
    differences: Vec<f64>,
}

/// The paired differences of each set-up and metric that has some.
pub(super) fn paired(rows: &[Aligned<'_>]) -> Vec<PairedRuns> {
    let mut found = Vec::new();
    for setup in Setup::ALL {
        for metric in Metric::ALL {
            let of_setup = rows.iter().filter(|row| row.setup == setup);
            let pairs = of_setup.flat_map(|row| {
                row.pairs()
                    .filter_map(move |(first, second)| row.pair(first, second, metric))
            });
            let (mut comparisons, patients): (Vec<RunPair>, Vec<usize>) = pairs.unzip();
            let Some(patients) = patients.into_iter().max() else {
                continue;
            };
            correct(comparisons.iter_mut().map(|pair| &mut pair.comparison));
            let reach = Reach::of(patients, comparisons.len());
            found.push(PairedRuns {
                setup,
                metric,
                patients,
                smallest_p: reach.smallest_p,
                smallest_adjusted_p: reach.smallest_adjusted_p,
                note: reach.note,
                comparisons,
            });
        }
    }
    found
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

/// A slice that two runs made another DICE of.
struct Change {
    /// Its place in the common list.
    place: usize,
    runs: [usize; 2],
    /// Number of the row.
    row: usize,
    dice: [f64; 2],
}

impl Change {
    fn size(&self) -> f64 {
        (self.dice[0] - self.dice[1]).abs()
    }

    fn named(&self, rows: &[Aligned<'_>], common: &Common<'_>, runs: &[Opened]) -> ChangedSlice {
        let row = &rows[self.row];
        let name = common.names[self.place];
        let [first, second] = self.runs;
        let there = common.places[second][self.place];
        let cells = &runs[second].slices.cells;
        let truth = cells.first().map(|cell| cell.outcomes[there].overlap.truth);
        ChangedSlice {
            patient: name.patient.clone(),
            subject: name.subject.clone(),
            slice: name.slice,
            truth: truth.unwrap_or(0),
            setup: row.setup,
            method: row.method.to_owned(),
            first_run: label(first),
            second_run: label(second),
            guidance: self.runs.map(|run| row.row_id(run).guidance),
            first: self.dice[0],
            second: self.dice[1],
        }
    }
}

/// Of each set-up the `most` slices whose DICE differs most between two runs, each in the row in which it does. Mixed is
/// about calls, unhealthy about masks.
pub(super) fn changed(
    rows: &[Aligned<'_>],
    common: &Common<'_>,
    runs: &[Opened],
    most: usize,
) -> Vec<ChangedSlice> {
    let of_setup = |setup: Setup| {
        // By slice and runs.
        let mut found: BTreeMap<(usize, [usize; 2]), Change> = BTreeMap::new();
        let of_setup = rows.iter().enumerate();
        for (number, row) in of_setup.filter(|(_, row)| row.setup == setup) {
            for change in row.changes(number) {
                match found.entry((change.place, change.runs)) {
                    Entry::Vacant(new) => {
                        new.insert(change);
                    }
                    Entry::Occupied(mut known) if change.size() > known.get().size() => {
                        known.insert(change);
                    }
                    Entry::Occupied(_) => {}
                }
            }
        }
        let mut found: Vec<Change> = found.into_values().collect();
        found.sort_by(|a, b| b.size().total_cmp(&a.size()));
        found.truncate(most);
        found
    };
    let found = Setup::ALL.into_iter().flat_map(of_setup);
    found
        .map(|change| change.named(rows, common, runs))
        .collect()
}
