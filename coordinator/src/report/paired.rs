//! Sections of `table.md` about patients: whether rows differ, how firm their order is.

use super::marks::percent;
use super::statistics::{Comparison, Metric, RankedBy, Ranking, RowId};
use super::summary::Summary;
use crate::readable;

/// The section "Is it different?": all pairs by DICE.
pub(super) fn section(summary: &Summary) -> Vec<String> {
    let by_dice = summary
        .paired
        .iter()
        .filter(|paired| paired.metric == Metric::Dice);
    let by_dice: Vec<_> = by_dice.collect();
    if by_dice.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![
        String::new(),
        "## Is it different? (DICE, over patients)".to_owned(),
        String::new(),
        "The first row less the second: difference of the numbers in the table, in percent points, with a 95 % bootstrap \
         interval over patients; patients in whom the first is better, of those in whom the two differ; two-sided p of the \
         sign-flip test and of Wilcoxon's signed rank test over patients, after Holm's correction for all pairs of a \
         set-up. summary.json has the same for AUPRC."
            .to_owned(),
    ];
    for paired in by_dice {
        let setup = paired.setup.name();
        lines.push(String::new());
        lines.push(match &paired.note {
            Some(note) => format!("{setup}, {}: {note}.", patients(paired.patients)),
            None => format!("{setup}, {}:", patients(paired.patients)),
        });
        lines.push(String::new());
        lines.push(
            "| first | second | difference | better in | p sign flip | p signed rank |".to_owned(),
        );
        lines.push("|---|---|---|---|---|---|".to_owned());
        lines.extend(paired.comparisons.iter().map(comparison));
    }
    lines
}

fn patients(number: usize) -> String {
    readable::count(number as u64, "patient")
}

fn comparison(one: &Comparison) -> String {
    let difference = one.difference.map_or_else(|| "-".to_owned(), percent);
    let interval = one.ci95.map_or_else(String::new, |[low, high]| {
        format!(" [{}, {}]", percent(low), percent(high))
    });
    format!(
        "| {} | {} | {difference}{interval} | {} of {} | {:.3} | {:.3} |",
        name(&one.first),
        name(&one.second),
        one.better,
        one.better + one.worse,
        one.sign_flip.adjusted_p,
        one.signed_rank.adjusted_p
    )
}

fn name(row: &RowId) -> String {
    match row.guidance {
        Some(guidance) => format!("{} (w {guidance})", row.method),
        None => row.method.clone(),
    }
}

/// The section "How firm is the order?": ranks by DICE.
pub(super) fn ranking(summary: &Summary) -> Vec<String> {
    let by_dice = summary
        .ranking
        .iter()
        .filter(|ranking| ranking.metric == Metric::Dice);
    let mut lines = Vec::new();
    for ranking in by_dice {
        if lines.is_empty() {
            lines.extend([
                String::new(),
                "## How firm is the order? (DICE, over patients)".to_owned(),
                String::new(),
                "Rank of each row by the number in the table, with the share of bootstrap resamples of patients in which it \
                 is so; by the mean of its ranks within patients; by the number of rows that are significantly worse."
                    .to_owned(),
            ]);
        }
        lines.extend([
            String::new(),
            format!("{}, {}:", ranking.setup.name(), patients(ranking.patients)),
            String::new(),
            "| row | by table | in resamples | by ranks | by tests |".to_owned(),
            "|---|---|---|---|---|".to_owned(),
        ]);
        lines.extend((0..ranking.rows.len()).map(|row| ranked(ranking, row)));
    }
    lines
}

fn ranked(ranking: &Ranking, row: usize) -> String {
    let by = |wanted: RankedBy| ranking.rankings.iter().find(|one| one.by == wanted);
    let rank = |wanted| by(wanted).and_then(|one| one.ranks.get(row));
    let shown = |wanted| rank(wanted).map_or_else(|| "-".to_owned(), ToString::to_string);
    let share = by(RankedBy::AggregateThenRank)
        .zip(rank(RankedBy::AggregateThenRank))
        .and_then(|(one, rank)| one.shares.get(row)?.get(rank - 1));
    format!(
        "| {} | {} | {} | {} | {} |",
        name(&ranking.rows[row]),
        shown(RankedBy::AggregateThenRank),
        share.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", 100.0 * share)),
        shown(RankedBy::RankThenAggregate),
        shown(RankedBy::TestBased)
    )
}
