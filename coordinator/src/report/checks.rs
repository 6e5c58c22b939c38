//! Whether the numbers can be quoted, for people: a section of `table.md`, and lines under the table on the terminal.

use super::summary::{Check, Classification, State, Summary};
use crate::readable::wrapped;

/// Columns below which text is not wrapped any narrower.
const NARROWEST: usize = 40;

/// The checks that are not ok, each in as many lines of at most `width` columns as it needs; one line where all are.
pub fn lines(summary: &Summary, width: usize) -> Vec<String> {
    let failing = |state| {
        summary
            .checks
            .iter()
            .filter(move |check| check.state == state)
    };
    let bad: Vec<&Check> = failing(State::No).chain(failing(State::Look)).collect();
    let all = summary.checks.len();
    if bad.is_empty() {
        return vec![format!("Can I quote this? All {all} checks are ok.")];
    }
    let heading = format!(
        "Can I quote this? {} of {all} checks are not ok:",
        bad.len()
    );
    let mut lines = behind("", &heading, width);
    for check in bad {
        let label = format!("{:<4}  ", check.state.name());
        let text = format!("{}: {}", check.id, check.text);
        lines.extend(behind(&label, &text, width));
    }
    lines
}

/// `text` behind `label`, further lines indented as far.
fn behind(label: &str, text: &str, width: usize) -> Vec<String> {
    let indent = label.chars().count();
    let lines = wrapped(text, width.max(NARROWEST).saturating_sub(indent));
    let labels = std::iter::once(label).chain(std::iter::repeat(""));
    let lines = labels.zip(lines);
    lines
        .map(|(label, line)| format!("{label:<indent$}{line}"))
        .collect()
}

/// The section "Can I quote this?" of `table.md`: a line a check.
pub fn section(summary: &Summary) -> Vec<String> {
    let mut lines = vec![
        "## Can I quote this?".to_owned(),
        String::new(),
        "| | check | what was found |".to_owned(),
        "|---|---|---|".to_owned(),
    ];
    lines.extend(summary.checks.iter().map(|check| {
        format!(
            "| {} | {} | {} |",
            check.state.name(),
            check.id,
            in_cell(&check.text)
        )
    }));
    lines
}

/// Names of networks and workers may hold what ends a cell.
pub(super) fn in_cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The section "Healthy or unhealthy" of `table.md`.
pub fn classification(summary: &Summary) -> Vec<String> {
    let mut lines = vec![
        "## Healthy or unhealthy".to_owned(),
        String::new(),
        "How well one number of a slice tells unhealthy from healthy ones. `cosine` is the paper's (Eq. 18); `mse-ratio`, \
         the sum of MSE^h over the sum of MSE^null, is not in the paper; `brain-area` (foreground pixels) and \
         `middle-slice` (nearness to the middle of the volume) need no network. The number marked * decides the mixed \
         rows. Base rate is the accuracy of always giving the commoner answer; AUROC of 0.5 is chance; all else is percent."
            .to_owned(),
        String::new(),
        "| slices | number | encoding | w | accuracy | base rate | balanced | sensitivity | specificity | AUROC | threshold |"
            .to_owned(),
        "|---|---|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    lines.extend(summary.classification.iter().map(row));
    lines
}

fn row(one: &Classification) -> String {
    let percent = |value: Option<f64>| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{:.1}", 100.0 * value))
    };
    let mut area = one
        .auroc
        .mean
        .map_or_else(|| "-".to_owned(), |area| format!("{area:.2}"));
    if let Some([low, high]) = one.auroc.ci95 {
        area.push_str(&format!(" [{low:.2}, {high:.2}]"));
    }
    let split = match one.split {
        anofpdm_common::store::slices::Split::Train => "training",
        anofpdm_common::store::slices::Split::Validation => "validation",
        anofpdm_common::store::slices::Split::Test => "test",
    };
    format!(
        "| {split}: {} of {}, {} unhealthy | {}{} | {} | {} | {} | {} | {} | {} | {} | {area} | {} |",
        one.slices,
        counted_patients(one.patients),
        one.unhealthy,
        one.score.name(),
        if one.decides { " *" } else { "" },
        one.encoding.as_deref().unwrap_or(""),
        one.guidance.map(|w| w.to_string()).unwrap_or_default(),
        percent(one.accuracy),
        percent(one.base_rate),
        percent(one.balanced_accuracy),
        percent(one.sensitivity),
        percent(one.specificity),
        one.threshold.map_or_else(|| "-".to_owned(), threshold),
    )
}

/// Pixels need no decimals, cosines several.
fn threshold(threshold: f64) -> String {
    let decimals = if threshold.abs() < 100.0 { 5 } else { 1 };
    format!("{threshold:.decimals$}")
}

fn counted_patients(number: usize) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} patient{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_under_itself() {
        let text = "coverage: ".to_owned() + &"word ".repeat(20);
        let lines = behind("look  ", &text, 44);
        assert!(lines.len() > 2);
        assert!(
            lines.iter().all(|line| line.chars().count() <= 44),
            "{lines:?}"
        );
        assert!(lines[0].starts_with("look  coverage: word"));
        assert!(lines[1].starts_with("      word"), "{lines:?}");
        assert!(lines.iter().all(|line| !line.ends_with(' ')));
        let joined = lines.join(" ");
        assert_eq!(joined.matches("word").count(), 20);
    }

    #[test]
    fn a_word_longer_than_the_line_and_a_narrow_terminal_lose_nothing() {
        let long = "x".repeat(60);
        let lines = behind("no    ", &format!("a {long} b"), 10);
        assert_eq!(
            lines,
            [
                "no    a".to_owned(),
                format!("      {long}"),
                "      b".to_owned()
            ]
        );
    }

    #[test]
    fn a_cell_keeps_its_borders() {
        assert_eq!(in_cell("a|b\nc"), "a\\|b c");
    }
}
