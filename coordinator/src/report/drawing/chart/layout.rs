//! Where the parts of a chart stand: keys above, texts beside, the rest between the axes.

use super::super::axis::Axis;
use super::super::{Anchor, Area, Colour, Drawing, Place, SMALL, Shape, Stroke, TEXT, font};
use super::{Chart, Key, Sign};

/// Height of a line of keys, and between text and what it names.
const KEY: f64 = 20.0;
const GAP: f64 = 6.0;
const SIGN: f64 = 28.0;

impl Chart {
    pub fn draw(&self, drawing: &mut Drawing, area: Area) {
        let (lines, keys) = self.place_keys(area.width - 16.0);
        let mut top = area.top + 8.0;
        if !self.heading.is_empty() {
            drawing.heading([area.left + 8.0, top + 12.0], self.heading.clone());
            top += 22.0;
        }
        for (key, [x, y]) in self.keys.iter().zip(&keys) {
            key.draw(drawing, [area.left + 8.0 + x, top + y + 13.0]);
        }
        top += KEY * f64::from(lines) + 4.0;
        let inner = self.frame(drawing, area, top);
        for mark in &self.marks {
            self.mark(drawing, &inner, mark);
        }
    }

    /// Lines that the keys take, and where each begins.
    fn place_keys(&self, width: f64) -> (u32, Vec<Place>) {
        let (mut lines, mut x) = (u32::from(!self.keys.is_empty()), 0.0);
        let places = self
            .keys
            .iter()
            .map(|key| {
                let needed = SIGN + GAP + font::width(&key.text, SMALL);
                if x > 0.0 && x + needed > width {
                    lines += 1;
                    x = 0.0;
                }
                let place = [x, KEY * f64::from(lines - 1)];
                x += needed + 14.0;
                place
            })
            .collect();
        (lines, places)
    }

    /// Draws grid, axes and their texts; gives the area between them.
    fn frame(&self, drawing: &mut Drawing, area: Area, top: f64) -> Area {
        let titled = |axis: &Axis| if axis.title.is_empty() { 0.0 } else { 20.0 };
        let names = self.y.has_names();
        let most = 0.42 * area.width;
        // Dots may lie on the axis.
        let apart = if names { GAP + 6.0 } else { GAP };
        let left = self.y.widest(SMALL).min(most) + apart + titled(&self.y) + 6.0;
        let last = self.x.ticks.last().map_or("", |(_, text)| text);
        let right = (font::width(last, SMALL) / 2.0).max(10.0);
        let width = (area.width - left - right).max(40.0);
        #[allow(clippy::cast_precision_loss)]
        let room = width / self.x.ticks.len().max(1) as f64;
        let turned = self.x.has_names() && self.x.widest(SMALL) > room - 4.0;
        let below = match turned {
            true => self.x.widest(SMALL).min(150.0) + 10.0,
            false => 20.0,
        };
        let inner = Area {
            left: area.left + left,
            top,
            width,
            height: (area.bottom() - top - below - titled(&self.x) - 4.0).max(30.0),
        };
        let grid = Stroke::new(Colour::Grid, 1.0);
        for (value, text) in &self.y.ticks {
            let Some(share) = self.y.share(*value) else {
                continue;
            };
            let y = self.vertical_place(&inner, share);
            drawing.line(vec![[inner.left, y], [inner.right(), y]], grid);
            let text = font::shortened(text, most, SMALL);
            drawing.small([inner.left - apart, y + 4.2], text, Anchor::End);
        }
        let mut free = f64::NEG_INFINITY;
        for (value, text) in &self.x.ticks {
            let Some(share) = self.x.share(*value) else {
                continue;
            };
            let x = inner.left + share * inner.width;
            if !(names && self.x.has_names()) {
                drawing.line(vec![[x, inner.top], [x, inner.bottom()]], grid);
            }
            if turned {
                let text = font::shortened(text, 150.0, SMALL);
                drawing.turned(
                    [x + 4.2, inner.bottom() + GAP + 2.0],
                    text,
                    Anchor::End,
                    SMALL,
                );
                continue;
            }
            let half = font::width(text, SMALL) / 2.0;
            if x - half < free {
                continue;
            }
            free = x + half + 4.0;
            drawing.small([x, inner.bottom() + 17.0], text.clone(), Anchor::Middle);
        }
        let axes = vec![
            [inner.left, inner.top],
            [inner.left, inner.bottom()],
            [inner.right(), inner.bottom()],
        ];
        drawing.line(axes, Stroke::new(Colour::Ink, 1.2));
        let middle = inner.left + inner.width / 2.0;
        if !self.x.title.is_empty() {
            drawing.text(
                [middle, area.bottom() - 7.0],
                self.x.title.clone(),
                Anchor::Middle,
            );
        }
        if !self.y.title.is_empty() {
            let middle = inner.top + inner.height / 2.0;
            let text = font::shortened(&self.y.title, area.height, TEXT);
            drawing.turned([area.left + 15.0, middle], text, Anchor::Middle, TEXT);
        }
        inner
    }

    /// Names read downwards, numbers grow upwards.
    pub(super) fn vertical_place(&self, inner: &Area, share: f64) -> f64 {
        match self.y.has_names() {
            true => inner.top + share * inner.height,
            false => inner.bottom() - share * inner.height,
        }
    }

    pub(super) fn place(&self, inner: &Area, [x, y]: Place) -> Option<Place> {
        let (x, y) = (self.x.share(x)?, self.y.share(y)?);
        Some([inner.left + x * inner.width, self.vertical_place(inner, y)])
    }
}

impl Key {
    fn draw(&self, drawing: &mut Drawing, [x, y]: Place) {
        let middle = [x + SIGN / 2.0, y - 4.0];
        let ends = vec![[x, y - 4.0], [x + SIGN, y - 4.0]];
        match &self.sign {
            Sign::Line(stroke) => drawing.line(ends, *stroke),
            Sign::LineAndDot(stroke, marker) => {
                drawing.line(ends, *stroke);
                drawing.dot(middle, *marker, 3.4, stroke.colour, true);
            }
            Sign::Dot(look, filled) => {
                drawing.dot(middle, look.marker, 3.8, look.colour, *filled);
            }
            Sign::Patch(colour) => drawing.shapes.push(Shape::Filled {
                points: vec![
                    [x + 4.0, y - 9.0],
                    [x + SIGN - 4.0, y - 9.0],
                    [x + SIGN - 4.0, y + 1.0],
                    [x + 4.0, y + 1.0],
                ],
                colour: *colour,
                opacity: 0.3,
            }),
        }
        drawing.small([x + SIGN + GAP, y], self.text.clone(), Anchor::Start);
    }
}
