//! Pictures of slices side by side: what Figures 3, 4 and 6 and the slices of a comparison are made of.

use super::percent;
use crate::report::drawing::{
    Anchor, Area, Colour, Drawing, Pixels, SMALL, Shape, Stroke, colour, font,
};
use crate::report::exhibits::{Mask, MethodExhibit, SliceExhibit, SlicePlace};

/// Side of a picture and the space beside it, pixels of the drawing.
const SIDE: f64 = 96.0;
const GAP: f64 = 6.0;
const LEFT: f64 = 8.0;

/// Height of a line above a row.
pub(super) const NOTE: f64 = 18.0;

pub(super) fn grey(width: usize, height: usize, levels: &[u8]) -> Pixels {
    Pixels {
        width,
        height,
        rgb: levels.iter().map(|level| [*level; 3]).collect(),
    }
}

pub(super) fn coloured(width: usize, height: usize, shares: impl Iterator<Item = f64>) -> Pixels {
    Pixels {
        width,
        height,
        rgb: shares.map(colour::scale).collect(),
    }
}

/// Truth and mask over an image: both white, truth alone orange, mask alone blue.
const BOTH: [u8; 3] = [0xff, 0xff, 0xff];
const MISSED: [u8; 3] = [0xe6, 0x9f, 0x00];
const WRONG: [u8; 3] = [0x38, 0x8c, 0xe0];

pub(super) fn outcome(slice: &SliceExhibit, mask: &Mask) -> Pixels {
    let count = slice.width * slice.height;
    let (truth, mask) = (slice.truth.pixels(count), mask.pixels(count));
    let image = slice.images.first();
    let rgb = (0..count).map(|pixel| match (truth[pixel], mask[pixel]) {
        (true, true) => BOTH,
        (true, false) => MISSED,
        (false, true) => WRONG,
        (false, false) => {
            let level = image.and_then(|image| image.get(pixel)).copied();
            [level.unwrap_or(0) / 2; 3]
        }
    });
    Pixels {
        width: slice.width,
        height: slice.height,
        rgb: rgb.collect(),
    }
}

pub(super) fn truth_alone(width: usize, height: usize, truth: &Mask) -> Pixels {
    let levels: Vec<u8> = truth
        .pixels(width * height)
        .iter()
        .map(|set| if *set { 255 } else { 0 })
        .collect();
    grey(width, height, &levels)
}

/// A grid of pictures, with a line of text below each.
pub(super) struct Grid {
    pub(super) drawing: Drawing,
    top: f64,
}

/// Above the columns: their names.
const NAMES: f64 = 42.0;
const ROW: f64 = SIDE + 24.0;

impl Grid {
    pub(super) fn new(columns: &[String], rows: usize, notes: f64) -> Self {
        let width = LEFT + columns.len() as f64 * (SIDE + GAP);
        let mut drawing = Drawing::new(width, NAMES + rows as f64 * (ROW + notes) + 4.0);
        for (column, name) in columns.iter().enumerate() {
            let text = font::shortened(name, SIDE + GAP - 2.0, SMALL);
            let x = Self::x(column) + SIDE / 2.0;
            drawing.small([x, NAMES - 8.0], text, Anchor::Middle);
        }
        Self {
            drawing,
            top: NAMES,
        }
    }

    /// A name above two columns.
    pub(super) fn above(&mut self, column: usize, name: &str) {
        let text = font::shortened(name, 2.0 * SIDE, SMALL);
        let x = Self::x(column) + SIDE + GAP / 2.0;
        self.drawing.small([x, NAMES - 24.0], text, Anchor::Middle);
    }

    fn x(column: usize) -> f64 {
        LEFT + column as f64 * (SIDE + GAP)
    }

    pub(super) fn note(&mut self, text: String) {
        let width = self.drawing.width - LEFT - 4.0;
        let text = font::shortened(&text, width, SMALL);
        self.drawing
            .small([LEFT, self.top + 12.0], text, Anchor::Start);
        self.top += NOTE;
    }

    pub(super) fn picture(&mut self, column: usize, pixels: Pixels, below: String) {
        let area = Area {
            left: Self::x(column),
            top: self.top,
            width: SIDE,
            height: SIDE,
        };
        self.drawing.image(area, pixels);
        self.drawing.shapes.push(Shape::Rect {
            area,
            fill: None,
            stroke: Some(Stroke::new(Colour::Faint, 0.6)),
            hint: String::new(),
        });
        let below = font::shortened(&below, SIDE + GAP - 2.0, 11.0);
        let at = [area.left + SIDE / 2.0, area.bottom() + 14.0];
        self.drawing
            .words(at, below, Anchor::Middle, 11.0, Colour::Ink);
    }

    /// The map of a method, its ends below it; nothing where it was not kept.
    pub(super) fn map(&mut self, column: usize, slice: &SliceExhibit, exhibit: &MethodExhibit) {
        let MethodExhibit { map, low, high, .. } = exhibit;
        if map.is_empty() {
            return;
        }
        let shares = map.iter().map(|level| f64::from(*level) / 255.0);
        let scale = format!("{low:.0e} … {high:.0e}");
        self.picture(column, coloured(slice.width, slice.height, shares), scale);
    }

    pub(super) fn next(&mut self) {
        self.top += ROW;
    }
}

pub(super) fn place_name(place: &SlicePlace) -> String {
    format!("{}, slice {}", place.subject, place.slice)
}

/// The DICE of a mask, and whether its slice was called healthy all the same.
pub(super) fn dice_below(exhibit: &MethodExhibit) -> String {
    let dice = percent(Some(exhibit.dice));
    match exhibit.called_unhealthy {
        true => format!("DICE {dice}"),
        false => format!("{dice} healthy"),
    }
}
