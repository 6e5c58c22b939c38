//! What each patient was, and whether larger lesions get larger masks.

use std::collections::{BTreeMap, BTreeSet};

use anofpdm_common::metrics::setup::Setup;
use anofpdm_common::plan::SliceRef;
use anofpdm_common::statistics::{pearson, spearman};

use super::measured::Measured;
use crate::dataset::Dataset;
use crate::report::statistics::{PatientResult, PatientRow, WholeVolumes};

/// Patients of the test slices.
pub(super) struct Patients {
    names: BTreeMap<u32, String>,
    /// Those of whom every slice in the store is scored.
    whole: BTreeSet<u32>,
}

impl Patients {
    pub(super) fn of(dataset: &Dataset, slices: &[SliceRef]) -> Self {
        let mut scored = BTreeMap::<u32, usize>::new();
        for slice in slices {
            *scored.entry(dataset.patient(*slice)).or_default() += 1;
        }
        let mut there = BTreeMap::<u32, usize>::new();
        let mut names = BTreeMap::new();
        for (subject, record) in (0..).zip(&dataset.store().manifest().subjects) {
            let patient = dataset.patient(SliceRef {
                subject,
                position: 0,
            });
            if scored.contains_key(&patient) {
                *there.entry(patient).or_default() += record.slices;
                names
                    .entry(patient)
                    .or_insert_with(|| record.patient().to_owned());
            }
        }
        let whole = there
            .into_iter()
            .filter(|(patient, count)| scored.get(patient) == Some(count));
        Self {
            names,
            whole: whole.map(|(patient, _)| patient).collect(),
        }
    }

    /// Of the masks of a mixed row; `None` where no patient is whole.
    pub(super) fn volume(&self, measured: &Measured) -> Option<WholeVolumes> {
        if measured.row.setup != Setup::Mixed || self.whole.is_empty() {
            return None;
        }
        let pixels = measured.patients.pixels.iter();
        let (predicted, truth): (Vec<f64>, Vec<f64>) = pixels
            .filter(|(patient, _)| self.whole.contains(patient))
            .map(|(_, pixels)| (pixels.predicted as f64, pixels.truth as f64))
            .unzip();
        let whole = measured.patients.pixels.iter();
        let whole = whole.filter(|(patient, _)| self.whole.contains(patient));
        let dice: Vec<f64> = whole.map(|(_, pixels)| pixels.dice()).collect();
        Some(WholeVolumes {
            patients: predicted.len(),
            dice: (!dice.is_empty()).then(|| dice.iter().sum::<f64>() / dice.len() as f64),
            pearson: pearson(&predicted, &truth),
            spearman: spearman(&predicted, &truth),
        })
    }

    /// Every patient in every set-up, in the order of the store.
    pub(super) fn results(&self, rows: &[&Measured]) -> Vec<PatientResult> {
        let mut found = Vec::new();
        for setup in Setup::ALL {
            let rows: Vec<&Measured> = rows
                .iter()
                .copied()
                .filter(|measured| measured.row.setup == setup)
                .collect();
            for (patient, name) in &self.names {
                let of_rows: Vec<PatientRow> = rows
                    .iter()
                    .filter_map(|measured| patient_row(measured, *patient))
                    .collect();
                let first = rows.iter().find_map(|measured| {
                    let (_, slices) = measured.dice.get(patient)?;
                    let pixels = measured.patients.pixels.get(patient)?;
                    let seeds = measured.patients.seeds.max(1) as u64;
                    Some((slices / seeds, pixels.truth / seeds))
                });
                let Some((slices, truth)) = first else {
                    continue;
                };
                found.push(PatientResult {
                    patient: name.clone(),
                    setup,
                    slices,
                    truth,
                    whole: self.whole.contains(patient),
                    rows: of_rows,
                });
            }
        }
        found
    }
}

fn patient_row(measured: &Measured, patient: u32) -> Option<PatientRow> {
    let mean = |(sum, count): &(f64, u64)| sum / *count as f64;
    let numbers = &measured.patients;
    Some(PatientRow {
        method: measured.row.method.clone(),
        guidance: measured.row.guidance,
        dice: mean(measured.dice.get(&patient)?),
        iou: mean(numbers.iou.get(&patient)?),
        auprc: numbers.auprc.get(&patient).copied(),
        predicted: numbers.pixels.get(&patient)?.predicted as f64 / numbers.seeds.max(1) as f64,
    })
}
