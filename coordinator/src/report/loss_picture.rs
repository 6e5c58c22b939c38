//! `report/loss.svg`: the loss curves as a picture, loss on a logarithmic scale.
//!
//! Written here rather than by a plotting library: a fixed layout with room for its labels, exact tick labels, and a
//! file of some kilobytes.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::training::{Curves, LossPoint};
use crate::readable::Count;

/// The picture and the area inside its axes, pixels.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 880.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 428.0;

/// Lines of the grid, roughly.
const TICKS: f64 = 6.0;

/// The smoothed line is a mean over this share of the points on either side.
const SMOOTH: f64 = 0.04;

/// Colours that people with any colour vision tell apart (Okabe and Ito), strongest first.
const COLOURS: [&str; 6] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00",
];

/// The picture; `None` where there is nothing to draw.
pub(super) fn picture(run: &str, curves: &BTreeMap<String, Curves>) -> Option<String> {
    let drawn: Vec<(&String, Vec<LossPoint>, Vec<LossPoint>)> = curves
        .iter()
        .map(|(network, curves)| (network, usable(&curves.train), usable(&curves.validation)))
        .filter(|(_, train, validation)| !train.is_empty() || !validation.is_empty())
        .collect();
    let scale = Scale::around(drawn.iter().flat_map(|(_, a, b)| a.iter().chain(b)))?;
    let mut svg = String::new();
    // Writing to a string does not fail.
    draw(&mut svg, run, &drawn, &scale).ok()?;
    Some(svg)
}

/// What has a place on a logarithmic scale.
fn usable(points: &[LossPoint]) -> Vec<LossPoint> {
    let usable = |point: &&LossPoint| point.loss.is_finite() && point.loss > 0.0;
    points.iter().filter(usable).copied().collect()
}

struct Scale {
    last: f64,
    low: f64,
    high: f64,
}

impl Scale {
    #[allow(clippy::cast_precision_loss)]
    fn around<'a>(points: impl Iterator<Item = &'a LossPoint>) -> Option<Self> {
        let mut scale: Option<Self> = None;
        for point in points {
            let (step, loss) = (point.step as f64, point.loss);
            let wide = scale.get_or_insert(Self {
                last: 1.0,
                low: loss,
                high: loss,
            });
            wide.last = wide.last.max(step);
            wide.low = wide.low.min(loss);
            wide.high = wide.high.max(loss);
        }
        scale.map(|Self { last, low, high }| Self {
            last,
            low: low * 0.9,
            high: high * 1.1,
        })
    }

    fn x(&self, step: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * step / self.last
    }

    fn y(&self, loss: f64) -> f64 {
        let share = (loss / self.low).ln() / (self.high / self.low).ln();
        BOTTOM - (BOTTOM - TOP) * share
    }

    #[allow(clippy::cast_precision_loss)]
    fn line(&self, points: &[LossPoint]) -> String {
        let place = |point: &LossPoint| {
            let (x, y) = (self.x(point.step as f64), self.y(point.loss));
            format!("{x:.1},{y:.1}")
        };
        points.iter().map(place).collect::<Vec<_>>().join(" ")
    }
}

