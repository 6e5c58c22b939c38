//! Drawings as SVG.

use std::fmt::{Result, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Anchor, Area, Colour, Dash, Drawing, Marker, Pixels, Place, Shape, Stroke, png};

/// Where a drawing is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// In a page, which has the variables of the colours.
    Page,
    /// In a file of its own: dark on white.
    File,
}

/// `name` makes the ids of one drawing of a page differ from those of others.
pub fn write(
    drawing: &Drawing,
    ground: Ground,
    name: &str,
    title: &str,
    description: &str,
) -> String {
    let mut svg = String::new();
    let mut writer = Writer {
        svg: &mut svg,
        ground,
    };
    // Writing to a string does not fail.
    if writer.whole(drawing, name, title, description).is_err() {
        svg.clear();
    }
    svg
}

struct Writer<'a> {
    svg: &'a mut String,
    ground: Ground,
}

/// A number as short as it can be.
pub(super) fn short(number: f64) -> String {
    if !number.is_finite() {
        return "0".to_owned();
    }
    let text = format!("{number:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" { "0" } else { text }.to_owned()
}

pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\n' | '\t' => safe.push(' '),
            // XML has no place for these, however they are written.
            control if control.is_control() => {}
            other => safe.push(other),
        }
    }
    safe
}

impl Writer<'_> {
    fn colour(&self, colour: Colour) -> String {
        match self.ground {
            Ground::Page => colour.on_page(),
            Ground::File => colour.as_hex(),
        }
    }

    fn whole(&mut self, drawing: &Drawing, name: &str, title: &str, description: &str) -> Result {
        let (width, height) = (short(drawing.width), short(drawing.height));
        let (title, description) = (escaped(title), escaped(description));
        let size = match self.ground {
            Ground::Page => String::new(),
            Ground::File => format!(r#" width="{width}" height="{height}""#),
        };
        writeln!(
            self.svg,
            r#"<svg xmlns="http://www.w3.org/2000/svg"{size} viewBox="0 0 {width} {height}" role="img" aria-labelledby="{name}-t {name}-d" font-family="'DejaVu Sans',Verdana,'Helvetica Neue',Arial,sans-serif" font-size="14">
<title id="{name}-t">{title}</title>
<desc id="{name}-d">{description}</desc>"#
        )?;
        if self.ground == Ground::File {
            writeln!(
                self.svg,
                r##"<rect width="{width}" height="{height}" fill="#fff"/>"##
            )?;
        }
        for shape in &drawing.shapes {
            self.shape(shape)?;
        }
        writeln!(self.svg, "</svg>")
    }

    fn shape(&mut self, shape: &Shape) -> Result {
        match shape {
            Shape::Line { points, stroke } => {
                let stroke = self.stroke(Some(stroke));
                let path = path(points);
                writeln!(
                    self.svg,
                    r#"<path d="{path}" fill="none"{stroke} stroke-linejoin="round"/>"#
                )
            }
            Shape::Filled {
                points,
                colour,
                opacity,
            } => {
                let (path, colour) = (path(points), self.colour(*colour));
                writeln!(
                    self.svg,
                    r#"<path d="{path}Z" fill="{colour}" fill-opacity="{opacity}"/>"#
                )
            }
            Shape::Rect {
                area,
                fill,
                stroke,
                hint,
            } => {
                let fill = fill.map_or_else(|| "none".to_owned(), |fill| self.colour(fill));
                let stroke = self.stroke(stroke.as_ref());
                let form = format!("rect {}", place(area));
                self.hinted(&format!(r#"{form} fill="{fill}"{stroke}"#), hint)
            }
            Shape::Dot {
                at,
                marker,
                radius,
                colour,
                filled,
                hint,
            } => {
                let colour = self.colour(*colour);
                let look = if *filled {
                    format!(r#" fill="{colour}""#)
                } else {
                    let ground = self.colour(Colour::Paper);
                    format!(r#" fill="{ground}" stroke="{colour}" stroke-width="1.4""#)
                };
                let form = match marker {
                    Marker::Circle => format!(
                        r#"circle cx="{}" cy="{}" r="{}""#,
                        short(at[0]),
                        short(at[1]),
                        short(*radius)
                    ),
                    other => format!(r#"path d="{}Z""#, path(&other.corners(*at, *radius))),
                };
                self.hinted(&(form + &look), hint)
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
                let (x, y) = (short(at[0]), short(at[1]));
                let anchor = match anchor {
                    Anchor::Start => "",
                    Anchor::Middle => r#" text-anchor="middle""#,
                    Anchor::End => r#" text-anchor="end""#,
                };
                let turn = match turned {
                    true => format!(r#" transform="rotate(-90 {x} {y})""#),
                    false => String::new(),
                };
                let weight = if *bold { r#" font-weight="bold""# } else { "" };
                let (colour, text) = (self.colour(*colour), escaped(text));
                let size = short(*size);
                writeln!(
                    self.svg,
                    r#"<text x="{x}" y="{y}" fill="{colour}" font-size="{size}"{anchor}{turn}{weight}>{text}</text>"#
                )
            }
            Shape::Image { area, pixels } => {
                let place = place(area);
                let Some(address) = address(pixels) else {
                    return Ok(());
                };
                writeln!(
                    self.svg,
                    r#"<image {place} preserveAspectRatio="none" style="image-rendering:pixelated" href="{address}"/>"#
                )
            }
        }
    }

    fn hinted(&mut self, form: &str, hint: &str) -> Result {
        if hint.is_empty() {
            return writeln!(self.svg, "<{form}/>");
        }
        let element = form.split(' ').next().unwrap_or_default();
        let hint = escaped(hint);
        writeln!(self.svg, "<{form}><title>{hint}</title></{element}>")
    }

    fn stroke(&self, stroke: Option<&Stroke>) -> String {
        let Some(stroke) = stroke else {
            return String::new();
        };
        let mut text = format!(
            r#" stroke="{}" stroke-width="{}""#,
            self.colour(stroke.colour),
            short(stroke.width)
        );
        if stroke.dash != Dash::Solid {
            let lengths: Vec<String> = stroke.dash.lengths().iter().map(|l| short(*l)).collect();
            text.push_str(&format!(r#" stroke-dasharray="{}""#, lengths.join(" ")));
        }
        if stroke.opacity < 1.0 {
            text.push_str(&format!(r#" stroke-opacity="{}""#, stroke.opacity));
        }
        text
    }
}

fn path(points: &[Place]) -> String {
    let mut text = String::with_capacity(12 * points.len());
    for (number, [x, y]) in points.iter().enumerate() {
        text.push(if number == 0 { 'M' } else { 'L' });
        text.push_str(&short(*x));
        text.push(' ');
        text.push_str(&short(*y));
    }
    text
}

fn place(area: &Area) -> String {
    format!(
        r#"x="{}" y="{}" width="{}" height="{}""#,
        short(area.left),
        short(area.top),
        short(area.width.max(0.0)),
        short(area.height.max(0.0))
    )
}

/// An image as an address that holds it.
pub fn address(pixels: &Pixels) -> Option<String> {
    let bytes = png::rgb(pixels).ok()?;
    Some(format!("data:image/png;base64,{}", STANDARD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_text_is_harmless() {
        assert_eq!(
            [1.0, 0.04, -0.04, 2.25, 1e-9, f64::NAN].map(short),
            ["1", "0", "0", "2.2", "0", "0"]
        );
        assert_eq!(
            escaped("<a \"b\" & \u{1}c\n>"),
            "&lt;a &quot;b&quot; &amp; c &gt;"
        );
    }

    #[test]
    fn a_page_has_variables_and_a_file_colours() {
        let mut drawing = Drawing::new(100.0, 50.0);
        drawing.line(
            vec![[0.0, 0.0], [10.26, 5.0]],
            Stroke::new(Colour::Series(0), 2.0).dashed(Dash::Dotted),
        );
        drawing.shapes.push(Shape::Dot {
            at: [5.0, 5.0],
            marker: Marker::Square,
            radius: 3.0,
            colour: Colour::Ink,
            filled: true,
            hint: "a<b".to_owned(),
        });
        drawing.image(
            drawing.area(),
            Pixels {
                width: 1,
                height: 1,
                rgb: vec![[1, 2, 3]],
            },
        );
        let [page, file] = [Ground::Page, Ground::File]
            .map(|ground| write(&drawing, ground, "f", "T & t", "it falls"));
        assert!(page.contains(r#"stroke="var(--s0)""#) && !page.contains("var(--paper)"));
        assert!(file.contains(r##"stroke="#0072b2""##) && !file.contains("var("));
        for svg in [&page, &file] {
            for part in [
                "<title id=\"f-t\">T &amp; t</title>",
                "<desc id=\"f-d\">it falls</desc>",
                "M0 0L10.3 5",
                "<title>a&lt;b</title></path>",
                "href=\"data:image/png;base64,iVBOR",
            ] {
                assert!(svg.contains(part), "{part}\n{svg}");
            }
        }
    }
}
