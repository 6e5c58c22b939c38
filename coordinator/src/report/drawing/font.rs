//! The font that PNG files are lettered in: widths of texts, outlines of characters.

use std::sync::LazyLock;

use ttf_parser::{Face, OutlineBuilder};

static BYTES: &[u8] = include_bytes!("../../../fonts/DejaVuSans-subset.ttf");

/// `None` never, as a test says: the file is part of the program.
static FACE: LazyLock<Option<Face<'static>>> = LazyLock::new(|| Face::parse(BYTES, 0).ok());

/// Shown for characters that the font does not have.
const UNKNOWN: char = '\u{fffd}';

/// Width of a text in pixels. Other fonts that a page may be shown in are mostly narrower.
pub fn width(text: &str, size: f64) -> f64 {
    text.chars().map(|character| advance(character, size)).sum()
}

/// How far the next character stands from the beginning of this one, pixels.
pub(super) fn advance(character: char, size: f64) -> f64 {
    let of_face = FACE.as_ref().and_then(|face| {
        let glyph = face
            .glyph_index(character)
            .or_else(|| face.glyph_index(UNKNOWN))?;
        let units = f64::from(face.glyph_hor_advance(glyph)?);
        Some(units / f64::from(face.units_per_em()) * size)
    });
    of_face.unwrap_or(0.6 * size)
}

/// Gives the outline of a character to `builder`, in units of which [`units`] make the size of the font; upwards is
/// positive.
pub(super) fn outline(character: char, builder: &mut dyn OutlineBuilder) {
    if let Some(face) = FACE.as_ref()
        && let Some(glyph) = face
            .glyph_index(character)
            .or_else(|| face.glyph_index(UNKNOWN))
    {
        face.outline_glyph(glyph, builder);
    }
}

pub(super) fn units() -> f64 {
    FACE.as_ref()
        .map_or(1_000.0, |face| f64::from(face.units_per_em()))
}

/// A text of at most `most` pixels, its end left out where it is longer.
pub fn shortened(text: &str, most: f64, size: f64) -> String {
    if width(text, size) <= most {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut room = most - advance('…', size);
    for character in text.chars() {
        room -= advance(character, size);
        if room < 0.0 {
            break;
        }
        kept.push(character);
    }
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_has_what_charts_are_lettered_with() {
        let face = FACE.as_ref().expect("the font can be read");
        for character in "azAZ09 %±·×†∇²√Στε≤≥⌈⌉–…äßéłяΩ†→".chars()
        {
            assert!(face.glyph_index(character).is_some(), "{character}");
        }
        let (narrow, wide) = (width("il", 14.0), width("MW", 14.0));
        assert!(0.0 < narrow && narrow < wide, "{narrow} {wide}");
        assert_eq!(width("", 14.0), 0.0);
        assert!(width("\u{4e00}", 14.0) > 0.0, "what is unknown has a place");
    }

    #[test]
    fn long_texts_are_shortened_to_fit() {
        assert_eq!(shortened("short", 100.0, 14.0), "short");
        let cut = shortened("a very long name of a method", 80.0, 14.0);
        assert!(cut.ends_with('…') && width(&cut, 14.0) <= 80.0, "{cut}");
        assert_eq!(shortened("abc", 0.0, 14.0), "…");
    }
}
