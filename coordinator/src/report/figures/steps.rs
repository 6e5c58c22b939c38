//! Figures 2a, 2b and 2c: sequences over the forward steps.

use super::{
    Csv, Figure, HEIGHT, WIDTH, counted, file_part, mean, name_of, number, quantile, sorted,
};
use crate::report::drawing::axis::Axis;
use crate::report::drawing::chart::{Chart, Look};
use crate::report::drawing::{Area, Colour, Dash, Drawing, Stroke};
use crate::report::exhibits::{SliceSequences, Traces};

const NOISE: &str = "t of the full schedule";

/// One step over slices.
#[derive(Debug, Clone, Copy)]
struct Spread {
    t: f64,
    mean: f64,
    low: f64,
    high: f64,
    slices: usize,
}

/// Mean over slices, with the values between which eight slices of ten lie, of the mean over modalities.
fn spreads<'a>(
    traces: &Traces,
    slices: impl Iterator<Item = &'a SliceSequences> + Clone,
    sequence: impl Fn(&SliceSequences) -> &[f32],
) -> Vec<Spread> {
    let modalities = traces.modalities.len().max(1);
    traces
        .steps
        .iter()
        .enumerate()
        .filter_map(|(step, t)| {
            let of_slices = slices.clone().filter_map(|slice| {
                let values = sequence(slice).get(step * modalities..(step + 1) * modalities)?;
                let values = sorted(values.iter().map(|value| f64::from(*value)));
                mean(&values)
            });
            let values = sorted(of_slices);
            Some(Spread {
                t: f64::from(*t),
                mean: mean(&values)?,
                low: quantile(&values, 0.1)?,
                high: quantile(&values, 0.9)?,
                slices: values.len(),
            })
        })
        .collect()
}

fn of_kind(traces: &Traces, unhealthy: bool) -> impl Iterator<Item = &SliceSequences> + Clone {
    let slices = traces.slices.iter();
    slices.filter(move |slice| slice.unhealthy == unhealthy)
}

fn line(chart: &mut Chart, name: &str, spreads: &[Spread], look: Look) {
    let band = spreads.iter().map(|one| [one.t, one.low, one.high]);
    chart.band("", band.collect(), look.colour);
    let points = spreads.iter().map(|one| [one.t, one.mean]).collect();
    let stroke = Stroke::new(look.colour, 2.0).dashed(look.dash);
    chart.line(name, points, stroke);
}

fn add(csv: &mut Csv, curve: &str, spreads: &[Spread]) {
    for one in spreads {
        csv.row([
            curve.to_owned(),
            one.t.to_string(),
            number(Some(one.mean)),
            number(Some(one.low)),
            number(Some(one.high)),
            one.slices.to_string(),
        ]);
    }
}

const NAMES: &str = "curve,t,mean,low,high,slices";

/// Figure 2a: MSE^h and MSE^null of healthy slices.
pub fn fig2a(traces: &Traces) -> Figure {
    mse(traces, false)
}

/// Figure 2b: the same of unhealthy slices, with the same axes.
pub fn fig2b(traces: &Traces) -> Figure {
    mse(traces, true)
}

type Sequence = fn(&SliceSequences) -> &[f32];
const BOTH: [(&str, Sequence); 2] = [
    ("MSE^h", |slice| &slice.mse_h),
    ("MSE^null", |slice| &slice.mse_null),
];

