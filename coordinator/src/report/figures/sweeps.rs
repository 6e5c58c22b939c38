//! Figures 5a to 5d: what guidance, end step and threshold do to the DICE.

use super::{Csv, Figure, HEIGHT, WIDTH, file_part, name_of, number, percent};
use crate::report::drawing::axis::Axis;
use crate::report::drawing::chart::{Chart, Dot, Look};
use crate::report::drawing::{Colour, Dash, Stroke};
use crate::report::exhibits::{BothSetups, EndStepSweep, Estimate, StrengthSweep, ThresholdSweep};
use crate::report::statistics::RowId;

const MIXED: Look = Look::of(0);
const UNHEALTHY: Look = Look::of(1);

fn rule() -> Stroke {
    Stroke::new(Colour::Faint, 1.4).dashed(Dash::Dashed)
}

/// Strengths, ratios and thresholds lie far apart: a logarithmic axis, unless one of them is 0.
fn along(title: &str, values: &[f64]) -> Axis {
    if values.iter().all(|value| *value > 0.0) {
        let axis = Axis::logarithmic(title, values.iter().copied());
        if values.len() <= 8 {
            let ticks = values.iter().map(|value| (*value, value.to_string()));
            return axis.marked(ticks.collect());
        }
        axis
    } else {
        Axis::around(title, values.iter().copied())
    }
}

/// Both lines with their intervals.
fn dice(chart: &mut Chart, points: &[(f64, BothSetups)]) {
    type Part = fn(&BothSetups) -> Option<Estimate>;
    let parts: [(&str, Part, Look); 2] = [
        ("mixed", |dice| dice.mixed, MIXED),
        ("unhealthy", |dice| dice.unhealthy, UNHEALTHY),
    ];
    for (name, part, look) in parts {
        let known: Vec<(f64, Estimate)> = points
            .iter()
            .filter_map(|(x, dice)| Some((*x, part(dice)?)))
            .collect();
        if known.is_empty() {
            continue;
        }
        let band = known.iter().filter_map(|(x, estimate)| {
            let [low, high] = estimate.ci95?;
            Some([*x, low, high])
        });
        let band: Vec<[f64; 3]> = band.collect();
        if band.len() > 1 {
            chart.band("", band, look.colour);
        }
        let line = known.iter().map(|(x, estimate)| [*x, estimate.mean]);
        chart.series(name, line.collect(), look);
    }
}

fn largest(points: &[(f64, BothSetups)]) -> Vec<f64> {
    let both = points
        .iter()
        .flat_map(|(_, dice)| [dice.mixed, dice.unhealthy]);
    let ends = both.flatten().flat_map(|estimate| {
        let high = estimate.ci95.map_or(estimate.mean, |[_, high]| high);
        [estimate.mean, high]
    });
    ends.collect()
}

fn said(name: &str, points: &[(f64, BothSetups)]) -> String {
    let each = points.iter().map(|(x, dice)| {
        format!(
            "{name} {x}: mixed {}, unhealthy {}",
            percent(dice.mixed.map(|one| one.mean)),
            percent(dice.unhealthy.map(|one| one.mean))
        )
    });
    format!("DICE in percent. {}.", each.collect::<Vec<_>>().join("; "))
}

fn data(name: &str, points: &[(f64, BothSetups)]) -> String {
    let mut csv = Csv::new(&format!("{name},setup,dice,low,high"));
    for (x, dice) in points {
        for (setup, estimate) in [("mixed", dice.mixed), ("unhealthy", dice.unhealthy)] {
            if let Some(estimate) = estimate {
                csv.row([
                    x.to_string(),
                    setup.to_owned(),
                    number(Some(estimate.mean)),
                    number(estimate.ci95.map(|ends| ends[0])),
                    number(estimate.ci95.map(|ends| ends[1])),
                ]);
            }
        }
    }
    csv.done()
}

fn of_method(method: &str) -> RowId {
    RowId {
        method: method.to_owned(),
        guidance: None,
    }
}

