//! Colours: those of a series, told apart with any colour vision (Okabe and Ito), and the scale of maps (cividis).

/// Series with a colour of their own; further ones begin again, with other dashes and markers.
pub const SERIES: usize = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Text and axes.
    Ink,
    /// What stands back: notes, rules.
    Faint,
    Grid,
    /// The ground.
    Paper,
    /// Of the series with this number.
    Series(usize),
    /// The same on light and dark pages.
    Rgb([u8; 3]),
}

/// Name of the page's variable, colour on a light page, colour on a dark one.
type Named = (&'static str, [u8; 3], [u8; 3]);

const INK: Named = ("--ink", [0x1a, 0x1d, 0x21], [0xe8, 0xea, 0xed]);
const FAINT: Named = ("--faint", [0x5a, 0x60, 0x68], [0xa9, 0xb0, 0xb8]);
const GRID: Named = ("--grid", [0xe2, 0xe5, 0xe9], [0x33, 0x38, 0x3f]);
const PAPER: Named = ("--paper", [0xff, 0xff, 0xff], [0x16, 0x19, 0x1d]);
const OF_SERIES: [Named; SERIES] = [
    ("--s0", [0x00, 0x72, 0xb2], [0x5a, 0xb4, 0xf0]),
    ("--s1", [0xd5, 0x5e, 0x00], [0xff, 0x92, 0x4a]),
    ("--s2", [0x00, 0x85, 0x60], [0x3c, 0xd0, 0xa4]),
    ("--s3", [0xb8, 0x5a, 0x91], [0xe8, 0xa0, 0xc8]),
    ("--s4", [0x2f, 0x93, 0xcc], [0x9a, 0xd2, 0xf6]),
    ("--s5", [0xb3, 0x7b, 0x00], [0xf2, 0xbc, 0x3c]),
    ("--s6", [0x6b, 0x6b, 0x6b], [0xb0, 0xb0, 0xb0]),
];

/// Words that say whether a number can be quoted.
const STATES: [Named; 3] = [
    ("--no", [0xa3, 0x3c, 0x00], [0xff, 0x92, 0x4a]),
    ("--look", [0x7a, 0x57, 0x00], [0xf2, 0xbc, 0x3c]),
    ("--ok", [0x00, 0x66, 0x4a], [0x3c, 0xd0, 0xa4]),
];

impl Colour {
    const fn named(self) -> Result<Named, [u8; 3]> {
        Ok(match self {
            Self::Ink => INK,
            Self::Faint => FAINT,
            Self::Grid => GRID,
            Self::Paper => PAPER,
            Self::Series(number) => OF_SERIES[number % SERIES],
            Self::Rgb(rgb) => return Err(rgb),
        })
    }

    /// On white.
    pub const fn on_paper(self) -> [u8; 3] {
        match self.named() {
            Ok((_, light, _)) => light,
            Err(rgb) => rgb,
        }
    }

    /// As a page writes it, which knows whether it is light or dark.
    pub fn on_page(self) -> String {
        match self.named() {
            Ok((name, ..)) => format!("var({name})"),
            Err(rgb) => hex(rgb),
        }
    }

    pub fn as_hex(self) -> String {
        hex(self.on_paper())
    }
}

fn hex([red, green, blue]: [u8; 3]) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// The variables of a page: its light colours, and its dark ones.
pub fn variables() -> [String; 2] {
    let all = || {
        let ground = [INK, FAINT, GRID, PAPER].into_iter();
        ground.chain(OF_SERIES).chain(STATES)
    };
    let listed = |pairs: Vec<(&str, [u8; 3])>| {
        let each = pairs.into_iter();
        each.map(|(name, colour)| format!("{name}:{};", hex(colour)))
            .collect()
    };
    [
        listed(all().map(|(name, light, _)| (name, light)).collect()),
        listed(all().map(|(name, _, dark)| (name, dark)).collect()),
    ]
}

/// Cividis at equal distances: dark blue to yellow, of ever greater lightness (Nuñez et al. 2018).
const CIVIDIS: [[u8; 3]; 10] = [
    [0x00, 0x22, 0x4e],
    [0x12, 0x35, 0x70],
    [0x3b, 0x49, 0x6c],
    [0x57, 0x5d, 0x6d],
    [0x70, 0x71, 0x73],
    [0x8a, 0x86, 0x78],
    [0xa5, 0x9c, 0x74],
    [0xc3, 0xb3, 0x69],
    [0xe1, 0xcc, 0x55],
    [0xfe, 0xe8, 0x38],
];

/// The colour of a share in [0, 1]; what is not a number is grey.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss
)]
pub fn scale(share: f64) -> [u8; 3] {
    if share.is_nan() {
        return [0x80; 3];
    }
    let along = share.clamp(0.0, 1.0) * (CIVIDIS.len() - 1) as f64;
    let low = (along as usize).min(CIVIDIS.len() - 2);
    let rest = along - low as f64;
    let [from, to] = [CIVIDIS[low], CIVIDIS[low + 1]];
    std::array::from_fn(|part| {
        let (a, b) = (f64::from(from[part]), f64::from(to[part]));
        (a + (b - a) * rest).round() as u8
    })
}

/// Whether black or white is read better on it.
pub fn text_on([red, green, blue]: [u8; 3]) -> Colour {
    let light = 0.299 * f64::from(red) + 0.587 * f64::from(green) + 0.114 * f64::from(blue);
    Colour::Rgb(if light > 120.0 { [0; 3] } else { [0xff; 3] })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance as WCAG 2 has it.
    fn luminance(rgb: [u8; 3]) -> f64 {
        let part = |value: u8| {
            let share = f64::from(value) / 255.0;
            if share <= 0.04045 {
                share / 12.92
            } else {
                ((share + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * part(rgb[0]) + 0.7152 * part(rgb[1]) + 0.0722 * part(rgb[2])
    }

    fn contrast(a: [u8; 3], b: [u8; 3]) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_and_lines_are_read_on_both_pages() {
        for (name, light, dark) in [INK, FAINT].into_iter().chain(STATES) {
            assert!(contrast(light, PAPER.1) >= 4.5, "{name}");
            assert!(contrast(dark, PAPER.2) >= 4.5, "{name}");
        }
        for (name, light, dark) in OF_SERIES {
            assert!(contrast(light, PAPER.1) >= 3.0, "{name}");
            assert!(contrast(dark, PAPER.2) >= 3.0, "{name}");
        }
    }

    #[test]
    fn the_scale_grows_lighter_and_has_ends() {
        assert_eq!((scale(-1.0), scale(2.0)), (CIVIDIS[0], CIVIDIS[9]));
        let light: Vec<f64> = (0..=50)
            .map(|n| luminance(scale(f64::from(n) / 50.0)))
            .collect();
        assert!(light.is_sorted(), "{light:?}");
        assert_eq!(scale(f64::NAN), [0x80; 3]);
        for share in 0..=20 {
            let ground = scale(f64::from(share) / 20.0);
            assert!(contrast(text_on(ground).on_paper(), ground) >= 4.3);
        }
    }
}