fn mse(traces: &Traces, unhealthy: bool) -> Figure {
    let kind = if unhealthy { "unhealthy" } else { "healthy" };
    // Both panels have the axes of all slices.
    let of_all = [false, true].into_iter().flat_map(|unhealthy| {
        BOTH.into_iter()
            .flat_map(move |(_, sequence)| spreads(traces, of_kind(traces, unhealthy), sequence))
    });
    let ends = of_all.flat_map(|one| [one.low, one.high, one.mean]);
    let times = traces.steps.iter().map(|t| f64::from(*t));
    let mut chart = Chart::new(
        Axis::around(NOISE, times),
        Axis::around("mean squared error", ends),
    );
    let count = of_kind(traces, unhealthy).count();
    let mut csv = Csv::new(NAMES);
    let mut said = Vec::new();
    for (number, (name, sequence)) in BOTH.into_iter().enumerate() {
        let spreads = spreads(traces, of_kind(traces, unhealthy), sequence);
        line(
            &mut chart,
            &format!("{name} of {}", counted(count, &format!("{kind} slice"))),
            &spreads,
            Look::of(number),
        );
        add(&mut csv, name, &spreads);
        said.push(course(name, &spreads));
    }
    let (of_paper, letter) = match unhealthy {
        true => ("Figure 2b", "b"),
        false => ("Figure 2a", "a"),
    };
    Figure {
        name: format!("fig2{letter}-{}", file_part(&traces.row)),
        of_paper,
        title: format!("MSE^h and MSE^null of {kind} slices"),
        caption: format!(
            "Lines: mean over slices; bands: eight slices of ten. {}",
            of(traces)
        ),
        description: said.join(" "),
        drawing: chart.drawing(WIDTH, HEIGHT),
        data: csv.done(),
    }
}

/// Where from, where to, and the peak.
fn course(name: &str, spreads: &[Spread]) -> String {
    let (Some(first), Some(last)) = (spreads.first(), spreads.last()) else {
        return format!("{name}: no values.");
    };
    let peak = spreads
        .iter()
        .max_by(|a, b| a.mean.total_cmp(&b.mean))
        .unwrap_or(last);
    format!(
        "{name} goes from {:.3e} at t = {} to {:.3e} at t = {}; its largest mean is {:.3e} at t = {}.",
        first.mean, first.t, last.mean, last.t, peak.mean, peak.t
    )
}

fn of(traces: &Traces) -> String {
    let modalities = match &traces.modalities[..] {
        [one] => one.clone(),
        more => format!("mean over {}", more.join(", ")),
    };
    let split = if traces.validation {
        "validation"
    } else {
        "test"
    };
    format!(
        "{}, {split} slices, seed {}, {modalities}, {}.",
        name_of(&traces.row),
        traces.seed,
        counted(traces.steps.len(), "forward step")
    )
}

