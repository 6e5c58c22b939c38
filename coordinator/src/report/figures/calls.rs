//! Healthy or unhealthy: ROC curves of slices, and how the cosine lies.

use anofpdm_common::method::{Encoding, Method};

use super::{Csv, Figure, HEIGHT, WIDTH, counted, file_part, name_of, number, percent};
use crate::report::drawing::axis::Axis;
use crate::report::drawing::chart::{Chart, Look};
use crate::report::drawing::{Colour, Dash, Stroke};
use crate::report::slices::{SliceTable, SlicesOfCell};
use crate::report::statistics::RowId;

/// Bins of a histogram.
const BINS: usize = 30;

/// The encoding of a method of the AnoFPDM family.
pub fn encoding_of(method: &str) -> Option<Encoding> {
    let found = Method::ALL
        .into_iter()
        .find(|known| known.name() == method)?;
    found.forward().map(|(encoding, _)| encoding)
}

/// Walks with figures of their own; a sweep over strengths has more.
const MOST_WALKS: usize = 8;

/// For each encoding and strength the first cell: methods that share a walk share the cosines.
pub fn walks(table: &SliceTable) -> Vec<&SlicesOfCell> {
    let mut known: Vec<(Encoding, Option<f64>)> = Vec::new();
    let mut found = Vec::new();
    for cell in &table.cells {
        let Some(encoding) = encoding_of(&cell.method) else {
            continue;
        };
        let walk = (encoding, cell.guidance);
        if !known.contains(&walk) && cell.cell.slices.len() == table.slices.len() {
            known.push(walk);
            found.push(cell);
        }
    }
    found.truncate(MOST_WALKS);
    found
}

pub(super) fn row_of(cell: &SlicesOfCell) -> RowId {
    RowId {
        method: cell.method.clone(),
        guidance: cell.guidance,
    }
}

/// Name, seed and, slice by slice, a score with whether the slice is unhealthy.
type Scores = (String, Option<u64>, Vec<(f64, bool)>);

/// Shares called unhealthy of the healthy and of the unhealthy slices, from the highest threshold down; and the area.
#[allow(clippy::cast_precision_loss)]
fn roc(cases: &[(f64, bool)]) -> Option<(Vec<[f64; 2]>, f64)> {
    let mut cases: Vec<(f64, bool)> = cases.to_vec();
    cases.sort_by(|a, b| b.0.total_cmp(&a.0));
    let unhealthy = cases.iter().filter(|case| case.1).count();
    let healthy = cases.len() - unhealthy;
    if unhealthy == 0 || healthy == 0 {
        return None;
    }
    let mut points = vec![[0.0, 0.0]];
    let (mut right, mut wrong, mut area) = (0_usize, 0_usize, 0.0);
    for tied in cases.chunk_by(|a, b| a.0 == b.0) {
        let hits = tied.iter().filter(|case| case.1).count();
        right += hits;
        wrong += tied.len() - hits;
        let point = [
            wrong as f64 / healthy as f64,
            right as f64 / unhealthy as f64,
        ];
        let last = points.last().copied().unwrap_or_default();
        area += (point[0] - last[0]) * f64::midpoint(point[1], last[1]);
        points.push(point);
    }
    Some((points, area))
}

/// ROC of the cosine of each walk's first cell, and of brain area; `None` where slices are of one kind.
pub fn roc_of_slices(table: &SliceTable) -> Option<Figure> {
    let mut chart = Chart::new(
        Axis::linear("healthy slices called unhealthy", 0.0, 1.0),
        Axis::linear("unhealthy slices called so", 0.0, 1.0),
    );
    let mut csv = Csv::new("number,seed,false_positive_rate,true_positive_rate");
    let mut words = Vec::new();
    let mut curves: Vec<Scores> = walks(table)
        .into_iter()
        .map(|cell| {
            let cases = cell.cell.slices.iter().zip(&table.slices);
            // The lower the cosine, the more a slice looks unhealthy.
            let cases =
                cases.filter_map(|(slice, name)| Some((-f64::from(slice.cosine?), name.unhealthy)));
            let name = format!("cosine, {}", name_of(&row_of(cell)));
            (name, cell.cell.seed, cases.collect())
        })
        .collect();
    let areas = table.slices.iter();
    let areas = areas.map(|slice| (f64::from(slice.brain_area), slice.unhealthy));
    curves.push(("brain area alone".to_owned(), None, areas.collect()));
    for (index, (name, seed, cases)) in curves.iter().enumerate() {
        let (points, area) = roc(cases)?;
        let look = Look::of(if index + 1 == curves.len() { 6 } else { index });
        for [wrong, right] in &points {
            csv.row([
                name.clone(),
                seed.map_or_else(String::new, |seed| seed.to_string()),
                number(Some(*wrong)),
                number(Some(*right)),
            ]);
        }
        words.push(format!("{name}: AUROC {area:.3}"));
        let stroke = Stroke::new(look.colour, 2.0).dashed(look.dash);
        chart.line(&format!("{name} ({area:.2})"), points, stroke);
    }
    let chance = Stroke::new(Colour::Faint, 1.0).dashed(Dash::Dashed);
    chart.line("", vec![[0.0, 0.0], [1.0, 1.0]], chance);
    Some(Figure {
        name: "roc-slices".to_owned(),
        of_paper: "",
        title: "ROC of healthy or unhealthy".to_owned(),
        caption: format!(
            "{}, first seed of each; in brackets the area. Dashed: chance.",
            counted(table.slices.len(), "test slice")
        ),
        description: format!("{}.", words.join("; ")),
        drawing: chart.drawing(WIDTH, HEIGHT + 40.0),
        data: csv.done(),
    })
}

