//! What is drawn between the axes.

use super::super::{Area, Colour, Drawing, Place, Shape, Stroke};
use super::{Chart, Mark};

impl Chart {
    pub(super) fn mark(&self, drawing: &mut Drawing, inner: &Area, mark: &Mark) {
        match mark {
            Mark::Line { points, stroke } => {
                // A value without a place breaks the line.
                for part in points.split(|point| self.place(inner, *point).is_none()) {
                    let line = part.iter().filter_map(|point| self.place(inner, *point));
                    drawing.line(thinned(line.collect()), *stroke);
                }
            }
            Mark::Band { points, colour } => {
                let edge = |end: usize| {
                    let ends = points.iter().map(move |point| [point[0], point[end]]);
                    ends.filter_map(|point| self.place(inner, point))
                };
                let mut border: Vec<Place> = edge(1).collect();
                let mut upper: Vec<Place> = edge(2).collect();
                upper.reverse();
                border.extend(upper);
                drawing.shapes.push(Shape::Filled {
                    points: border,
                    colour: *colour,
                    opacity: 0.18,
                });
            }
            Mark::Dots { points, look } => {
                for dot in points {
                    if let Some(at) = self.place(inner, dot.at) {
                        drawing.shapes.push(Shape::Dot {
                            at,
                            marker: look.marker,
                            radius: dot.radius,
                            colour: look.colour,
                            filled: dot.filled,
                            hint: dot.hint.clone(),
                        });
                    }
                }
            }
            Mark::Bars {
                bars,
                colour,
                outlined,
            } => self.draw_bars(drawing, inner, bars, *colour, *outlined),
            Mark::Box {
                y,
                quantiles,
                colour,
            } => self.draw_box(drawing, inner, *y, *quantiles, *colour),
            Mark::Rule {
                vertical,
                at,
                stroke,
            } => {
                let share = if *vertical { &self.x } else { &self.y }.share(*at);
                let Some(share) = share else { return };
                let line = if *vertical {
                    let x = inner.left + share * inner.width;
                    vec![[x, inner.top], [x, inner.bottom()]]
                } else {
                    let y = self.vertical_place(inner, share);
                    vec![[inner.left, y], [inner.right(), y]]
                };
                drawing.line(line, *stroke);
            }
            Mark::Zone { from, to } => {
                if let (Some(a), Some(b)) = (self.y.share(*from), self.y.share(*to)) {
                    let (a, b) = (self.vertical_place(inner, a), self.vertical_place(inner, b));
                    drawing.shapes.push(Shape::Filled {
                        points: vec![
                            [inner.left, a],
                            [inner.right(), a],
                            [inner.right(), b],
                            [inner.left, b],
                        ],
                        colour: Colour::Faint,
                        opacity: 0.14,
                    });
                }
            }
            Mark::Rug { values, colour } => {
                for value in values {
                    if let Some(share) = self.x.share(*value) {
                        let x = inner.left + share * inner.width;
                        let bottom = inner.bottom();
                        drawing.line(
                            vec![[x, bottom], [x, bottom - 9.0]],
                            Stroke::new(*colour, 1.2).faint(0.5),
                        );
                    }
                }
            }
        }
    }

    fn draw_bars(
        &self,
        drawing: &mut Drawing,
        inner: &Area,
        bars: &[[f64; 3]],
        colour: Colour,
        outlined: bool,
    ) {
        let mut outline = Vec::new();
        for [from, to, height] in bars {
            let corners = [
                self.place(inner, [*from, *height]),
                self.place(inner, [*to, *height]),
            ];
            let [Some(a), Some(b)] = corners else {
                continue;
            };
            if outlined {
                outline.extend([a, b]);
            } else {
                drawing.shapes.push(Shape::Filled {
                    points: vec![a, b, [b[0], inner.bottom()], [a[0], inner.bottom()]],
                    colour,
                    opacity: 0.55,
                });
            }
        }
        if let [first, .., last] = outline[..] {
            let bottom = inner.bottom();
            outline.insert(0, [first[0], bottom]);
            outline.push([last[0], bottom]);
            drawing.line(outline, Stroke::new(colour, 2.0));
        }
    }

    fn draw_box(
        &self,
        drawing: &mut Drawing,
        inner: &Area,
        y: f64,
        quantiles: [f64; 5],
        colour: Colour,
    ) {
        let places = quantiles.map(|value| self.place(inner, [value, y]));
        let [
            Some(low),
            Some(first),
            Some(middle),
            Some(third),
            Some(high),
        ] = places
        else {
            return;
        };
        let stroke = Stroke::new(colour, 1.4);
        drawing.line(vec![low, first], stroke);
        drawing.line(vec![third, high], stroke);
        drawing.shapes.push(Shape::Rect {
            area: Area {
                left: first[0],
                top: first[1] - 7.0,
                width: third[0] - first[0],
                height: 14.0,
            },
            fill: None,
            stroke: Some(stroke),
            hint: String::new(),
        });
        drawing.line(
            vec![[middle[0], middle[1] - 7.0], [middle[0], middle[1] + 7.0]],
            Stroke::new(colour, 2.6),
        );
    }
}

/// Without points that no eye tells from the one before; both ends stay.
fn thinned(points: Vec<Place>) -> Vec<Place> {
    let last = points.len().saturating_sub(1);
    let mut kept: Vec<Place> = Vec::new();
    for (number, point) in points.into_iter().enumerate() {
        let apart = |before: &Place| (before[0] - point[0]).hypot(before[1] - point[1]) >= 0.3;
        if number == last || kept.last().is_none_or(apart) {
            kept.push(point);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_its_ends_and_its_form() {
        let points: Vec<Place> = (0..=1_000).map(|n| [0.01 * f64::from(n), 0.0]).collect();
        let kept = thinned(points);
        assert_eq!((kept[0], kept[kept.len() - 1]), ([0.0, 0.0], [10.0, 0.0]));
        assert!((30..40).contains(&kept.len()), "{}", kept.len());
    }
}