/// Figure 2c: S_t inside and outside of lesions, their ratio and M_t; `None` where S_t was not kept.
pub fn fig2c(traces: &Traces) -> Option<Figure> {
    let unhealthy = || of_kind(traces, true);
    let inside = spreads(traces, unhealthy(), |slice| &slice.inside);
    let outside = spreads(traces, unhealthy(), |slice| &slice.outside);
    if inside.is_empty() || outside.is_empty() {
        return None;
    }
    let divergence = spreads(traces, unhealthy(), |slice| &slice.divergence);
    let ratios: Vec<[f64; 2]> = inside
        .iter()
        .zip(&outside)
        .filter(|(_, outside)| outside.mean > 0.0)
        .map(|(inside, outside)| [inside.t, inside.mean / outside.mean])
        .collect();
    let ends: Vec<f64> = unhealthy()
        .flat_map(|slice| &slice.end_steps)
        .filter_map(|step| traces.steps.get(*step as usize))
        .map(|t| f64::from(*t))
        .collect();
    let middle = quantile(&sorted(ends.iter().copied()), 0.5);
    let times = || Axis::around(NOISE, traces.steps.iter().map(|t| f64::from(*t)));

    let means = inside
        .iter()
        .chain(&outside)
        .flat_map(|one| [one.mean, one.low, one.high]);
    let mut magnitude = Chart::new(times(), Axis::logarithmic("mean of S_t", means));
    line(&mut magnitude, "in the lesion", &inside, Look::of(1));
    line(&mut magnitude, "outside", &outside, Look::of(0));
    let largest = divergence.iter().map(|one| one.mean).fold(0.0, f64::max);
    let peak = ratios
        .iter()
        .max_by(|a, b| a[1].total_cmp(&b[1]))
        .copied()
        .unwrap_or_default();
    let scaled = divergence
        .iter()
        .map(|one| [one.t, one.mean / largest.max(1e-30)]);
    let scaled: Vec<[f64; 2]> = scaled.collect();
    let shares = ratios
        .iter()
        .map(|[t, ratio]| [*t, ratio / peak[1].max(1e-30)])
        .collect();
    let mut shape = Chart::new(times(), Axis::linear("share of the largest", 0.0, 1.02));
    shape.line(
        "ratio in / outside",
        shares,
        Stroke::new(Colour::Series(2), 2.0),
    );
    shape.line(
        "M_t",
        scaled,
        Stroke::new(Colour::Series(3), 2.0).dashed(Dash::Dashed),
    );
    shape.rug("t_e", ends, Colour::Ink);
    if let Some(middle) = middle {
        let stroke = Stroke::new(Colour::Ink, 1.2).dashed(Dash::Dotted);
        magnitude.vertical("", middle, stroke);
        shape.vertical("median t_e", middle, stroke);
    }
    let mut drawing = Drawing::new(2.0 * WIDTH, HEIGHT);
    let part = |left| Area {
        left,
        top: 0.0,
        width: WIDTH,
        height: HEIGHT,
    };
    magnitude.draw(&mut drawing, part(0.0));
    shape.draw(&mut drawing, part(WIDTH));

    let mut csv = Csv::new(NAMES);
    for (name, spreads) in [
        ("inside", &inside),
        ("outside", &outside),
        ("M_t", &divergence),
    ] {
        add(&mut csv, name, spreads);
    }
    let median = middle.map_or_else(|| "not known".to_owned(), |t| t.to_string());
    Some(Figure {
        name: format!("fig2c-{}", file_part(&traces.row)),
        of_paper: "Figure 2c",
        title: "S_t in the lesion and outside, and where the end step lies".to_owned(),
        caption: format!(
            "Left: mean over {}; bands: eight slices of ten. Right: the ratio of the two means and M_t, each as a share of \
             its largest value ({:.3} and {largest:.3e}). {}",
            counted(unhealthy().count(), "unhealthy slice"),
            peak[1],
            of(traces)
        ),
        description: format!(
            "{} {} {} The ratio is largest, {:.3}, at t = {}; the median of t_e is {median}.",
            course("S_t in the lesion", &inside),
            course("S_t outside", &outside),
            course("M_t", &divergence),
            peak[1],
            peak[0]
        ),
        drawing,
        data: csv.done(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn the_first_two_share_their_axes_and_say_their_numbers() {
        let traces = samples::traces();
        let (a, b) = (fig2a(&traces), fig2b(&traces));
        let lettered = |figure: &Figure| -> Vec<String> {
            let texts = figure
                .drawing
                .shapes
                .iter()
                .filter_map(|shape| match shape {
                    crate::report::drawing::Shape::Text { text, .. } => Some(text.clone()),
                    _ => None,
                });
            texts.filter(|text| text.parse::<f64>().is_ok()).collect()
        };
        assert_eq!(lettered(&a), lettered(&b));
        assert!(a.description.contains("at t = 20") && a.data.lines().count() == 1 + 2 * 30);
        assert_eq!((a.of_paper, b.of_paper), ("Figure 2a", "Figure 2b"));
    }

    #[test]
    fn means_leave_out_what_is_not_a_number() {
        let mut traces = samples::traces();
        let first = traces
            .slices
            .iter_mut()
            .find(|slice| slice.unhealthy)
            .unwrap();
        first.inside = vec![f32::NAN; first.inside.len()];
        let figure = fig2c(&traces).unwrap();
        assert!(!figure.data.contains("NaN") && !figure.description.contains("NaN"));
        for slice in &mut traces.slices {
            slice.inside.clear();
        }
        assert_eq!(fig2c(&traces), None);
    }
}
