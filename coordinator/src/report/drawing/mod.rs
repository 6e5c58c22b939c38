//! Drawings: one list of shapes, written as SVG for pages and files and as pixels for PNG.
//!
//! Written here rather than by a plotting library: colours that follow the reader's light or dark page, texts for those
//! who cannot see them, exact tick labels, files of some kilobytes.

pub mod axis;
pub mod chart;
pub mod colour;
pub mod font;
pub mod heat;
mod marker;
pub mod png;
pub mod svg;

pub use colour::Colour;
pub use marker::Marker;

/// Text sizes, pixels.
pub const TEXT: f64 = 14.0;
pub const SMALL: f64 = 12.0;

/// A point, pixels from the upper left corner.
pub type Place = [f64; 2];

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Area {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

impl Area {
    pub const fn right(&self) -> f64 {
        self.left + self.width
    }

    pub const fn bottom(&self) -> f64 {
        self.top + self.height
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Drawing {
    pub width: f64,
    pub height: f64,
    pub shapes: Vec<Shape>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A line through points.
    Line { points: Vec<Place>, stroke: Stroke },
    /// An area between points, without a border.
    Filled {
        points: Vec<Place>,
        colour: Colour,
        opacity: f64,
    },
    Rect {
        area: Area,
        fill: Option<Colour>,
        stroke: Option<Stroke>,
        hint: String,
    },
    Dot {
        at: Place,
        marker: Marker,
        radius: f64,
        colour: Colour,
        filled: bool,
        hint: String,
    },
    Text {
        /// Where the baseline begins, has its middle, or ends.
        at: Place,
        text: String,
        size: f64,
        anchor: Anchor,
        bold: bool,
        /// Reads from below to above.
        turned: bool,
        colour: Colour,
    },
    /// Pixels shown as squares.
    Image { area: Area, pixels: Pixels },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stroke {
    pub colour: Colour,
    pub width: f64,
    pub dash: Dash,
    pub opacity: f64,
}

impl Stroke {
    pub const fn new(colour: Colour, width: f64) -> Self {
        Self {
            colour,
            width,
            dash: Dash::Solid,
            opacity: 1.0,
        }
    }

    #[must_use]
    pub const fn dashed(self, dash: Dash) -> Self {
        Self { dash, ..self }
    }

    #[must_use]
    pub const fn faint(self, opacity: f64) -> Self {
        Self { opacity, ..self }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dash {
    Solid,
    Dashed,
    Dotted,
    DashDot,
}

impl Dash {
    pub const ALL: [Self; 4] = [Self::Solid, Self::Dashed, Self::DashDot, Self::Dotted];

    /// Lengths of strokes and gaps, pixels.
    pub const fn lengths(self) -> &'static [f64] {
        match self {
            Self::Solid => &[],
            Self::Dashed => &[7.0, 4.0],
            Self::Dotted => &[2.0, 3.0],
            Self::DashDot => &[8.0, 3.0, 2.0, 3.0],
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// An RGB image, row by row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pixels {
    pub width: usize,
    pub height: usize,
    pub rgb: Vec<[u8; 3]>,
}

impl Drawing {
    pub const fn new(width: f64, height: f64) -> Self {
        Self {
            width,
            height,
            shapes: Vec::new(),
        }
    }

    pub const fn area(&self) -> Area {
        Area {
            left: 0.0,
            top: 0.0,
            width: self.width,
            height: self.height,
        }
    }

    pub fn line(&mut self, points: Vec<Place>, stroke: Stroke) {
        if points.len() > 1 {
            self.shapes.push(Shape::Line { points, stroke });
        }
    }

    pub fn text(&mut self, at: Place, text: impl Into<String>, anchor: Anchor) {
        self.words(at, text, anchor, TEXT, Colour::Ink);
    }

    pub fn small(&mut self, at: Place, text: impl Into<String>, anchor: Anchor) {
        self.words(at, text, anchor, SMALL, Colour::Ink);
    }

    pub fn words(
        &mut self,
        at: Place,
        text: impl Into<String>,
        anchor: Anchor,
        size: f64,
        colour: Colour,
    ) {
        self.shapes.push(Shape::Text {
            at,
            text: text.into(),
            size,
            anchor,
            bold: false,
            turned: false,
            colour,
        });
    }

    pub fn heading(&mut self, at: Place, text: impl Into<String>) {
        self.shapes.push(Shape::Text {
            at,
            text: text.into(),
            size: TEXT,
            anchor: Anchor::Start,
            bold: true,
            turned: false,
            colour: Colour::Ink,
        });
    }

    /// Text that reads from below to above, around or up from `at`.
    pub fn turned(&mut self, at: Place, text: impl Into<String>, anchor: Anchor, size: f64) {
        self.shapes.push(Shape::Text {
            at,
            text: text.into(),
            size,
            anchor,
            bold: false,
            turned: true,
            colour: Colour::Ink,
        });
    }

    pub fn dot(&mut self, at: Place, marker: Marker, radius: f64, colour: Colour, filled: bool) {
        self.shapes.push(Shape::Dot {
            at,
            marker,
            radius,
            colour,
            filled,
            hint: String::new(),
        });
    }

    pub fn image(&mut self, area: Area, pixels: Pixels) {
        self.shapes.push(Shape::Image { area, pixels });
    }
}
