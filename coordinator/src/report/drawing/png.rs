//! Drawings and images as PNG.

use std::io;

use anofpdm_common::picture::{Content, png};
use tiny_skia::{
    FillRule, FilterQuality, LineJoin, Paint, PathBuilder, Pixmap, PixmapPaint, PixmapRef,
    StrokeDash, Transform,
};
use ttf_parser::OutlineBuilder;

use super::{Anchor, Area, Colour, Drawing, Marker, Pixels, Place, Shape, Stroke, font};

/// Dots an inch of a drawing as pixels; a drawing's own pixels are 96 an inch.
const DOTS: f64 = 300.0;
const SCALE: f64 = DOTS / 96.0;

/// Longest side of a picture, pixels: no drawing is as large.
const LONGEST: f64 = 20_000.0;

/// An image as it is.
pub fn rgb(pixels: &Pixels) -> io::Result<Vec<u8>> {
    png(pixels.width, pixels.height, &pixels.rgb, Content::Image)
}

/// Grey levels, row by row.
pub fn grey(width: usize, height: usize, levels: &[u8]) -> io::Result<Vec<u8>> {
    png(width, height, levels.as_chunks::<1>().0, Content::Image)
}

/// A drawing on white, at 300 dots an inch.
pub fn drawing(drawing: &Drawing) -> io::Result<Vec<u8>> {
    let too_large = || io::Error::new(io::ErrorKind::InvalidInput, "a drawing too large for PNG");
    let side = |pixels: f64| (SCALE * pixels).ceil().clamp(1.0, LONGEST);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let (width, height) = (side(drawing.width) as u32, side(drawing.height) as u32);
    let mut canvas = Canvas {
        pixels: Pixmap::new(width, height).ok_or_else(too_large)?,
    };
    canvas.pixels.fill(tiny_skia::Color::WHITE);
    for shape in &drawing.shapes {
        canvas.shape(shape);
    }
    // On white nothing is transparent.
    let pixels = canvas.pixels.pixels().iter();
    let opaque: Vec<[u8; 3]> = pixels
        .map(|pixel| [pixel.red(), pixel.green(), pixel.blue()])
        .collect();
    let content = Content::Drawing { dots: DOTS_A_METRE };
    png(width as usize, height as usize, &opaque, content)
}

/// 300 an inch.
const DOTS_A_METRE: u32 = 11_811;

struct Canvas {
    pixels: Pixmap,
}

#[allow(clippy::cast_possible_truncation)]
const fn real(number: f64) -> f32 {
    number as f32
}

fn scaled() -> Transform {
    Transform::from_scale(real(SCALE), real(SCALE))
}

fn paint(colour: Colour, opacity: f64) -> Paint<'static> {
    let [red, green, blue] = colour.on_paper();
    let mut paint = Paint::default();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let alpha = (255.0 * opacity.clamp(0.0, 1.0)).round() as u8;
    paint.set_color_rgba8(red, green, blue, alpha);
    paint.anti_alias = true;
    paint
}

fn path(points: &[Place], closed: bool) -> Option<tiny_skia::Path> {
    let mut path = PathBuilder::new();
    for (number, [x, y]) in points.iter().enumerate() {
        if number == 0 {
            path.move_to(real(*x), real(*y));
        } else {
            path.line_to(real(*x), real(*y));
        }
    }
    if closed {
        path.close();
    }
    path.finish()
}

/// Extent below which a shape is none, pixels of the drawing.
const LEAST: f32 = 0.01;

impl Canvas {
    fn shape(&mut self, shape: &Shape) {
        match shape {
            Shape::Line { points, stroke } => self.stroke(path(points, false), stroke),
            Shape::Filled {
                points,
                colour,
                opacity,
            } => self.fill(path(points, true), *colour, *opacity),
            Shape::Rect {
                area, fill, stroke, ..
            } => {
                let corners = [
                    [area.left, area.top],
                    [area.right(), area.top],
                    [area.right(), area.bottom()],
                    [area.left, area.bottom()],
                ];
                if let Some(fill) = fill {
                    self.fill(path(&corners, true), *fill, 1.0);
                }
                if let Some(stroke) = stroke {
                    self.stroke(path(&corners, true), stroke);
                }
            }
            Shape::Dot {
                at,
                marker,
                radius,
                colour,
                filled,
                ..
            } => {
                let form = match marker {
                    Marker::Circle => {
                        PathBuilder::from_circle(real(at[0]), real(at[1]), real(*radius))
                    }
                    other => path(&other.corners(*at, *radius), true),
                };
                if *filled {
                    self.fill(form, *colour, 1.0);
                } else {
                    self.fill(form.clone(), Colour::Paper, 1.0);
                    self.stroke(form, &Stroke::new(*colour, 1.4));
                }
            }
            Shape::Text {
                at,
                text,
                size,
                anchor,
                bold,
                turned,
                colour,
            } => {
                let width = font::width(text, *size);
                let back = match anchor {
                    Anchor::Start => 0.0,
                    Anchor::Middle => width / 2.0,
                    Anchor::End => width,
                };
                let mut letters = Letters {
                    path: PathBuilder::new(),
                    pen: -back,
                    scale: size / font::units(),
                };
                for character in text.chars() {
                    font::outline(character, &mut letters);
                    letters.pen += font::advance(character, *size);
                }
                let turn = if *turned { -90.0 } else { 0.0 };
                let place = Transform::from_translate(real(at[0]), real(at[1]))
                    .pre_concat(Transform::from_rotate(turn));
                let form = letters.path.finish().and_then(|form| form.transform(place));
                if *bold {
                    self.stroke(form.clone(), &Stroke::new(*colour, size / 28.0));
                }
                self.fill(form, *colour, 1.0);
            }
            Shape::Image { area, pixels } => self.image(area, pixels),
        }
    }

