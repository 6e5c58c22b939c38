//! All figures of a run, by the sections of its report.

use std::collections::BTreeMap;

use anofpdm_common::metrics::setup::Setup;
use anofpdm_common::store::slices::Split;

use super::calls::{cosines, encoding_of, roc_of_slices, walks};
use super::{Figure, differences, loss, maps, patients, pixels, sizes, steps, sweeps};
use crate::report::exhibits::{BothSetups, Estimate, StrengthPoint, StrengthSweep};
use crate::report::marks;
use crate::report::slices::SlicesOfCell;
use crate::report::summary::{CalibrationRow, SliceScore, Summary};
use crate::report::training::Curves;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Which rows differ, and how firm their order is.
    pub differences: Vec<Figure>,
    pub classification: Vec<Figure>,
    /// Figures 2a to 2d.
    pub steps: Vec<Figure>,
    /// Figure 3.
    pub step_maps: Vec<Figure>,
    /// Figures 4 and 6.
    pub pictures: Vec<Figure>,
    /// Figures 5a to 5d.
    pub sweeps: Vec<Figure>,
    /// Our own of pixels, patients and sizes.
    pub pixels: Vec<Figure>,
    pub loss: Vec<Figure>,
}

impl Figures {
    pub fn of(summary: &Summary, curves: &BTreeMap<String, Curves>) -> Self {
        let exhibits = &summary.exhibits;
        let mut figures = Self::default();
        for paired in &summary.paired {
            figures
                .differences
                .extend(differences::significance(paired));
        }
        for ranking in &summary.ranking {
            figures.differences.extend(differences::ranks(ranking));
        }
        let table = &summary.slices;
        figures.classification.extend(roc_of_slices(table));
        for cell in walks(table) {
            let threshold = calibrated(summary, cell).map(|row| row.cos_threshold);
            figures
                .classification
                .extend(cosines(table, cell, threshold));
        }
        for traces in &exhibits.traces {
            figures
                .steps
                .extend([steps::fig2a(traces), steps::fig2b(traces)]);
        }
        let maxima = |cell: &SlicesOfCell| {
            calibrated(summary, cell).map_or_else(Vec::new, |row| row.max_divergence.clone())
        };
        let t = exhibits
            .traces
            .first()
            .map_or(&[][..], |traces| &traces.steps);
        let of_sizes = sizes::all(table, maxima, t);
        let (of_paper, own) = of_sizes
            .into_iter()
            .partition(|one| !one.of_paper.is_empty());
        figures.steps.extend::<Vec<Figure>>(of_paper);
        // The wide ones last, so that the others stand beside each other.
        figures
            .steps
            .extend(exhibits.traces.iter().filter_map(steps::fig2c));
        figures
            .step_maps
            .extend(exhibits.step_maps.iter().filter_map(maps::fig3));
        figures
            .pictures
            .extend(maps::fig4(&exhibits.pictures, &best_methods(summary)));
        for sweep in strengths(summary) {
            let base = base_rate(summary, &sweep.method);
            figures.sweeps.extend(sweeps::fig5a(&sweep, base));
            figures.sweeps.extend(sweeps::fig5b(&sweep));
        }
        figures
            .sweeps
            .extend(exhibits.end_steps.iter().filter_map(sweeps::fig5c));
        figures
            .sweeps
            .extend(exhibits.thresholds.iter().filter_map(sweeps::fig5d));
        figures
            .pixels
            .extend(pixels::precision_recall(&exhibits.pixel_curves));
        for setup in Setup::ALL {
            let of_patients = patients::dice_by_patient(&summary.per_patient, setup);
            figures.pixels.extend(of_patients);
        }
        figures.pixels.extend::<Vec<Figure>>(own);
        figures.loss.extend(loss::training(&summary.run, curves));
        figures
    }

    pub fn all(&self) -> impl Iterator<Item = &Figure> {
        [
            &self.differences,
            &self.classification,
            &self.steps,
            &self.step_maps,
            &self.pictures,
            &self.sweeps,
            &self.pixels,
            &self.loss,
        ]
        .into_iter()
        .flatten()
    }
}

/// What calibration decided for the walk of a cell.
fn calibrated<'a>(summary: &'a Summary, cell: &SlicesOfCell) -> Option<&'a CalibrationRow> {
    let encoding = encoding_of(&cell.method)?;
    let mut rows = summary.calibration.iter();
    rows.find(|row| row.encoding == encoding.name() && Some(row.guidance) == cell.guidance)
}

/// Numbers of the pictures' methods, the highest unhealthy DICE first.
pub fn best_methods(summary: &Summary) -> Vec<usize> {
    let methods = &summary.exhibits.pictures.methods;
    let dice = |method: &usize| {
        let id = &methods[*method];
        let mut rows = summary.rows.iter();
        let row = rows.find(|row| {
            row.setup == Setup::Unhealthy && row.method == id.method && row.guidance == id.guidance
        });
        row.and_then(|row| row.dice.mean).unwrap_or(0.0)
    };
    let mut numbers: Vec<usize> = (0..methods.len()).collect();
    numbers.sort_by(|a, b| dice(b).total_cmp(&dice(a)));
    numbers
}

fn base_rate(summary: &Summary, method: &str) -> Option<f64> {
    let encoding = encoding_of(method)?.name();
    let mut of_validation = summary.classification.iter();
    let found = of_validation
        .find(|one| one.split == Split::Validation && one.encoding.as_deref() == Some(encoding));
    found.and_then(|one| one.base_rate)
}

