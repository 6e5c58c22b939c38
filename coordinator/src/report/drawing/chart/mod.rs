//! A chart: two axes and what is drawn between them.

mod layout;
mod marks;

use super::axis::Axis;
use super::{Colour, Dash, Drawing, Marker, Place, Stroke};

#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    pub heading: String,
    pub x: Axis,
    pub y: Axis,
    marks: Vec<Mark>,
    keys: Vec<Key>,
}

/// How a series looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    pub colour: Colour,
    pub dash: Dash,
    pub marker: Marker,
}

impl Look {
    /// Of the series with this number: no two of the first 28 look alike, also without colours.
    pub const fn of(number: usize) -> Self {
        Self {
            colour: Colour::Series(number),
            dash: Dash::ALL[number % Dash::ALL.len()],
            marker: Marker::ALL[number % Marker::ALL.len()],
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Mark {
    Line {
        points: Vec<Place>,
        stroke: Stroke,
    },
    Band {
        /// x, low, high.
        points: Vec<[f64; 3]>,
        colour: Colour,
    },
    Dots {
        points: Vec<Dot>,
        look: Look,
    },
    Bars {
        /// From, to, height.
        bars: Vec<[f64; 3]>,
        colour: Colour,
        outlined: bool,
    },
    /// Quartiles, whiskers at the 10 and 90 % quantiles, beside names on the y axis.
    Box {
        y: f64,
        quantiles: [f64; 5],
        colour: Colour,
    },
    Rule {
        vertical: bool,
        at: f64,
        stroke: Stroke,
    },
    Zone {
        from: f64,
        to: f64,
    },
    Rug {
        values: Vec<f64>,
        colour: Colour,
    },
}

/// A dot with what is said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Dot {
    pub at: Place,
    pub filled: bool,
    pub radius: f64,
    pub hint: String,
}

impl Dot {
    pub const fn at(x: f64, y: f64) -> Self {
        Self {
            at: [x, y],
            filled: true,
            radius: 3.4,
            hint: String::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Key {
    text: String,
    sign: Sign,
}

#[derive(Debug, Clone, PartialEq)]
enum Sign {
    Line(Stroke),
    LineAndDot(Stroke, Marker),
    Dot(Look, bool),
    Patch(Colour),
}

impl Chart {
    pub fn new(x: Axis, y: Axis) -> Self {
        Self {
            heading: String::new(),
            x,
            y,
            marks: Vec::new(),
            keys: Vec::new(),
        }
    }

    #[must_use]
    pub fn headed(mut self, heading: impl Into<String>) -> Self {
        self.heading = heading.into();
        self
    }

    fn key(&mut self, text: &str, sign: Sign) {
        if !text.is_empty() {
            self.keys.push(Key {
                text: text.to_owned(),
                sign,
            });
        }
    }

    /// A line; an empty name has no key.
    pub fn line(&mut self, name: &str, points: Vec<Place>, stroke: Stroke) {
        self.key(name, Sign::Line(stroke));
        self.marks.push(Mark::Line { points, stroke });
    }

    /// A line with a dot at each point.
    pub fn series(&mut self, name: &str, points: Vec<Place>, look: Look) {
        let stroke = Stroke::new(look.colour, 1.8).dashed(look.dash);
        self.key(name, Sign::LineAndDot(stroke, look.marker));
        let dots = points.iter().map(|[x, y]| Dot::at(*x, *y)).collect();
        self.marks.push(Mark::Line { points, stroke });
        self.marks.push(Mark::Dots { points: dots, look });
    }

    /// Between low and high at each x.
    pub fn band(&mut self, name: &str, points: Vec<[f64; 3]>, colour: Colour) {
        self.key(name, Sign::Patch(colour));
        self.marks.push(Mark::Band { points, colour });
    }

    pub fn dots(&mut self, name: &str, points: Vec<Dot>, look: Look) {
        let filled = points.first().is_none_or(|dot| dot.filled);
        self.key(name, Sign::Dot(look, filled));
        self.marks.push(Mark::Dots { points, look });
    }

    pub fn bars(&mut self, name: &str, bars: Vec<[f64; 3]>, colour: Colour, outlined: bool) {
        let sign = match outlined {
            true => Sign::Line(Stroke::new(colour, 2.0)),
            false => Sign::Patch(colour),
        };
        self.key(name, sign);
        self.marks.push(Mark::Bars {
            bars,
            colour,
            outlined,
        });
    }

    pub fn quartiles(&mut self, y: f64, quantiles: [f64; 5], colour: Colour) {
        self.marks.push(Mark::Box {
            y,
            quantiles,
            colour,
        });
    }

    pub fn vertical(&mut self, name: &str, at: f64, stroke: Stroke) {
        self.key(name, Sign::Line(stroke));
        let vertical = true;
        self.marks.push(Mark::Rule {
            vertical,
            at,
            stroke,
        });
    }

    pub fn horizontal(&mut self, name: &str, at: f64, stroke: Stroke) {
        self.key(name, Sign::Line(stroke));
        let vertical = false;
        self.marks.push(Mark::Rule {
            vertical,
            at,
            stroke,
        });
    }

    /// Shaded from one y to another.
    pub fn zone(&mut self, name: &str, from: f64, to: f64) {
        self.key(name, Sign::Patch(Colour::Faint));
        self.marks.push(Mark::Zone { from, to });
    }

    /// Short strokes at the lower edge.
    pub fn rug(&mut self, name: &str, values: Vec<f64>, colour: Colour) {
        self.key(name, Sign::Line(Stroke::new(colour, 1.2)));
        self.marks.push(Mark::Rug { values, colour });
    }

    /// As a drawing of its own.
    pub fn drawing(&self, width: f64, height: f64) -> Drawing {
        let mut drawing = Drawing::new(width, height);
        let area = drawing.area();
        self.draw(&mut drawing, area);
        drawing
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Anchor, Shape, font};
    use super::*;

    #[test]
    fn every_part_of_a_chart_lies_inside_it() {
        let mut chart = Chart::new(
            Axis::logarithmic("step", [1.0, 300.0]),
            Axis::around("a rather long title of an axis", [0.0, 1.0]),
        )
        .headed("A heading");
        for number in 0..9 {
            let points = (1..300)
                .map(|n| [f64::from(n), 2.0 / f64::from(n)])
                .collect();
            chart.series(&format!("series number {number}"), points, Look::of(number));
        }
        chart.band("band", vec![[1.0, 0.1, 0.5], [9.0, -7.0, 9.0]], Colour::Ink);
        chart.line(
            "",
            vec![[1.0, f64::NAN], [2.0, 0.5]],
            Stroke::new(Colour::Ink, 1.0),
        );
        chart.bars("bars", vec![[1.0, 2.0, 0.5]], Colour::Ink, true);
        chart.rug("rug", vec![4.0, -1.0], Colour::Ink);
        chart.zone("zone", 0.2, 0.4);
        chart.vertical("rule", 5.0, Stroke::new(Colour::Ink, 1.0));
        let drawing = chart.drawing(460.0, 320.0);
        let inside = |[x, y]: &Place| (0.0..=460.0).contains(x) && (0.0..=320.0).contains(y);
        let mut seen = 0;
        for shape in &drawing.shapes {
            let points = match shape {
                Shape::Line { points, .. } | Shape::Filled { points, .. } => points.clone(),
                Shape::Dot { at, .. } => vec![*at],
                Shape::Text {
                    at,
                    text,
                    size,
                    anchor,
                    turned: false,
                    ..
                } => {
                    let width = font::width(text, *size);
                    let left = match anchor {
                        Anchor::Start => at[0],
                        Anchor::Middle => at[0] - width / 2.0,
                        Anchor::End => at[0] - width,
                    };
                    vec![[left, at[1]], [left + width, at[1]]]
                }
                _ => continue,
            };
            seen += 1;
            assert!(points.iter().all(inside), "{shape:?}");
        }
        assert!(seen > 100);
    }

    #[test]
    fn no_two_of_a_dozen_series_look_alike_without_colour() {
        for first in 0..12 {
            for second in 0..first {
                let (a, b) = (Look::of(first), Look::of(second));
                assert!(a.dash != b.dash || a.marker != b.marker);
            }
        }
    }
}
