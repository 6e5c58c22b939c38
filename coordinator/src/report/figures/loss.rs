//! Training loss, on a logarithmic scale.

use std::collections::BTreeMap;

use super::{Csv, Figure, WIDTH};
use crate::report::drawing::axis::Axis;
use crate::report::drawing::chart::{Chart, Look};
use crate::report::drawing::{Dash, Stroke};
use crate::report::training::{Curves, LossPoint};

/// The smoothed line is a mean over this share of the points on either side.
const SMOOTH: f64 = 0.04;

/// What has a place on a logarithmic scale.
fn usable(points: &[LossPoint]) -> Vec<LossPoint> {
    let usable = |point: &&LossPoint| point.loss.is_finite() && point.loss > 0.0;
    points.iter().filter(usable).copied().collect()
}

#[allow(clippy::cast_precision_loss)]
fn places(points: &[LossPoint]) -> Vec<[f64; 2]> {
    points
        .iter()
        .map(|one| [one.step as f64, one.loss])
        .collect()
}

/// `None` where no network was trained.
#[allow(clippy::cast_precision_loss)]
pub fn training(run: &str, curves: &BTreeMap<String, Curves>) -> Option<Figure> {
    let drawn: Vec<(&String, Vec<LossPoint>, Vec<LossPoint>)> = curves
        .iter()
        .map(|(network, curves)| (network, usable(&curves.train), usable(&curves.validation)))
        .filter(|(_, train, validation)| !train.is_empty() || !validation.is_empty())
        .collect();
    if drawn.is_empty() {
        return None;
    }
    let all = || drawn.iter().flat_map(|(_, a, b)| a.iter().chain(b));
    let last = all().map(|point| point.step).max().unwrap_or(1).max(1) as f64;
    let mut chart = Chart::new(
        Axis::linear("step", 0.0, last),
        Axis::logarithmic("loss", all().map(|point| point.loss)),
    );
    let mut csv = Csv::new("network,curve,step,loss");
    let mut words = Vec::new();
    for (index, (network, train, validation)) in drawn.iter().enumerate() {
        let colour = Look::of(index).colour;
        if let (Some(first), Some(last)) = (train.first(), train.last()) {
            let smooth = smoothed(train, reach(train.len()));
            chart.line("", places(train), Stroke::new(colour, 1.0).faint(0.35));
            let name = format!("{network}, training (smoothed)");
            chart.line(&name, places(&smooth), Stroke::new(colour, 2.0));
            let end = smooth.last().map_or(last.loss, |point| point.loss);
            words.push(format!(
                "{network}: training loss {:.4} at step {}, {end:.4} at step {}",
                first.loss, first.step, last.step
            ));
        }
        if let Some(last) = validation.last() {
            let name = format!("{network}, validation (EMA weights)");
            let look = Look {
                dash: Dash::Dashed,
                ..Look::of(index)
            };
            chart.series(&name, places(validation), look);
            words.push(format!(
                "{network}: validation loss {:.4} at step {}",
                last.loss, last.step
            ));
        }
        for (name, points) in [("train", train), ("validation", validation)] {
            for point in points {
                csv.row([
                    (*network).clone(),
                    name.to_owned(),
                    point.step.to_string(),
                    point.loss.to_string(),
                ]);
            }
        }
    }
    Some(Figure {
        name: "loss".to_owned(),
        of_paper: "",
        title: format!("Training loss of {run}"),
        caption: "Pale: as it was; strong: smoothed. The scale is logarithmic.".to_owned(),
        description: format!("{}.", words.join("; ")),
        drawing: chart.drawing(1.6 * WIDTH, 360.0),
        data: csv.done(),
    })
}

/// Points on either side that a smoothed one is a mean of.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss
)]
fn reach(points: usize) -> usize {
    ((points as f64 * SMOOTH) as usize).max(1)
}

/// Means over up to `reach` points on either side, as many on the one as on the other: geometric ones, as the scale is
/// logarithmic.
#[allow(clippy::cast_precision_loss)]
fn smoothed(points: &[LossPoint], reach: usize) -> Vec<LossPoint> {
    (0..points.len())
        .map(|at| {
            let side = reach.min(at).min(points.len() - 1 - at);
            let around = &points[at - side..=at + side];
            let sum: f64 = around.iter().map(|point| point.loss.ln()).sum();
            LossPoint {
                step: points[at].step,
                loss: (sum / around.len() as f64).exp(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(losses: impl IntoIterator<Item = f64>) -> Vec<LossPoint> {
        let points = (1..).zip(losses);
        points
            .map(|(step, loss)| LossPoint { step, loss })
            .collect()
    }

    fn of(train: Vec<LossPoint>, validation: Vec<LossPoint>) -> BTreeMap<String, Curves> {
        BTreeMap::from([("guided".to_owned(), Curves { train, validation })])
    }

    #[test]
    fn a_smoothed_line_is_a_mean_of_both_sides() {
        let raw = points([1.0, 4.0, 1.0, 4.0, 1.0]);
        let found = smoothed(&raw, 1);
        let expected = [1.0, 4_f64.powf(1.0 / 3.0), 4_f64.powf(2.0 / 3.0)];
        for (point, expected) in found.iter().zip(expected) {
            assert!((point.loss - expected).abs() < 1e-12, "{point:?}");
        }
        assert_eq!(found[4], raw[4], "there is nothing on the other side");
    }

    #[test]
    fn curves_come_with_their_ends() {
        let falling = (1..=800).map(|step| 0.9 / f64::from(step).sqrt() + 0.02);
        let figure = training("a<b", &of(points(falling), points([0.75, 0.5]))).unwrap();
        assert_eq!(figure.title, "Training loss of a<b");
        assert!(
            figure
                .description
                .contains("guided: validation loss 0.5000 at step 2")
        );
        assert_eq!(figure.data.lines().count(), 1 + 802);
    }

    #[test]
    fn nothing_trained_is_nothing_drawn() {
        assert_eq!(training("demo", &BTreeMap::new()), None);
        assert_eq!(
            training("demo", &of(points([f64::NAN, 0.0]), Vec::new())),
            None
        );
        // One point is a picture too.
        assert!(training("demo", &of(points([0.5]), Vec::new())).is_some());
    }
}