/// What is known of every strength: from the records, completed by what the summary says.
fn strengths(summary: &Summary) -> Vec<StrengthSweep> {
    let mut sweeps = summary.exhibits.strengths.clone();
    for row in summary.rows.iter().filter(|row| !marks::is_trivial(row)) {
        let whole_map = encoding_of(&row.method)
            .is_some_and(|encoding| row.method == format!("anofpdm-{}", encoding.name()));
        if whole_map && !sweeps.iter().any(|sweep| sweep.method == row.method) {
            sweeps.push(StrengthSweep {
                method: row.method.clone(),
                seed: row.seeds.first().copied().unwrap_or(0),
                ..StrengthSweep::default()
            });
        }
    }
    for sweep in &mut sweeps {
        complete(summary, sweep);
    }
    sweeps
}

fn complete(summary: &Summary, sweep: &mut StrengthSweep) {
    let Some(encoding) = encoding_of(&sweep.method).map(|encoding| encoding.name()) else {
        return;
    };
    let calibrated = summary.calibration.iter();
    let calibrated: Vec<&CalibrationRow> =
        calibrated.filter(|row| row.encoding == encoding).collect();
    for row in &calibrated {
        if !sweep
            .points
            .iter()
            .any(|point| point.guidance == row.guidance)
        {
            sweep.points.push(StrengthPoint {
                guidance: row.guidance,
                ..StrengthPoint::default()
            });
        }
    }
    sweep
        .points
        .sort_by(|a, b| a.guidance.total_cmp(&b.guidance));
    if calibrated.len() > 1 {
        let chosen = calibrated.iter().find(|row| row.selected);
        sweep.selected = sweep.selected.or(chosen.map(|row| row.guidance));
    }
    for point in &mut sweep.points {
        let row = calibrated.iter().find(|row| row.guidance == point.guidance);
        point.validation_accuracy = point.validation_accuracy.or(row.map(|row| row.accuracy));
        let mut of_test = summary.classification.iter();
        let of_test = of_test.find(|one| {
            one.split == Split::Test
                && one.score == SliceScore::Cosine
                && one.encoding.as_deref() == Some(encoding)
                && one.guidance == Some(point.guidance)
        });
        point.test_accuracy = point.test_accuracy.or(of_test.and_then(|one| one.accuracy));
        let of_table = |setup: Setup| {
            let mut rows = summary.rows.iter();
            let row = rows.find(|row| {
                row.setup == setup
                    && row.method == sweep.method
                    && row.guidance == Some(point.guidance)
            })?;
            Some(Estimate {
                mean: row.dice.mean?,
                ci95: row.dice.ci95,
            })
        };
        point.dice = BothSetups {
            mixed: point.dice.mixed.or_else(|| of_table(Setup::Mixed)),
            unhealthy: point.dice.unhealthy.or_else(|| of_table(Setup::Unhealthy)),
        };
    }
    let mut rows = summary.rows.iter();
    let empty = rows.find(|row| row.setup == Setup::Mixed && row.method == marks::ALL_EMPTY);
    sweep.all_empty = sweep.all_empty.or(empty.and_then(|row| row.dice.mean));
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::report::tests::summary;

    fn calibration(guidance: f64, selected: bool) -> CalibrationRow {
        CalibrationRow {
            encoding: "ddim".to_owned(),
            guidance,
            cos_threshold: 0.9,
            accuracy: 0.75,
            max_divergence: vec![0.02],
            selected,
        }
    }

    #[test]
    fn strengths_are_completed_from_the_summary() {
        let mut summary = summary();
        summary.calibration = vec![calibration(2.0, true), calibration(0.5, false)];
        let found = strengths(&summary);
        assert_eq!(found.len(), 1);
        let points: Vec<(f64, Option<f64>, Option<f64>)> = found[0]
            .points
            .iter()
            .map(|point| {
                let mixed = point.dice.mixed.map(|one| one.mean);
                (point.guidance, point.validation_accuracy, mixed)
            })
            .collect();
        assert_eq!(
            points,
            [(0.5, Some(0.75), None), (2.0, Some(0.75), Some(0.7212))]
        );
        assert_eq!(found[0].selected, Some(2.0));
    }

    #[test]
    fn every_figure_has_words_and_a_name_of_its_own() {
        let mut summary = summary();
        summary.exhibits = samples::exhibits(&["anofpdm-ddim", "gradient"]);
        summary.slices = sizes::tests::table();
        summary.exhibits.step_maps.truncate(1);
        let figures = Figures::of(&summary, &BTreeMap::new());
        let mut names: Vec<&str> = figures.all().map(|figure| figure.name.as_str()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "{names:?}");
        for paper in ["2a", "2b", "2c", "2d", "3", "5a", "5b", "5c", "5d"] {
            let name = format!("Figure {paper}");
            assert!(
                figures.all().any(|figure| figure.of_paper == name),
                "{name}"
            );
        }
        assert!(
            figures
                .all()
                .any(|figure| figure.of_paper == "Figures 4 and 6")
        );
        for figure in figures.all() {
            assert!(!figure.title.is_empty() && !figure.caption.is_empty());
            let words = &figure.description;
            assert!(
                words.chars().any(|c| c.is_ascii_digit()) || words.contains("No two"),
                "{words}"
            );
            assert!(!words.contains("NaN") && !words.contains("inf"), "{words}");
        }
    }
}
