//! The paired differences of all rows, by DICE.

use anofpdm_common::metrics::setup::Setup;

use super::super::marks::percent;
use super::super::statistics::{Comparison, Metric, Paired};
use super::super::summary::{Row, Summary};
use super::{document, escaped, named, origin};
use crate::readable;

/// `None` without two rows to compare.
pub(super) fn table(summary: &Summary) -> Option<String> {
    let by_dice: Vec<&Paired> = summary
        .paired
        .iter()
        .filter(|paired| paired.metric == Metric::Dice)
        .collect();
    if by_dice.is_empty() {
        return None;
    }
    let mut lines = vec![
        "\\toprule".to_owned(),
        "First & Second & Difference & 95\\,\\% interval & Better in & Sign flip & Signed rank \\\\".to_owned(),
    ];
    let mut notes = String::new();
    for paired in &by_dice {
        let rows: Vec<&Row> = summary
            .rows
            .iter()
            .filter(|row| row.setup == paired.setup)
            .collect();
        let title = match paired.setup {
            Setup::Mixed => "Mixed",
            Setup::Unhealthy => "Unhealthy",
        };
        lines.push("\\midrule".to_owned());
        lines.push(format!(
            "\\multicolumn{{7}}{{c}}{{{title}, {}}} \\\\",
            readable::count(paired.patients as u64, "patient")
        ));
        lines.push("\\cmidrule(lr){1-7}".to_owned());
        lines.extend(paired.comparisons.iter().map(|one| line(one, &rows)));
        if let Some(note) = &paired.note {
            notes.push_str(&format!(" {title}: {}.", escaped(note)));
        }
    }
    lines.push("\\bottomrule".to_owned());
    let caption = format!(
        "Differences of DICE, the first row less the second, in percent points, with a bootstrap interval over patients; \
         patients in whom the first is better, of those in whom the two differ; two-sided p of the sign-flip test and of \
         Wilcoxon's signed rank test over patients, after Holm's correction for all pairs of a set-up.{notes} {}",
        origin(summary)
    );
    Some(document(&caption, "llrcrll", &lines))
}

fn line(one: &Comparison, rows: &[&Row]) -> String {
    let interval = one.ci95.map_or_else(
        || "--".to_owned(),
        |[low, high]| format!("$[{}, {}]$", percent(low), percent(high)),
    );
    let difference = one.difference.map_or_else(
        || "--".to_owned(),
        |difference| format!("${}$", percent(difference)),
    );
    format!(
        "{} & {} & {difference} & {interval} & {} of {} & {} & {} \\\\",
        named(&one.first.method, one.first.guidance, rows),
        named(&one.second.method, one.second.guidance, rows),
        one.better,
        one.better + one.worse,
        probability(one.sign_flip.adjusted_p),
        probability(one.signed_rank.adjusted_p),
    )
}

/// Three decimals; below them, that it is below.
fn probability(p: f64) -> String {
    if p < 0.001 {
        "$<0.001$".to_owned()
    } else {
        format!("${p:.3}$")
    }
}
