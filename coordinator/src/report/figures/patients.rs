//! DICE of every patient, method by method.

use anofpdm_common::metrics::setup::Setup;

use super::{Csv, Figure, WIDTH, counted, name_of, number, percent, quantile, sorted};
use crate::report::drawing::axis::Axis;
use crate::report::drawing::chart::{Chart, Dot, Look};
use crate::report::drawing::{Colour, Stroke};
use crate::report::statistics::{PatientResult, RowId};

/// Patients beyond whom lines would hide each other.
const MOST_LINES: usize = 40;

/// `None` where no patient has a value.
pub fn dice_by_patient(patients: &[PatientResult], setup: Setup) -> Option<Figure> {
    let patients: Vec<&PatientResult> = patients
        .iter()
        .filter(|patient| patient.setup == setup)
        .collect();
    let mut rows: Vec<RowId> = Vec::new();
    for row in patients.iter().flat_map(|patient| &patient.rows) {
        let id = RowId {
            method: row.method.clone(),
            guidance: row.guidance,
        };
        if !rows.contains(&id) {
            rows.push(id);
        }
    }
    if rows.is_empty() {
        return None;
    }
    let of = |patient: &PatientResult, row: &RowId| {
        let mut of_rows = patient.rows.iter();
        of_rows
            .find(|one| one.method == row.method && one.guidance == row.guidance)
            .map(|one| one.dice)
    };
    let names: Vec<String> = rows.iter().map(name_of).collect();
    let mut chart = Chart::new(
        Axis::linear("DICE of a patient", 0.0, 1.0),
        Axis::names("", &names),
    );
    let mut csv = Csv::new("patient,method,w,dice");
    if patients.len() <= MOST_LINES {
        for patient in &patients {
            let line = rows.iter().enumerate().map(|(place, row)| {
                let dice = of(patient, row).unwrap_or(f64::NAN);
                [dice, place as f64]
            });
            let stroke = Stroke::new(Colour::Faint, 1.0).faint(0.35);
            chart.line("", line.collect(), stroke);
        }
    }
    let mut words = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        let look = Look::of(place);
        let mut dots = Vec::new();
        for (number_of, patient) in patients.iter().enumerate() {
            let Some(dice) = of(patient, row) else {
                continue;
            };
            csv.row([
                patient.patient.clone(),
                row.method.clone(),
                number(row.guidance),
                number(Some(dice)),
            ]);
            // A little apart, always in the same way.
            let apart = 0.24 * ((number_of * 7 % 11) as f64 / 5.0 - 1.0);
            dots.push(Dot {
                hint: format!(
                    "{}, {}: {}",
                    patient.patient,
                    names[place],
                    percent(Some(dice))
                ),
                ..Dot::at(dice, place as f64 + apart)
            });
        }
        let values = sorted(dots.iter().map(|dot| dot.at[0]));
        let shares = [0.1, 0.25, 0.5, 0.75, 0.9].map(|share| quantile(&values, share));
        if let [Some(a), Some(b), Some(c), Some(d), Some(e)] = shares {
            words.push(format!(
                "{}: median {}, from {} to {}",
                names[place],
                percent(Some(c)),
                percent(values.first().copied()),
                percent(values.last().copied())
            ));
            if values.len() >= 4 {
                chart.quartiles(place as f64, [a, b, c, d, e], Colour::Ink);
            }
        }
        chart.dots("", dots, look);
    }
    Some(Figure {
        name: format!("patients-{}", setup.name()),
        of_paper: "",
        title: format!("DICE of each patient, {}", setup.name()),
        caption: format!(
            "{}; mean over slices and seeds. Boxes: quartiles, with the 10 and 90 % quantiles; lines join a patient.",
            counted(patients.len(), "patient")
        ),
        description: format!("DICE in percent. {}.", words.join("; ")),
        drawing: chart.drawing(WIDTH, 90.0 + 38.0 * rows.len() as f64),
        data: csv.done(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::statistics::PatientRow;

    #[test]
    fn a_dot_a_patient_and_method() {
        let patient = |number: u32, dice: f64| PatientResult {
            patient: format!("p{number}"),
            setup: Setup::Mixed,
            slices: 3,
            truth: 9,
            whole: true,
            rows: vec![PatientRow {
                method: "gradient".to_owned(),
                guidance: Some(2.0),
                dice,
                iou: 0.1,
                auprc: None,
                predicted: 1.0,
            }],
        };
        let patients = [patient(0, 0.2), patient(1, 0.4), patient(2, 0.9)];
        let figure = dice_by_patient(&patients, Setup::Mixed).unwrap();
        assert!(
            figure
                .description
                .contains("gradient (w 2): median 40.0, from 20.0 to 90.0")
        );
        assert_eq!(figure.data.lines().count(), 4);
        assert_eq!(dice_by_patient(&patients, Setup::Unhealthy), None);
    }
}
