//! Numbers of a page: each says where in `summary.json` it stands, so that a test can compare them.

use maud::{Markup, html};

use crate::report::marks::percent;

/// What a missing number is shown as.
pub(super) const NONE: &str = "–";

/// A share in percent with one decimal; `at` is its JSON pointer in `summary.json`.
pub(super) fn share(value: Option<f64>, at: &str) -> Markup {
    shown(value, at, percent)
}

/// A number with so many decimals.
pub(super) fn decimals(value: Option<f64>, decimals: usize, at: &str) -> Markup {
    shown(value, at, |value| format!("{value:.decimals$}"))
}

/// A number as short as it can be without losing anything.
pub(super) fn exact(value: Option<f64>, at: &str) -> Markup {
    shown(value, at, |value| value.to_string())
}

/// A count with thousands set apart.
pub(super) fn count(value: u64, at: &str) -> Markup {
    html! { data value=(value) data-of=(at) { (crate::readable::Count(value)) } }
}

fn shown(value: Option<f64>, at: &str, text: impl Fn(f64) -> String) -> Markup {
    match value.filter(|value| value.is_finite()) {
        Some(value) => html! { data value=(value) data-of=(at) { (text(value)) } },
        None => html! { span.none { (NONE) } },
    }
}

/// An interval of shares in percent, in brackets.
pub(super) fn interval(ends: Option<[f64; 2]>, at: &str) -> Markup {
    html! {
        @if let Some([low, high]) = ends {
            span.ci { "[" (share(Some(low), &format!("{at}/0"))) ", " (share(Some(high), &format!("{at}/1"))) "]" }
        }
    }
}

/// The heads of a table whose columns hold numbers from the one with number `first` on.
pub(super) fn heads(names: &[&str], first: usize) -> Markup {
    html! {
        thead { tr { @for (column, name) in names.iter().enumerate() {
            th.num[column >= first] scope="col" { (name) }
        } } }
    }
}