/// Figure 5a: accuracy of calling slices healthy or unhealthy; `None` where no point has one. `base_rate` is that of
/// the validation slices.
pub fn fig5a(sweep: &StrengthSweep, base_rate: Option<f64>) -> Option<Figure> {
    type Part = fn(&crate::report::exhibits::StrengthPoint) -> Option<f64>;
    let parts: [(&str, Part, Look); 2] = [
        (
            "validation slices",
            |point| point.validation_accuracy,
            MIXED,
        ),
        ("test slices", |point| point.test_accuracy, UNHEALTHY),
    ];
    let known = |part: Part| -> Vec<[f64; 2]> {
        let points = sweep.points.iter();
        points
            .filter_map(|point| Some([point.guidance, part(point)?]))
            .collect()
    };
    let validation = known(parts[0].1);
    let best = validation.iter().map(|point| point[1]).fold(0.0, f64::max);
    let all: Vec<f64> = parts
        .iter()
        .flat_map(|(_, part, _)| known(*part))
        .map(|point| point[1])
        .chain(base_rate)
        .collect();
    if validation.is_empty() && all.is_empty() {
        return None;
    }
    let strengths: Vec<f64> = sweep.points.iter().map(|point| point.guidance).collect();
    let mut chart = Chart::new(
        along("guidance strength w", &strengths),
        Axis::around("accuracy", all.iter().copied().chain([1.0])),
    );
    if best > 0.0 {
        chart.zone("within 99 % of the best", 0.99 * best, best);
    }
    let mut csv = Csv::new("w,slices,accuracy");
    let mut words = Vec::new();
    for (name, part, look) in parts {
        let points = known(part);
        for [w, accuracy] in &points {
            csv.row([w.to_string(), name.to_owned(), number(Some(*accuracy))]);
            words.push(format!("w {w}: {} on {name}", percent(Some(*accuracy))));
        }
        if !points.is_empty() {
            chart.series(name, points, look);
        }
    }
    if let Some(base) = base_rate {
        chart.horizontal("base rate", base, rule());
        words.push(format!("base rate {}", percent(Some(base))));
    }
    if let Some(chosen) = sweep.selected {
        let stroke = Stroke::new(Colour::Ink, 1.2).dashed(Dash::Dotted);
        chart.vertical("chosen", chosen, stroke);
        words.push(format!("chosen: w {chosen}"));
    }
    Some(Figure {
        name: format!("fig5a-{}", file_part(&of_method(&sweep.method))),
        of_paper: "Figure 5a",
        title: "Accuracy of healthy or unhealthy against w".to_owned(),
        caption: format!(
            "{}. Algorithm 2 takes the largest w within 99 % of the best accuracy on validation slices.",
            sweep.method
        ),
        description: format!("Accuracy in percent. {}.", words.join("; ")),
        drawing: chart.drawing(WIDTH, HEIGHT),
        data: csv.done(),
    })
}

/// Figure 5b: DICE against w; `None` where fewer than two strengths have one.
pub fn fig5b(sweep: &StrengthSweep) -> Option<Figure> {
    let points: Vec<(f64, BothSetups)> = sweep
        .points
        .iter()
        .filter(|point| point.dice.mixed.is_some() || point.dice.unhealthy.is_some())
        .map(|point| (point.guidance, point.dice))
        .collect();
    if points.len() < 2 {
        return None;
    }
    let strengths: Vec<f64> = points.iter().map(|(w, _)| *w).collect();
    let ends = largest(&points).into_iter().chain(sweep.all_empty);
    let mut chart = Chart::new(
        along("guidance strength w", &strengths),
        Axis::shares("DICE", ends),
    );
    dice(&mut chart, &points);
    if let Some(empty) = sweep.all_empty {
        chart.horizontal("all-empty, mixed", empty, rule());
    }
    if let Some(chosen) = sweep.selected {
        let stroke = Stroke::new(Colour::Ink, 1.2).dashed(Dash::Dotted);
        chart.vertical("chosen", chosen, stroke);
    }
    Some(Figure {
        name: format!("fig5b-{}", file_part(&of_method(&sweep.method))),
        of_paper: "Figure 5b",
        title: "DICE against w".to_owned(),
        caption: format!(
            "{}, seed {}; bands: 95 % intervals over patients.",
            sweep.method, sweep.seed
        ),
        description: said("w", &points),
        drawing: chart.drawing(WIDTH, HEIGHT),
        data: data("w", &points),
    })
}

/// Figure 5c: DICE against the end step as a multiple of t_e.
pub fn fig5c(sweep: &EndStepSweep) -> Option<Figure> {
    let points: Vec<(f64, BothSetups)> = sweep
        .points
        .iter()
        .map(|point| (point.ratio, point.dice))
        .collect();
    if points.is_empty() {
        return None;
    }
    let ratios: Vec<f64> = points.iter().map(|(ratio, _)| *ratio).collect();
    let cut: Vec<[f64; 2]> = sweep
        .points
        .iter()
        .map(|point| [point.ratio, point.cut_off])
        .collect();
    let ends = largest(&points)
        .into_iter()
        .chain(cut.iter().map(|point| point[1]));
    let mut chart = Chart::new(
        along("end step as a multiple of t_e", &ratios),
        Axis::shares("DICE", ends),
    );
    dice(&mut chart, &points);
    chart.line(
        "share cut off at the last step",
        cut.clone(),
        Stroke::new(Colour::Faint, 1.6).dashed(Dash::Dotted),
    );
    let cut_words: Vec<String> = cut
        .iter()
        .map(|[ratio, share]| format!("{ratio}: {} %", percent(Some(*share))))
        .collect();
    Some(Figure {
        name: format!("fig5c-{}", file_part(&sweep.row)),
        of_paper: "Figure 5c",
        title: "DICE against the end step".to_owned(),
        caption: format!(
            "{}, seed {}; 1 is t_e itself; bands: 95 % intervals over patients. Dotted: share of slices and modalities whose \
             multiple lies beyond the last forward step.",
            name_of(&sweep.row),
            sweep.seed
        ),
        description: format!(
            "{} Cut off: {}.",
            said("ratio", &points),
            cut_words.join("; ")
        ),
        drawing: chart.drawing(WIDTH, HEIGHT),
        data: data("ratio", &points),
    })
}

