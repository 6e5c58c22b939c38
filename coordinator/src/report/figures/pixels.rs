//! Precision and recall of pooled pixels at every threshold.

use super::{Csv, Figure, HEIGHT, WIDTH, counted, name_of, number, percent};
use crate::report::drawing::axis::Axis;
use crate::report::drawing::chart::{Chart, Dot, Look};
use crate::report::drawing::{Colour, Dash, Stroke};
use crate::report::exhibits::PixelCurve;

/// Curves drawn; the CSV has all.
const MOST: usize = 8;

/// `None` without curves.
pub fn precision_recall(curves: &[PixelCurve]) -> Option<Figure> {
    let drawn: Vec<&PixelCurve> = curves
        .iter()
        .filter(|curve| !curve.points.is_empty())
        .collect();
    if drawn.is_empty() {
        return None;
    }
    let precisions = drawn.iter().flat_map(|curve| {
        let points = curve.points.iter().chain(&curve.at_work);
        points
            .map(|point| point.precision)
            .chain([curve.prevalence])
    });
    let mut chart = Chart::new(
        Axis::linear("recall", 0.0, 1.0),
        Axis::shares("precision", precisions),
    );
    let mut csv = Csv::new("method,w,seed,recall,precision");
    let mut words = Vec::new();
    for (index, curve) in drawn.iter().enumerate() {
        let name = name_of(&curve.row);
        for point in &curve.points {
            csv.row([
                curve.row.method.clone(),
                number(curve.row.guidance),
                curve.seed.map_or_else(String::new, |seed| seed.to_string()),
                number(Some(point.recall)),
                number(Some(point.precision)),
            ]);
        }
        if let Some(at) = curve.at_work {
            words.push(format!(
                "{name}: precision {} at recall {}",
                percent(Some(at.precision)),
                percent(Some(at.recall))
            ));
        }
        if index >= MOST {
            continue;
        }
        let look = Look::of(index);
        let line = curve
            .points
            .iter()
            .map(|point| [point.recall, point.precision]);
        let stroke = Stroke::new(look.colour, 1.8).dashed(look.dash);
        chart.line(&name, line.collect(), stroke);
        if let Some(at) = curve.at_work {
            let dot = Dot {
                radius: 5.0,
                hint: words.last().cloned().unwrap_or_default(),
                ..Dot::at(at.recall, at.precision)
            };
            chart.dots("", vec![dot], look);
        }
    }
    let chance = drawn[0].prevalence;
    let rule = Stroke::new(Colour::Faint, 1.2).dashed(Dash::Dashed);
    chart.horizontal("share of lesion pixels", chance, rule);
    let left_out = drawn.len().saturating_sub(MOST);
    let more = match left_out {
        0 => String::new(),
        _ => format!(" {} more are in the data.", counted(left_out, "curve")),
    };
    Some(Figure {
        name: "precision-recall".to_owned(),
        of_paper: "",
        title: "Precision and recall of pixels".to_owned(),
        caption: format!(
            "All foreground pixels of the mixed set-up, first seed; dots: the masks that were scored.{more}"
        ),
        description: format!(
            "At the masks that were scored, in percent: {}. Share of lesion pixels: {}.",
            words.join("; "),
            percent(Some(chance))
        ),
        drawing: chart.drawing(WIDTH, HEIGHT + 60.0),
        data: csv.done(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn every_curve_is_in_the_data_and_each_mask_in_the_words() {
        let curves: Vec<PixelCurve> = (0..10)
            .map(|number| samples::curve(&format!("m{number}"), 2.0))
            .collect();
        let figure = precision_recall(&curves).unwrap();
        assert_eq!(figure.data.lines().count(), 1 + 10 * 41);
        assert!(
            figure
                .description
                .contains("m9 (w 2): precision 70.0 at recall 60.0")
        );
        assert!(figure.caption.contains("2 curves more are"));
        assert_eq!(precision_recall(&[]), None);
    }
}