fn draw(
    svg: &mut String,
    run: &str,
    drawn: &[(&String, Vec<LossPoint>, Vec<LossPoint>)],
    scale: &Scale,
) -> std::fmt::Result {
    let title = escaped(&format!("Training loss of {run}"));
    writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="Helvetica, Arial, sans-serif" font-size="13" fill="#222">
<title>{title}</title>
<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>
<text x="{LEFT}" y="28" font-size="16" font-weight="bold">{title}</text>"##
    )?;
    axes(svg, scale)?;
    let mut legend = Vec::new();
    for (index, (network, train, validation)) in drawn.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let name = escaped(network);
        if !train.is_empty() {
            let reach = reach(train.len());
            let (raw, mean) = (scale.line(train), scale.line(&smoothed(train, reach)));
            writeln!(
                svg,
                r#"<g fill="none" stroke="{colour}" stroke-linejoin="round"><polyline opacity="0.35" points="{raw}"/><polyline stroke-width="2" points="{mean}"/></g>"#
            )?;
            legend.push((format!("{name}, training (smoothed)"), colour, ""));
        }
        if !validation.is_empty() {
            let line = scale.line(validation);
            write!(
                svg,
                r#"<g stroke="{colour}" fill="none" stroke-width="2"><polyline stroke-dasharray="6 4" points="{line}"/>"#
            )?;
            for place in line.split(' ') {
                let (x, y) = place.split_once(',').unwrap_or_default();
                write!(svg, r##"<circle cx="{x}" cy="{y}" r="3.5" fill="#fff"/>"##)?;
            }
            writeln!(svg, "</g>")?;
            legend.push((
                format!("{name}, validation (EMA weights)"),
                colour,
                r#" stroke-dasharray="6 4""#,
            ));
        }
    }
    for (line, (name, colour, dashes)) in (0_u32..).zip(&legend) {
        let y = TOP + 22.0 + 20.0 * f64::from(line);
        writeln!(
            svg,
            r#"<line x1="{}" y1="{}" x2="{}" y2="{}" stroke="{colour}" stroke-width="2"{dashes}/><text x="{}" y="{y}" text-anchor="end">{name}</text>"#,
            RIGHT - 44.0,
            y - 4.0,
            RIGHT - 12.0,
            y - 4.0,
            RIGHT - 52.0
        )?;
    }
    writeln!(svg, "</svg>")
}

