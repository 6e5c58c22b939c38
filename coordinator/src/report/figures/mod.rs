//! The figures of a report: the paper's 2 to 6, and our own. One function makes one figure from plain numbers.

pub mod calls;
pub mod changed;
pub mod differences;
pub mod files;
pub mod gather;
pub mod loss;
pub mod maps;
pub mod patients;
mod picture_grid;
pub mod pixels;
pub mod sizes;
pub mod steps;
pub mod sweeps;

#[cfg(test)]
pub(crate) mod samples;

pub use gather::Figures;

use super::drawing::Drawing;
use super::statistics::RowId;

/// Size of a chart, pixels.
pub const WIDTH: f64 = 460.0;
pub const HEIGHT: f64 = 320.0;

/// A drawing with all that is said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Name of its files.
    pub name: String,
    /// The figure of the paper that it is: `Figure 2a`; empty for our own.
    pub of_paper: &'static str,
    pub title: String,
    /// How many slices, patients, seeds; which strength.
    pub caption: String,
    /// What is to be seen, in numbers, for those who cannot see it.
    pub description: String,
    pub drawing: Drawing,
    /// The numbers drawn, as CSV; empty for pictures.
    pub data: String,
}

/// Lines of CSV.
#[derive(Debug, Default)]
pub(super) struct Csv(String);

impl Csv {
    pub(super) fn new(names: &str) -> Self {
        Self(format!("{names}\n"))
    }

    pub(super) fn row<const N: usize>(&mut self, fields: [String; N]) {
        let quoted = fields.map(|field| super::tidy::field(&field));
        self.0.push_str(&quoted.join(","));
        self.0.push('\n');
    }

    pub(super) fn done(self) -> String {
        self.0
    }
}

/// A number as CSV has it; nothing where there is none.
pub(super) fn number(value: Option<f64>) -> String {
    let finite = value.filter(|value| value.is_finite());
    finite.map_or_else(String::new, |value| value.to_string())
}

/// `anofpdm-ddim (w 2)`.
pub fn name_of(row: &RowId) -> String {
    match row.guidance {
        Some(guidance) => format!("{} (w {guidance})", row.method),
        None => row.method.clone(),
    }
}

/// A part of a file's name.
pub(super) fn file_part(row: &RowId) -> String {
    let name = match row.guidance {
        Some(guidance) => format!("{}-w{guidance}", row.method),
        None => row.method.clone(),
    };
    let plain = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' => c,
        _ => '_',
    };
    name.chars().take(80).map(plain).collect()
}

/// The value below which `share` of the sorted values lie, by linear interpolation.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss
)]
pub(super) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let along = share.clamp(0.0, 1.0) * last as f64;
    let low = along as usize;
    let next = sorted[(low + 1).min(last)];
    Some(sorted[low] + (next - sorted[low]) * (along - low as f64))
}

pub(super) fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut finite: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
    finite.sort_unstable_by(f64::total_cmp);
    finite
}

#[allow(clippy::cast_precision_loss)]
pub(super) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// `3 slices`.
pub(super) fn counted(number: usize, noun: &str) -> String {
    crate::readable::count(number as u64, noun)
}

/// A share in percent with one decimal, or a dash.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), super::marks::percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_between_values() {
        let values = sorted([3.0, f64::NAN, 1.0, 2.0]);
        assert_eq!(quantile(&values, 0.5), Some(2.0));
        assert_eq!(quantile(&values, 0.25), Some(1.5));
        assert_eq!(quantile(&values, 1.0), Some(3.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn names_of_files_are_plain() {
        let row = RowId {
            method: "../a b/ä".to_owned(),
            guidance: Some(0.5),
        };
        assert_eq!(file_part(&row), ".._a_b__-w0.5");
    }
}
