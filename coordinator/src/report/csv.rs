//! `report/table.csv`: one line a row, fractions, every seed's value in its own column.

use std::fmt::Write;

use super::summary::{Row, Summary, Value};
use super::tidy::field;

/// The table; columns are named in the first line, undefined values are empty.
pub fn table(summary: &Summary) -> String {
    let seeds = summary
        .rows
        .iter()
        .map(|row| row.seeds.len())
        .max()
        .unwrap_or(0);
    let mut text = String::from("method,guidance,setup,pixel_labels,noise_scale,threshold");
    for metric in ["dice", "iou", "auprc", "auprc_batch"] {
        for part in ["mean", "std", "ci_low", "ci_high"] {
            append(&mut text, format_args!(",{metric}_{part}"));
        }
        for seed in 0..seeds {
            append(&mut text, format_args!(",{metric}_run{seed}"));
        }
    }
    text.push('\n');
    for row in &summary.rows {
        line(&mut text, row, seeds);
    }
    text
}

fn line(text: &mut String, row: &Row, seeds: usize) {
    let guidance = row.guidance.map(|w| w.to_string()).unwrap_or_default();
    append(
        text,
        format_args!(
            "{},{guidance},{},{}",
            field(&row.method),
            row.setup.name(),
            row.pixel_labels
        ),
    );
    match &row.settings {
        Some(settings) => {
            let threshold = settings.threshold.map(|t| t.to_string());
            let threshold = threshold.unwrap_or_default();
            append(text, format_args!(",{},{threshold}", settings.noise_scale));
        }
        None => text.push_str(",,"),
    }
    for value in [&row.dice, &row.iou, &row.auprc, &row.auprc_batch] {
        let Value {
            mean,
            std,
            per_seed,
            ci95,
            bounds: _,
        } = value;
        let [low, high] = ci95.map_or([None, None], |bounds| bounds.map(Some));
        let fixed = [*mean, *std, low, high];
        let each = (0..seeds).map(|seed| per_seed.get(seed).copied().flatten());
        for number in fixed.into_iter().chain(each) {
            match number {
                Some(number) => append(text, format_args!(",{number}")),
                None => text.push(','),
            }
        }
    }
    text.push('\n');
}

/// Writing to a `String` cannot fail.
fn append(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let written = text.write_fmt(arguments);
    debug_assert!(written.is_ok());
}
