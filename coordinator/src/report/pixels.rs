//! What the maps of a row are worth before any threshold, in Markdown.

use super::marks::percent;
use super::summary::{Row, Summary};
use crate::readable;

/// The section "Maps without a threshold".
pub(super) fn pixels(summary: &Summary) -> Vec<String> {
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
    lines.extend(summary.rows.iter().map(of_row));
    lines
}

fn of_row(row: &Row) -> String {
    let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), percent);
    let decimals = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.2}"));
    let area = row.auroc.ci95.map_or_else(
        || shown(row.auroc.mean),
        |[low, high]| {
            format!(
                "{} [{}, {}]",
                shown(row.auroc.mean),
                percent(low),
                percent(high)
            )
        },
    );
    format!(
        "| {}{} | {} | {} {} | {area} | {} | {} | {} | {} |",
        row.method,
        if row.pixel_labels { " †" } else { "" },
        row.guidance.map(|w| w.to_string()).unwrap_or_default(),
        row.slices,
        row.setup.name(),
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
