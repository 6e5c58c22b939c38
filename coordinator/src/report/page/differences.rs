//! Whether rows differ.

use maud::{Markup, html};

use super::{figures, number};
use crate::report::figures::{Figure, Figures, name_of};
use crate::report::statistics::Paired;
use crate::report::summary::Summary;

pub(super) fn section(summary: &Summary, made: &Figures) -> Markup {
    html! {
        section #differences {
            h2 { "Is it different?" }
            @if summary.paired.is_empty() {
                p.absent { "There are no two rows to compare." }
            }
            @let (of_pixels, of_masks) = by_metric(&made.differences);
            (figures::grid(&of_masks))
            @if !of_pixels.is_empty() {
                details { summary { "the same by AUPRC" } (figures::grid(&of_pixels)) }
            }
            @for (index, paired) in summary.paired.iter().enumerate() {
                (pairs(index, paired))
            }
        }
    }
}

/// Figures of AUPRC, and the others.
fn by_metric(figures: &[Figure]) -> (Vec<Figure>, Vec<Figure>) {
    let all = figures.iter().cloned();
    all.partition(|figure| figure.name.ends_with("-auprc"))
}

fn pairs(index: usize, paired: &Paired) -> Markup {
    let at = format!("/paired/{index}");
    let title = format!(
        "{}, {}: all pairs",
        paired.metric.name(),
        paired.setup.name()
    );
    html! {
        details {
            summary {
                (title) ", " (number::count(paired.patients as u64, &format!("{at}/patients"))) " patients"
                @if let Some(note) = &paired.note { "; " (note) }
            }
            p {
                "The first row less the second, in percent points; patients in whom the first is better, of those in whom the \
                 two differ; two-sided p over patients after Holm. The smallest p that so many patients can have is "
                (number::decimals(Some(paired.smallest_p), 4, &format!("{at}/smallest_p"))) ", after Holm "
                (number::decimals(Some(paired.smallest_adjusted_p), 4, &format!("{at}/smallest_adjusted_p"))) "."
            }
            div.scroll tabindex="0" role="region" aria-label=(title) {
                table {
                    (number::heads(&["first", "second", "difference", "better in", "p sign flip", "p signed rank"], 2))
                    tbody {
                        @for (number_of, one) in paired.comparisons.iter().enumerate() {
                            @let at = format!("{at}/comparisons/{number_of}");
                            tr {
                                th scope="row" { (name_of(&one.first)) }
                                td { (name_of(&one.second)) }
                                td.num {
                                    (number::share(one.difference, &format!("{at}/difference"))) " "
                                    (number::interval(one.ci95, &format!("{at}/ci95")))
                                }
                                td.num {
                                    (number::count(one.better as u64, &format!("{at}/better")))
                                    " of " (one.better + one.worse)
                                }
                                td.num { (number::decimals(Some(one.sign_flip.adjusted_p), 3, &format!("{at}/sign_flip/adjusted_p"))) }
                                td.num { (number::decimals(Some(one.signed_rank.adjusted_p), 3, &format!("{at}/signed_rank/adjusted_p"))) }
                            }
                        }
                    }
                }
            }
        }
    }
}