    fn fill(&mut self, form: Option<tiny_skia::Path>, colour: Colour, opacity: f64) {
        // The library warns of areas without an inside.
        let filled = |form: &tiny_skia::Path| {
            let bounds = form.bounds();
            bounds.width() > LEAST && bounds.height() > LEAST
        };
        if let Some(form) = form.filter(filled) {
            let paint = paint(colour, opacity);
            self.pixels
                .fill_path(&form, &paint, FillRule::Winding, scaled(), None);
        }
    }

    fn stroke(&mut self, form: Option<tiny_skia::Path>, stroke: &Stroke) {
        // And of lines without a length.
        let long = |form: &tiny_skia::Path| {
            let bounds = form.bounds();
            bounds.width() > LEAST || bounds.height() > LEAST
        };
        let Some(form) = form.filter(long) else {
            return;
        };
        let dashes: Vec<f32> = stroke.dash.lengths().iter().map(|l| real(*l)).collect();
        let look = tiny_skia::Stroke {
            width: real(stroke.width),
            line_join: LineJoin::Round,
            dash: StrokeDash::new(dashes, 0.0),
            ..tiny_skia::Stroke::default()
        };
        let paint = paint(stroke.colour, stroke.opacity);
        self.pixels
            .stroke_path(&form, &paint, &look, scaled(), None);
    }

    #[allow(clippy::cast_precision_loss)]
    fn image(&mut self, area: &Area, image: &Pixels) {
        let opaque: Vec<u8> = image
            .rgb
            .iter()
            .flat_map(|[red, green, blue]| [*red, *green, *blue, 0xff])
            .collect();
        let side = |side: usize| u32::try_from(side).unwrap_or(0);
        let (width, height) = (side(image.width), side(image.height));
        let Some(pixels) = PixmapRef::from_bytes(&opaque, width, height) else {
            return;
        };
        let place = scaled()
            .pre_translate(real(area.left), real(area.top))
            .pre_scale(
                real(area.width / image.width as f64),
                real(area.height / image.height as f64),
            );
        let squares = PixmapPaint {
            quality: FilterQuality::Nearest,
            ..PixmapPaint::default()
        };
        self.pixels.draw_pixmap(0, 0, pixels, &squares, place, None);
    }
}

/// Characters one beside the other.
struct Letters {
    path: PathBuilder,
    pen: f64,
    scale: f64,
}

impl Letters {
    fn place(&self, x: f32, y: f32) -> (f32, f32) {
        let x = self.pen + self.scale * f64::from(x);
        (real(x), real(-self.scale * f64::from(y)))
    }
}

impl OutlineBuilder for Letters {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.place(x1, y1), self.place(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2)) = (self.place(x1, y1), self.place(x2, y2));
        let (x, y) = self.place(x, y);
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Dash;
    use super::*;

    #[test]
    fn every_kind_of_shape_leaves_pixels() {
        let whole = Drawing::new(40.0, 20.0);
        let area = Area {
            left: 5.0,
            top: 5.0,
            width: 10.0,
            height: 10.0,
        };
        let mut shapes = vec![
            Shape::Filled {
                points: vec![[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]],
                colour: Colour::Series(1),
                opacity: 0.5,
            },
            Shape::Rect {
                area,
                fill: Some(Colour::Ink),
                stroke: None,
                hint: String::new(),
            },
            Shape::Image {
                area,
                pixels: Pixels {
                    width: 1,
                    height: 2,
                    rgb: vec![[9; 3]; 2],
                },
            },
        ];
        let mut lettered = whole.clone();
        lettered.text([2.0, 15.0], "τ ≥ 0.5", Anchor::Start);
        lettered.turned([20.0, 18.0], "w", Anchor::Start, 12.0);
        lettered.line(
            vec![[0.0, 0.0], [40.0, 20.0]],
            Stroke::new(Colour::Ink, 1.0),
        );
        lettered.dot([30.0, 10.0], Marker::Diamond, 4.0, Colour::Series(0), false);
        shapes.extend(lettered.shapes);
        let blank = drawing(&whole).unwrap();
        for shape in shapes {
            let one = Drawing {
                shapes: vec![shape.clone()],
                ..whole.clone()
            };
            assert_ne!(drawing(&one).unwrap(), blank, "{shape:?}");
        }
    }

    #[test]
    fn shapes_without_extent_are_left_out() {
        let blank = Drawing::new(9.0, 9.0);
        let mut flat = blank.clone();
        let points = vec![[1.0, 4.0], [5.0, 4.0], [5.0, 4.0], [1.0, 4.0]];
        flat.shapes.push(Shape::Filled {
            points,
            colour: Colour::Ink,
            opacity: 1.0,
        });
        let stroke = Stroke::new(Colour::Ink, 1.0).dashed(Dash::Dotted);
        flat.line(vec![[3.0, 3.0]; 4], stroke);
        assert_eq!(drawing(&flat).unwrap(), drawing(&blank).unwrap());
    }

    #[test]
    fn an_image_that_contradicts_itself_is_left_out() {
        let mut one = Drawing::new(4.0, 4.0);
        one.image(
            one.area(),
            Pixels {
                width: 3,
                height: 3,
                rgb: vec![[0; 3]; 2],
            },
        );
        assert!(drawing(&one).is_ok());
        assert!(grey(2, 2, &[0; 3]).is_err());
    }
}
