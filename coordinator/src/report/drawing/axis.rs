//! Axes: where a value lies, which values are marked, what they are called.

use super::font;

/// Marks of an axis, roughly.
const MARKS: f64 = 6.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Linear,
    Logarithmic,
    /// Names at 0, 1, 2, …
    Names,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    pub title: String,
    pub low: f64,
    pub high: f64,
    kind: Kind,
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From `low` to `high`, a little wider where `low` and `high` are of the data.
    pub fn linear(title: impl Into<String>, low: f64, high: f64) -> Self {
        let (low, high) = ordered(low, high);
        Self {
            title: title.into(),
            low,
            high,
            kind: Kind::Linear,
            ticks: multiples(low, high, round_down((high - low) / MARKS * 2.0)),
        }
    }

    /// Of all these values, with a margin.
    pub fn around(title: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = ends(values.into_iter().filter(|value| value.is_finite()));
        let margin = 0.04 * (high - low);
        Self::linear(title, low - margin, high + margin)
    }

    /// Of shares in [0, 1], from 0 up to the round number beyond the largest.
    pub fn shares(title: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Self {
        let (_, high) = ends(values.into_iter().filter(|value| value.is_finite()));
        let tenths = [0.1, 0.2, 0.4, 0.6, 0.8, 1.0];
        let high = tenths.into_iter().find(|tenth| high <= *tenth);
        Self::linear(title, 0.0, high.unwrap_or(1.0))
    }

    /// Logarithmic; values that are not positive have no place.
    pub fn logarithmic(title: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Self {
        let positive = |value: &f64| value.is_finite() && *value > 0.0;
        let (low, high) = ends(values.into_iter().filter(positive));
        let (low, high) = match low > 0.0 {
            true => (low, high.max(low * (1.0 + 1e-9))),
            false => (0.1, 10.0),
        };
        let margin = (high / low).powf(0.04).max(1.02);
        let (low, high) = (low / margin, high * margin);
        Self {
            title: title.into(),
            low,
            high,
            kind: Kind::Logarithmic,
            ticks: powers(low, high),
        }
    }

    #[allow(clippy::cast_precision_loss)]
    pub fn names<'a>(
        title: impl Into<String>,
        names: impl IntoIterator<Item = &'a String>,
    ) -> Self {
        let ticks: Vec<(f64, String)> = names
            .into_iter()
            .enumerate()
            .map(|(index, name)| (index as f64, name.clone()))
            .collect();
        Self {
            title: title.into(),
            low: -0.6,
            high: ticks.len() as f64 - 0.4,
            kind: Kind::Names,
            ticks,
        }
    }

    /// Only these values are marked, as they are.
    #[must_use]
    pub fn marked(mut self, ticks: Vec<(f64, String)>) -> Self {
        let inside = |(value, _): &(f64, String)| (self.low..=self.high).contains(value);
        self.ticks = ticks.into_iter().filter(inside).collect();
        self
    }

    pub const fn has_names(&self) -> bool {
        matches!(self.kind, Kind::Names)
    }

    /// Where a value lies, as a share of the axis; values beyond its ends lie at them, what has no place has none.
    pub fn share(&self, value: f64) -> Option<f64> {
        let share = match self.kind {
            Kind::Linear | Kind::Names => (value - self.low) / (self.high - self.low),
            Kind::Logarithmic if value > 0.0 => {
                (value / self.low).ln() / (self.high / self.low).ln()
            }
            Kind::Logarithmic => return None,
        };
        (!share.is_nan() && value.is_finite()).then(|| share.clamp(0.0, 1.0))
    }

    /// Of the longest mark, pixels.
    pub fn widest(&self, size: f64) -> f64 {
        let widths = self.ticks.iter().map(|(_, text)| font::width(text, size));
        widths.fold(0.0, f64::max)
    }
}

/// Smallest and largest; 0 and 1 of none.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low > high { (0.0, 1.0) } else { (low, high) }
}

/// Two different numbers, the smaller first.
fn ordered(low: f64, high: f64) -> (f64, f64) {
    let room = 0.05 * low.abs().max(high.abs()).max(1e-6);
    if !(low.is_finite() && high.is_finite()) {
        (0.0, 1.0)
    } else if high - low < 1e-9 * room {
        (low - room, high + room)
    } else {
        (low, high)
    }
}

/// The largest of 1, 2, 5 times a power of ten that is at most `most`: mantissa and exponent.
fn round_down(most: f64) -> (f64, i32) {
    #[allow(clippy::cast_possible_truncation)]
    let exponent = most.max(1e-300).log10().floor() as i32;
    let scale = 10_f64.powi(exponent);
    let fits = |mantissa: &f64| mantissa * scale <= most * (1.0 + 1e-9);
    let mantissa = [5.0, 2.0].into_iter().find(fits).unwrap_or(1.0);
    (mantissa, exponent)
}