/// Grid, ticks and their labels, and what the axes show.
fn axes(svg: &mut String, scale: &Scale) -> std::fmt::Result {
    writeln!(svg, r##"<g stroke="#e3e3e3">"##)?;
    let (steps, losses) = (step_ticks(scale.last), loss_ticks(scale.low, scale.high));
    for (step, _) in &steps {
        let x = scale.x(*step);
        writeln!(svg, r#"<path d="M{x:.1} {TOP}V{BOTTOM}"/>"#)?;
    }
    for (loss, _) in &losses {
        let y = scale.y(*loss);
        writeln!(svg, r#"<path d="M{LEFT} {y:.1}H{RIGHT}"/>"#)?;
    }
    writeln!(
        svg,
        r##"</g><path d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}" fill="none" stroke="#222"/>"##
    )?;
    for (step, label) in &steps {
        let (x, y) = (scale.x(*step), BOTTOM + 19.0);
        writeln!(
            svg,
            r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{label}</text>"#
        )?;
    }
    for (loss, label) in &losses {
        let (x, y) = (LEFT - 8.0, scale.y(*loss) + 4.5);
        writeln!(
            svg,
            r#"<text x="{x}" y="{y:.1}" text-anchor="end">{label}</text>"#
        )?;
    }
    let (middle, below) = ((LEFT + RIGHT) / 2.0, BOTTOM + 42.0);
    let (beside, height) = (18.0, (TOP + BOTTOM) / 2.0);
    writeln!(
        svg,
        r#"<text x="{middle}" y="{below}" text-anchor="middle">step</text>
<text x="{beside}" y="{height}" text-anchor="middle" transform="rotate(-90 {beside} {height})">loss (logarithmic)</text>"#
    )
}

/// The largest of 1, 2, 5 times a power of ten that is at most `most`: mantissa and exponent.
fn round_down(most: f64) -> (f64, i32) {
    #[allow(clippy::cast_possible_truncation)]
    let exponent = most.log10().floor() as i32;
    let scale = 10_f64.powi(exponent);
    let fits = |mantissa: &f64| mantissa * scale <= most * (1.0 + 1e-9);
    let mantissa = [5.0, 2.0].into_iter().find(fits).unwrap_or(1.0);
    (mantissa, exponent)
}

/// Multiples of a round number, with labels that are exact.
fn multiples(from: f64, to: f64, (mantissa, exponent): (f64, i32)) -> Vec<(f64, String)> {
    let decimals = usize::try_from(-exponent).unwrap_or(0);
    let apart = mantissa * 10_f64.powi(exponent);
    let first = (from / apart).ceil();
    (0_u32..100)
        .map(|number| (first + f64::from(number)) * apart)
        .take_while(|tick| *tick <= to * (1.0 + 1e-9))
        .map(|tick| (tick, format!("{tick:.decimals$}")))
        .collect()
}

fn step_ticks(last: f64) -> Vec<(f64, String)> {
    let (mantissa, exponent) = round_down(last / TICKS * 2.0);
    let whole = if exponent < 0 {
        (1.0, 0)
    } else {
        (mantissa, exponent)
    };
    let mut ticks = multiples(0.0, last, whole);
    for (step, label) in &mut ticks {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let step = *step as u64;
        *label = Count(step).to_string();
    }
    ticks
}

/// 1, 2 and 5 times powers of ten; powers of ten alone where that were too many, and multiples of a round number where it
/// were too few.
fn loss_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let decades = (high / low).log10();
    if decades < 0.6 {
        return multiples(low, high, round_down((high - low) / TICKS * 2.0));
    }
    let mantissas: &[f64] = if decades > 4.0 {
        &[1.0]
    } else {
        &[1.0, 2.0, 5.0]
    };
    #[allow(clippy::cast_possible_truncation)]
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    (first..=last)
        .flat_map(|exponent| mantissas.iter().map(move |mantissa| (*mantissa, exponent)))
        .map(|(mantissa, exponent)| {
            let decimals = usize::try_from(-exponent).unwrap_or(0);
            let tick = mantissa * 10_f64.powi(exponent);
            (tick, format!("{tick:.decimals$}"))
        })
        .filter(|(tick, _)| (low..=high).contains(tick))
        .collect()
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

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
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

    fn labels(ticks: Vec<(f64, String)>) -> Vec<String> {
        ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn labels_are_round() {
        assert_eq!(
            labels(loss_ticks(0.018, 1.1)),
            ["0.02", "0.05", "0.1", "0.2", "0.5", "1"]
        );
        assert_eq!(
            labels(loss_ticks(0.25, 0.74)),
            ["0.3", "0.4", "0.5", "0.6", "0.7"]
        );
        assert_eq!(labels(loss_ticks(1e-6, 20.0)).len(), 8);
        assert_eq!(labels(step_ticks(1_600.0)), ["0", "500", "1,000", "1,500"]);
        assert_eq!(labels(step_ticks(3.0)), ["0", "1", "2", "3"]);
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
    fn every_part_of_a_picture_lies_inside_it() {
        let falling = (1..=800).map(|step| 0.9 / f64::from(step).sqrt() + 0.02);
        let guided = Curves {
            train: points(falling),
            validation: points([0.75, 0.5]),
        };
        let svg = picture("a<b", &BTreeMap::from([("guided".to_owned(), guided)])).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for text in [
            "Training loss of a&lt;b",
            "guided, validation (EMA weights)",
            ">step<",
            ">0.05<",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(svg.len() < 30_000, "{} bytes", svg.len());
        let mut lines = 0;
        for line in svg.split("points=\"").skip(1) {
            lines += 1;
            for place in line[..line.find('"').unwrap()].split(' ') {
                let (x, y) = place.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!((LEFT..=RIGHT).contains(&x) && (TOP..=BOTTOM).contains(&y));
            }
        }
        assert_eq!(lines, 3, "raw, smoothed, validation");
    }

    #[test]
    fn nothing_trained_is_nothing_drawn() {
        assert_eq!(picture("demo", &BTreeMap::new()), None);
        let broken = Curves {
            train: points([f64::NAN, 0.0]),
            validation: Vec::new(),
        };
        assert_eq!(
            picture("demo", &BTreeMap::from([("guided".to_owned(), broken)])),
            None
        );
        // One point is a picture too.
        let one = Curves {
            train: points([0.5]),
            validation: Vec::new(),
        };
        let svg = picture("demo", &BTreeMap::from([("guided".to_owned(), one)])).unwrap();
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
