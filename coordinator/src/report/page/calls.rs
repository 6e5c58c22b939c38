//! Healthy or unhealthy: how well numbers of a slice tell the two apart.

use maud::{Markup, html};

use super::{figures, number};
use crate::report::figures::Figures;
use crate::report::summary::{Classification, Summary};

const HEADS: [&str; 11] = [
    "slices",
    "number",
    "encoding",
    "w",
    "accuracy",
    "base rate",
    "balanced",
    "sensitivity",
    "specificity",
    "AUROC",
    "threshold",
];

pub(super) fn section(summary: &Summary, made: &Figures) -> Markup {
    html! {
        section #classification {
            h2 { "Healthy or unhealthy" }
            p {
                "The number marked * calls slices healthy in the mixed rows. " code { "cosine" } " is the paper's (Eq. 18); "
                code { "mse-ratio" } " is the sum of MSE^h over the sum of MSE^null; " code { "brain-area" } " and "
                code { "middle-slice" } " need no network. Base rate: accuracy of always giving the commoner answer; an AUROC \
                of 0.5 is chance."
            }
            @if summary.classification.is_empty() {
                p.absent { "No slice was classified." }
            } @else {
                div.scroll tabindex="0" role="region" aria-label="Healthy or unhealthy" {
                    table {
                        caption { span { "Percent, but for AUROC, threshold and w." } }
                        (number::heads(&HEADS, 3))
                        tbody {
                            @for (index, one) in summary.classification.iter().enumerate() { (line(index, one)) }
                        }
                    }
                }
            }
            (figures::grid(&made.classification))
        }
    }
}

fn line(index: usize, one: &Classification) -> Markup {
    let at = |field: &str| format!("/classification/{index}/{field}");
    html! {
        tr {
            th scope="row" {
                (one.split) ": " (number::count(one.slices as u64, &at("slices"))) " of "
                (number::count(one.patients as u64, &at("patients"))) " patients, "
                (number::count(one.unhealthy as u64, &at("unhealthy"))) " unhealthy"
            }
            td { (one.score.name()) @if one.decides { " *" } }
            td { @if let Some(encoding) = &one.encoding { (encoding) } }
            td.num { @if let Some(w) = one.guidance { (w) } }
            td.num { (number::share(one.accuracy, &at("accuracy"))) }
            td.num { (number::share(one.base_rate, &at("base_rate"))) }
            td.num { (number::share(one.balanced_accuracy, &at("balanced_accuracy"))) }
            td.num { (number::share(one.sensitivity, &at("sensitivity"))) }
            td.num { (number::share(one.specificity, &at("specificity"))) }
            td.num {
                (number::decimals(one.auroc.mean, 2, &at("auroc/mean")))
                @if let Some([low, high]) = one.auroc.ci95 {
                    " " span.ci {
                        "[" (number::decimals(Some(low), 2, &at("auroc/ci95/0"))) ", "
                        (number::decimals(Some(high), 2, &at("auroc/ci95/1"))) "]"
                    }
                }
            }
            td.num { (number::decimals(one.threshold, decimals(one.threshold), &at("threshold"))) }
        }
    }
}

/// Pixels need no decimals, cosines several.
fn decimals(threshold: Option<f64>) -> usize {
    match threshold {
        Some(pixels) if pixels.abs() >= 100.0 => 1,
        _ => 5,
    }
}