/// Multiples of a round number, with labels that are exact.
fn multiples(from: f64, to: f64, (mantissa, exponent): (f64, i32)) -> Vec<(f64, String)> {
    let apart = mantissa * 10_f64.powi(exponent);
    let first = (from / apart - 1e-9).ceil();
    (0_u32..100)
        .map(|number| first + f64::from(number))
        .take_while(|number| number * apart <= to + 1e-9 * apart)
        .map(|number| (number * apart, label(number * mantissa, exponent)))
        .collect()
}

/// A whole number times a power of ten, exactly; very large and very small ones with their exponent.
fn label(whole: f64, exponent: i32) -> String {
    // No -0.
    let whole = whole + 0.0;
    if whole == 0.0 {
        return "0".to_owned();
    }
    if !(-4..=6).contains(&exponent) {
        return format!("{whole}e{exponent}");
    }
    let decimals = usize::try_from(-exponent).unwrap_or(0);
    let value = whole * 10_f64.powi(exponent);
    if value.abs() >= 10_000.0 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let count = crate::readable::Count(value.abs().round() as u64).to_string();
        return if value < 0.0 {
            format!("-{count}")
        } else {
            count
        };
    }
    format!("{value:.decimals$}")
}

/// 1, 2 and 5 times powers of ten; powers of ten alone where that were too many, and multiples of a round number where
/// it were too few.
fn powers(low: f64, high: f64) -> Vec<(f64, String)> {
    let decades = (high / low).log10();
    if decades < 0.6 {
        return multiples(low, high, round_down((high - low) / MARKS * 2.0));
    }
    #[allow(clippy::cast_possible_truncation)]
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let every = (decades / 8.0).ceil().max(1.0) as usize;
    let mantissas: &[f64] = if decades > 2.5 {
        &[1.0]
    } else {
        &[1.0, 2.0, 5.0]
    };
    (first..=last)
        .step_by(every)
        .flat_map(|exponent| mantissas.iter().map(move |mantissa| (*mantissa, exponent)))
        .map(|(mantissa, exponent)| (mantissa * 10_f64.powi(exponent), label(mantissa, exponent)))
        .filter(|(tick, _)| (low..=high).contains(tick))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn labels_are_round() {
        let log = |low, high| Axis::logarithmic("", [low, high]);
        assert_eq!(
            labels(&log(0.02, 1.0)),
            ["0.02", "0.05", "0.1", "0.2", "0.5", "1"]
        );
        assert_eq!(labels(&log(0.28, 0.7)), ["0.3", "0.4", "0.5", "0.6", "0.7"]);
        assert_eq!(labels(&log(1e-6, 20.0)).len(), 8);
        assert_eq!(
            labels(&Axis::linear("", 0.0, 0.7)),
            ["0", "0.2", "0.4", "0.6"]
        );
        assert_eq!(
            labels(&Axis::linear("", 0.0, 1_600.0)),
            ["0", "500", "1000", "1500"]
        );
        assert_eq!(
            labels(&Axis::linear("", -0.2, 0.31)),
            ["-0.2", "-0.1", "0", "0.1", "0.2", "0.3"]
        );
        assert_eq!(
            labels(&Axis::linear("", 0.0, 40_000.0)),
            ["0", "10,000", "20,000", "30,000", "40,000"]
        );
        assert_eq!(labels(&Axis::linear("", 0.0, 1e9))[1], "2e8");
    }

    #[test]
    fn every_value_has_a_place_or_none() {
        let axis = Axis::linear("", 2.0, 4.0);
        assert_eq!(axis.share(3.0), Some(0.5));
        assert_eq!(axis.share(9.0), Some(1.0));
        assert_eq!(axis.share(f64::NAN), None);
        let axis = Axis::logarithmic("", [1.0, 100.0]);
        assert!((axis.share(10.0).unwrap() - 0.5).abs() < 1e-9);
        assert_eq!([0.0, -1.0].map(|v| axis.share(v)), [None, None]);
    }

    #[test]
    fn one_value_and_none_have_an_axis_too() {
        for axis in [
            Axis::around("", [3.0]),
            Axis::around("", []),
            Axis::around("", [f64::NAN, f64::INFINITY]),
            Axis::linear("", f64::NAN, 1.0),
            Axis::logarithmic("", [0.0]),
            Axis::logarithmic("", [5.0]),
            Axis::logarithmic("", [1e-300, 1e300]),
            Axis::shares("", [0.0]),
        ] {
            assert!(axis.low < axis.high, "{axis:?}");
            assert!(!axis.ticks.is_empty() && axis.ticks.len() < 20, "{axis:?}");
        }
    }
}
