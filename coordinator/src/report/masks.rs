//! What the masks of a row are worth beside their overlap, in Markdown.

use super::marks::percent;
use super::summary::{Row, Summary, Value};

/// The section "Masks".
pub(super) fn masks(summary: &Summary) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        "## Masks".to_owned(),
        String::new(),
        "Precision and recall of the pixels of all slices together. Lesion F1 of their components, slice by slice: a \
         lesion is found when one of its pixels is predicted. HD95 in pixels of the run's images, mean over the slices \
         in which both masks show something: how many of all (slices x seeds) stands behind it, and rows are comparable \
         where these are the same slices."
            .to_owned(),
        String::new(),
        "| method | w | slices | precision | recall | lesion F1 | HD95 | of slices |".to_owned(),
        "|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    lines.extend(summary.rows.iter().map(of_row));
    lines
}

fn of_row(row: &Row) -> String {
    let found = &row.localized;
    format!(
        "| {}{} | {} | {} {} | {} | {} | {} | {} | {} |",
        row.method,
        if row.pixel_labels { " †" } else { "" },
        row.guidance.map(|w| w.to_string()).unwrap_or_default(),
        row.slices,
        row.setup.name(),
        cell(&row.precision, percent),
        cell(&row.recall, percent),
        cell(&found.lesion_f1, percent),
        cell(&found.hd95, |pixels| format!("{pixels:.1}")),
        found.hd95_slices,
    )
}

/// Mean with its interval.
fn cell(value: &Value, shown: fn(f64) -> String) -> String {
    let mean = value.mean.map_or_else(|| "-".to_owned(), shown);
    match value.ci95 {
        Some([low, high]) => format!("{mean} [{}, {}]", shown(low), shown(high)),
        None => mean,
    }
}
