//! Precision and recall of pooled pixels, of the first cell of each row.

use anofpdm_common::metrics::histogram_ap::ScoreHistogram;
use anofpdm_common::metrics::overlap::{Overlap, PooledOverlap};

use super::Sources;
use crate::evaluate::rows::row_of;
use crate::report::exhibits::{PixelCurve, PixelPoint};
use crate::report::slices::SlicesOfCell;

/// Points of a curve.
const POINTS: usize = 200;

pub(super) fn pixel_curves(sources: &Sources<'_>) -> Vec<PixelCurve> {
    let plan = &sources.scored.plan;
    let mut found: Vec<PixelCurve> = Vec::new();
    for cell in plan.cells.iter().filter(|cell| cell.output.counts()) {
        let Some(row) = row_of(sources.scored, cell) else {
            continue;
        };
        if found.iter().any(|one| one.row == row) {
            continue;
        }
        let of_row = |one: &&SlicesOfCell| one.method == row.method && one.guidance == row.guidance;
        let Some(of_table) = sources.table.cells.iter().find(of_row) else {
            continue;
        };
        let result = sources.methods.iter().find(|method| {
            let first = method.rows.first();
            first.is_some_and(|measured| measured.row.id() == row)
        });
        let pixels = result.map(|method| &method.pixels);
        if let Some((points, prevalence)) = pixels.and_then(curve) {
            found.push(PixelCurve {
                row,
                seed: of_table.cell.seed,
                points,
                at_work: at_work(of_table),
                prevalence,
            });
        }
    }
    found
}

/// From the highest threshold down, and the share of lesion pixels; `None` without pixels of either kind.
fn curve(pixels: &ScoreHistogram) -> Option<(Vec<PixelPoint>, f64)> {
    let positives: u64 = pixels.bins().iter().map(|bin| bin.positives).sum();
    let all: u64 = positives + pixels.bins().iter().map(|bin| bin.negatives).sum::<u64>();
    if positives == 0 || positives == all {
        return None;
    }
    let (mut right, mut predicted) = (0_u64, 0_u64);
    let mut points: Vec<PixelPoint> = Vec::new();
    for bin in pixels.bins().iter().rev() {
        right += bin.positives;
        predicted += bin.positives + bin.negatives;
        let point = PixelPoint {
            recall: right as f64 / positives as f64,
            precision: right as f64 / predicted as f64,
        };
        let apart = |last: &PixelPoint| {
            point.recall - last.recall >= 1.0 / POINTS as f64
                || (point.precision - last.precision).abs() >= 1.0 / POINTS as f64
        };
        if right == positives || points.last().is_none_or(apart) {
            points.push(point);
            if right == positives {
                break;
            }
        }
    }
    Some((points, positives as f64 / all as f64))
}

/// Of all pixels of the masks as the mixed set-up counts them.
fn at_work(cell: &SlicesOfCell) -> Option<PixelPoint> {
    let mut pooled = PooledOverlap::default();
    for slice in &cell.cell.slices {
        let overlap: Overlap = slice.overlap;
        pooled.add(match slice.called_unhealthy {
            true => overlap,
            false => overlap.emptied(),
        });
    }
    (pooled.predicted > 0 && pooled.truth > 0).then(|| PixelPoint {
        recall: pooled.intersection as f64 / pooled.truth as f64,
        precision: pooled.intersection as f64 / pooled.predicted as f64,
    })
}

#[cfg(test)]
mod tests {
    use anofpdm_common::metrics::histogram_ap::Resolution;

    use super::*;

    /// As runs hold them: the bits of the score, then the label.
    const fn score_key(score: f32, label: bool) -> u32 {
        score.to_bits() << 1 | label as u32
    }

    #[test]
    fn a_curve_falls_from_the_highest_score() {
        let mut run = [
            (0.9, true),
            (0.8, true),
            (0.5, false),
            (0.4, true),
            (0.1, false),
        ]
        .map(|(score, set)| score_key(score, set));
        run.sort_unstable();
        let pixels = ScoreHistogram::from_run(&run, Resolution::Coarse);
        let (points, prevalence) = curve(&pixels).unwrap();
        let seen: Vec<(f64, f64)> = points.iter().map(|p| (p.recall, p.precision)).collect();
        let third = 1.0 / 3.0;
        assert_eq!(
            seen,
            [
                (third, 1.0),
                (2.0 * third, 1.0),
                (2.0 * third, 2.0 * third),
                (1.0, 0.75)
            ]
        );
        assert_eq!(prevalence, 0.6);
        let healthy = ScoreHistogram::from_run(&[score_key(0.5, false)], Resolution::Coarse);
        assert_eq!(curve(&healthy), None);
    }
}
