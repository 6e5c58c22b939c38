//! Sections of `table.md` with what maps are worth before any threshold, and masks beside their overlap.

use super::marks::percent;
use super::summary::{Row, Summary, Value};
use crate::readable;

/// The section "Maps without a threshold".
pub(super) fn maps(summary: &Summary) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        "## Maps without a threshold".to_owned(),
        String::new(),
        "Of all pooled foreground pixels: AUROC, and the false positive rate where 95 % of the lesion pixels are found. Best \
         DICE is that of the best single threshold, chosen with the pixel labels of these very slices: mean over slices, \
         and of all pixels together. Volume: Pearson's r and Spearman's rho of the pixels of mask and truth over patients \
         of whom every slice is scored."
            .to_owned(),
        String::new(),
        "| method | w | slices | AUROC | FPR at 95 % | best DICE | best DICE, pooled | volume r, rho |".to_owned(),
        "|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    lines.extend(summary.rows.iter().map(map_line));
    lines
}

fn map_line(row: &Row) -> String {
    let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), percent);
    let decimals = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.2}"));
    format!(
        "{} {} | {} | {} | {} | {} |",
        lead(row),
        cell(&row.auroc, percent),
        shown(row.fpr95.mean),
        shown(row.best_dice.map(|best| best.mean)),
        shown(row.best_dice.map(|best| best.pooled)),
        row.volume.as_ref().map_or_else(
            || "-".to_owned(),
            |volume| format!(
                "{}, {} ({})",
                decimals(volume.pearson),
                decimals(volume.spearman),
                readable::count(volume.patients as u64, "patient")
            )
        ),
    )
}

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
    lines.extend(summary.rows.iter().map(mask_line));
    lines
}

fn mask_line(row: &Row) -> String {
    let found = &row.localized;
    format!(
        "{} {} | {} | {} | {} | {} |",
        lead(row),
        cell(&row.precision, percent),
        cell(&row.recall, percent),
        cell(&found.lesion_f1, percent),
        cell(&found.hd95, |pixels| format!("{pixels:.1}")),
        found.hd95_slices,
    )
}

/// The first cells of a line: which row, and of which slices.
fn lead(row: &Row) -> String {
    format!(
        "| {}{} | {} | {} {} |",
        row.method,
        if row.pixel_labels { " †" } else { "" },
        row.guidance.map(|w| w.to_string()).unwrap_or_default(),
        row.slices,
        row.setup.name(),
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