/// Figure 5d: DICE with one threshold for all slices, beside that with Q*.
pub fn fig5d(sweep: &ThresholdSweep) -> Option<Figure> {
    let points: Vec<(f64, BothSetups)> = sweep
        .points
        .iter()
        .map(|point| (point.threshold, point.dice))
        .collect();
    if points.is_empty() {
        return None;
    }
    let thresholds: Vec<f64> = points.iter().map(|(threshold, _)| *threshold).collect();
    let mut on_axis = thresholds.clone();
    on_axis.extend(sweep.q_star.into_iter().flatten());
    let dynamic = [(0.0, sweep.dynamic)];
    let ends = largest(&points).into_iter().chain(largest(&dynamic));
    let mut chart = Chart::new(along("threshold", &on_axis), Axis::shares("DICE", ends));
    dice(&mut chart, &points);
    for (name, estimate, look) in [
        ("mixed, Q*", sweep.dynamic.mixed, MIXED),
        ("unhealthy, Q*", sweep.dynamic.unhealthy, UNHEALTHY),
    ] {
        let Some(estimate) = estimate else { continue };
        let stroke = Stroke::new(look.colour, 1.4).dashed(Dash::Dotted);
        chart.horizontal(name, estimate.mean, stroke);
        if let Some([_, median, _]) = sweep.q_star {
            let dot = Dot {
                filled: false,
                radius: 5.0,
                hint: format!("{name}: {}", percent(Some(estimate.mean))),
                ..Dot::at(median, estimate.mean)
            };
            chart.dots("", vec![dot], look);
        }
    }
    let q_star = sweep
        .q_star
        .map_or_else(String::new, |[low, median, high]| {
            format!(
                " Q* has the median {median:.3e}; eight of ten lie from {low:.3e} to {high:.3e}."
            )
        });
    Some(Figure {
        name: format!("fig5d-{}", file_part(&sweep.row)),
        of_paper: "Figure 5d",
        title: "DICE with one threshold for all slices".to_owned(),
        caption: format!(
            "{}, seed {}; dotted: with the threshold Q* of each slice, hollow at its median; bands: 95 % intervals over \
             patients.{q_star}",
            name_of(&sweep.row),
            sweep.seed
        ),
        description: format!(
            "{} With Q*: mixed {}, unhealthy {}.{q_star}",
            said("threshold", &points),
            percent(sweep.dynamic.mixed.map(|one| one.mean)),
            percent(sweep.dynamic.unhealthy.map(|one| one.mean))
        ),
        drawing: chart.drawing(WIDTH, HEIGHT),
        data: data("threshold", &points),
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn alt_texts_and_data_have_the_numbers() {
        let sweep = samples::strengths();
        let figure = fig5b(&sweep).unwrap();
        assert!(
            figure
                .description
                .contains("w 8: mixed 62.0, unhealthy 52.0")
        );
        assert!(
            figure.data.contains("8,mixed,0.62,0.52,0.72"),
            "{}",
            figure.data
        );
        let figure = fig5a(&sweep, Some(0.64)).unwrap();
        assert!(
            figure
                .description
                .contains("w 2: 80.0 on validation slices")
        );
        assert!(
            figure.description.contains("base rate 64.0")
                && figure.description.contains("chosen: w 8")
        );
        let figure = fig5c(&samples::end_steps()).unwrap();
        assert!(
            figure.description.contains("Cut off: 0.5: 0.0 %"),
            "{}",
            figure.description
        );
        let figure = fig5d(&samples::thresholds()).unwrap();
        assert!(figure.description.contains("With Q*: mixed 61.0"));
    }

    #[test]
    fn nothing_measured_is_nothing_drawn() {
        let empty = StrengthSweep::default();
        assert_eq!((fig5a(&empty, None), fig5b(&empty)), (None, None));
        assert_eq!(fig5c(&EndStepSweep::default()), None);
        assert_eq!(fig5d(&ThresholdSweep::default()), None);
    }

    #[test]
    fn a_strength_of_zero_has_a_place() {
        let mut sweep = samples::strengths();
        sweep.points[0].guidance = 0.0;
        assert!(fig5b(&sweep).is_some());
    }
}