/// Histogram of the cosines of a cell by what slices are, with the threshold Cos_w where it is known.
#[allow(clippy::cast_precision_loss)]
pub fn cosines(table: &SliceTable, cell: &SlicesOfCell, threshold: Option<f64>) -> Option<Figure> {
    let of = |unhealthy: bool| -> Vec<f64> {
        let slices = cell.cell.slices.iter().zip(&table.slices);
        let wanted = slices.filter(|(_, name)| name.unhealthy == unhealthy);
        let cosines = wanted.filter_map(|(slice, _)| slice.cosine);
        super::sorted(cosines.map(f64::from))
    };
    let kinds = [of(false), of(true)];
    let all = super::sorted(kinds.iter().flatten().copied().chain(threshold));
    let (low, high) = (*all.first()?, *all.last()?);
    let apart = ((high - low) / BINS as f64).max(1e-9);
    let binned = |values: &[f64]| -> Vec<[f64; 3]> {
        let mut counts = [0_usize; BINS];
        for value in values {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let bin = ((value - low) / apart) as usize;
            counts[bin.min(BINS - 1)] += 1;
        }
        let bins = counts.iter().enumerate();
        bins.map(|(bin, count)| {
            let from = low + apart * bin as f64;
            [
                from,
                from + apart,
                *count as f64 / values.len().max(1) as f64,
            ]
        })
        .collect()
    };
    let bars = kinds.each_ref().map(|values| binned(values));
    let heights = bars.iter().flatten().map(|bar| bar[2]);
    let mut chart = Chart::new(
        Axis::linear(
            "cosine of MSE^h and MSE^null",
            low,
            low + apart * BINS as f64,
        ),
        Axis::shares("share of the slices", heights),
    );
    let mut csv = Csv::new("kind,from,to,share");
    let mut words = Vec::new();
    for (index, name) in ["healthy", "unhealthy"].into_iter().enumerate() {
        for [from, to, share] in &bars[index] {
            csv.row([
                name.to_owned(),
                number(Some(*from)),
                number(Some(*to)),
                number(Some(*share)),
            ]);
        }
        let count = kinds[index].len();
        let middle = super::quantile(&kinds[index], 0.5);
        if let Some(middle) = middle {
            words.push(format!("{count} {name} slices, median {middle:.4}"));
        }
        let name = format!("{count} {name}");
        chart.bars(
            &name,
            bars[index].clone(),
            Look::of(index).colour,
            index == 1,
        );
    }
    if let Some(threshold) = threshold {
        let stroke = Stroke::new(Colour::Ink, 1.4).dashed(Dash::Dashed);
        chart.vertical("Cos_w", threshold, stroke);
        words.push(format!("threshold {threshold:.5}"));
        for (name, values) in ["healthy", "unhealthy"].into_iter().zip(&kinds) {
            let called = values.iter().filter(|value| **value <= threshold).count();
            let share = called as f64 / values.len().max(1) as f64;
            words.push(format!(
                "{} % of the {name} lie at or below it",
                percent(Some(share))
            ));
        }
    }
    let row = row_of(cell);
    let seed = cell
        .cell
        .seed
        .map_or_else(String::new, |seed| format!(", seed {seed}"));
    Some(Figure {
        name: format!("cosine-{}", file_part(&row)),
        of_paper: "",
        title: "How the cosine lies".to_owned(),
        caption: format!(
            "{}{seed}. Slices at or below Cos_w are called unhealthy.",
            name_of(&row)
        ),
        description: format!("{}.", words.join("; ")),
        drawing: chart.drawing(WIDTH, HEIGHT),
        data: csv.done(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_counts_ties_half() {
        let area = |cases: &[(f64, bool)]| roc(cases).map(|found| found.1);
        assert_eq!(area(&[(2.0, true), (1.0, false)]), Some(1.0));
        assert_eq!(area(&[(1.0, true), (1.0, false)]), Some(0.5));
        assert_eq!(area(&[(0.0, true), (1.0, false), (-1.0, false)]), Some(0.5));
        assert_eq!(area(&[(1.0, true)]), None);
    }

    #[test]
    fn methods_of_one_walk_are_drawn_once() {
        let table = super::super::sizes::tests::table();
        assert_eq!(walks(&table).len(), 1);
        let figure = roc_of_slices(&table).unwrap();
        assert!(
            figure
                .description
                .contains("cosine, anofpdm-ddim (w 2): AUROC")
        );
        let figure = cosines(&table, walks(&table)[0], Some(0.5)).unwrap();
        assert!(
            figure.description.contains("threshold 0.50000"),
            "{}",
            figure.description
        );
        assert_eq!(figure.data.lines().count(), 1 + 2 * BINS);
    }
}
