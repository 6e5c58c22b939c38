//! `report/table.md`: the table for people, in the layout of the paper's Table 1 (percent, mean ± deviation).

use anofpdm_common::metrics::setup::Setup;

use super::marks::{Mark, percent};
use super::summary::{EnergyUsed, Row, Summary, Value};
use super::{checks, maps_and_masks, marks, paired};

pub fn document(summary: &Summary) -> String {
    let mut lines = vec![
        format!("# {}", summary.run),
        String::new(),
        table_marked(summary, true),
        String::new(),
        "Percent. `±` is the standard deviation over noise seeds; brackets hold a 95 % bootstrap interval over \
         patients. AUPRC is average precision of all pooled foreground pixels; AUPRC/100 the mean over batches of 100 slices. \
         Rows marked † chose a threshold or a setting with pixel labels; `-native` rows make the mask as the method's \
         authors do. Evaluations and seconds are those of scoring one slice once; methods of one encoding share a pass, \
         and each names all of it. "
            .to_owned()
            + marks::LEGEND,
        String::new(),
        format!(
            "{} of {} slice records, {} duplicates, {} conflicts. Fingerprint `{}`.",
            summary.coverage.scored,
            summary.coverage.planned,
            summary.coverage.duplicates,
            summary.coverage.conflicts,
            summary.fingerprint
        ),
        audits(summary),
        format!(
            "Semantics {}, {} on {}; {} network evaluations, {:.2} device hours{}, {:.2} slices/s.",
            summary.semantics,
            summary.precision,
            summary.device,
            summary.cost.network_evaluations,
            summary.cost.device_seconds / 3600.0,
            summary.cost.energy.as_ref().map_or_else(String::new, energy),
            summary.cost.slices_per_second
        ),
        summary
            .precision_reason
            .as_ref()
            .map_or_else(String::new, |reason| {
                format!("Number format: {}, {reason}.", summary.precision)
            }),
        String::new(),
    ];
    lines.extend(checks::section(summary));
    lines.extend(paired::section(summary));
    lines.extend(paired::ranking(summary));
    lines.extend(maps_and_masks::maps(summary));
    lines.extend(maps_and_masks::masks(summary));
    lines.push(String::new());
    lines.extend(checks::classification(summary));
    lines.extend([
        String::new(),
        "## Calibration (image-level labels of the validation slices)".to_owned(),
        String::new(),
        "| encoding | w | Cos_w | accuracy | M_max | chosen |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ]);
    for row in &summary.calibration {
        let maxima: Vec<String> = row
            .max_divergence
            .iter()
            .map(|max| format!("{max:.4}"))
            .collect();
        lines.push(format!(
            "| {} | {} | {:.5} | {:.1} | {} | {} |",
            row.encoding,
            row.guidance,
            row.cos_threshold,
            100.0 * row.accuracy,
            maxima.join(", "),
            if row.selected { "yes" } else { "" }
        ));
    }
    if !summary.tuning.is_empty() {
        lines.extend(tuning(summary));
    }
    // What a check says stands above already.
    let of_check = |warning: &&String| summary.checks.iter().any(|check| check.text == **warning);
    let mut warnings = summary.warnings.iter().filter(|w| !of_check(w)).peekable();
    if warnings.peek().is_some() {
        lines.push(String::new());
        lines.push("## Warnings".to_owned());
        lines.push(String::new());
        lines.extend(warnings.map(|warning| format!("- {warning}")));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The settings of the baselines, and what each was worth.
fn tuning(summary: &Summary) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        "## Tuning of the baselines (pixel labels of the validation slices)".to_owned(),
        String::new(),
        "| method | S | strength | threshold | mixed DICE | scored |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    for row in &summary.tuning {
        let number = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
        lines.push(format!(
            "| {} | {} | {} | {} | {} | {} |",
            row.method,
            row.noise_scale,
            number(row.strength),
            row.threshold,
            row.dice
                .map_or_else(|| "given".to_owned(), |dice| format!("{:.1}", 100.0 * dice)),
            if row.selected { "yes" } else { "" }
        ));
    }
    lines
}

/// And the device time that it is of: not all where some device told nothing.
fn energy(used: &EnergyUsed) -> String {
    format!(
        ", {:.3} kWh in {:.2} of them",
        used.joules / 3.6e6,
        used.of_device_seconds / 3600.0
    )
}

fn audits(summary: &Summary) -> String {
    let audits = &summary.audits;
    let mut text = format!(
        "{} shards were run again on another worker to compare bits: {} agreed, {} did not.",
        audits.shards, audits.agreed, audits.conflicts
    );
    if !audits.distrusted.is_empty() {
        text.push_str(&format!(
            " Retired for wrong bits, with nothing counting on their word alone: {}.",
            audits.distrusted.join(", ")
        ));
    }
    text
}

/// The table alone, also what `run`, `demo` and `report` print where there is no terminal.
pub fn table(summary: &Summary) -> String {
    table_marked(summary, false)
}

/// With `marked`, the best and second best numbers are so.
fn table_marked(summary: &Summary, marked: bool) -> String {
    let mut lines = vec![
        "| method | w | mixed DICE | IoU | AUPRC | AUPRC/100 | unhealthy DICE | IoU | AUPRC | AUPRC/100 | evaluations | s/slice |"
            .to_owned(),
        "|---|---|---|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    let [of_mixed, of_unhealthy] = Setup::ALL.map(|setup| cells(summary, setup, marked));
    for (mixed, mixed_cells) in &of_mixed {
        let unhealthy = of_unhealthy
            .iter()
            .find(|(row, _)| row.method == mixed.method && row.guidance == mixed.guidance);
        let unhealthy_cells = unhealthy.map_or_else(
            || vec![String::from("-"); MEASURES.len()],
            |(_, cells)| cells.clone(),
        );
        lines.push(format!(
            "| {}{} | {} | {} | {} | {} |",
            checks::in_cell(&mixed.method),
            if mixed.pixel_labels { " †" } else { "" },
            mixed.guidance.map(|w| w.to_string()).unwrap_or_default(),
            mixed_cells.join(" | "),
            unhealthy_cells.join(" | "),
            cost(summary, &mixed.method).join(" | ")
        ));
    }
    lines.join("\n")
}

const MEASURES: [fn(&Row) -> &Value; 4] = [
    |row| &row.dice,
    |row| &row.iou,
    |row| &row.auprc,
    |row| &row.auprc_batch,
];

/// The rows of a set-up with their cells.
fn cells(summary: &Summary, setup: Setup, marked: bool) -> Vec<(&Row, Vec<String>)> {
    let rows: Vec<&Row> = summary
        .rows
        .iter()
        .filter(|row| row.setup == setup)
        .collect();
    let mut found: Vec<(&Row, Vec<String>)> = rows.iter().map(|row| (*row, Vec::new())).collect();
    for measure in MEASURES {
        let marks = marks::marks(&rows, measure);
        for ((row, cells), mark) in found.iter_mut().zip(marks) {
            cells.push(cell(measure(row), if marked { mark } else { Mark::None }));
        }
    }
    found
}

/// The two cost columns of a row; empty for trivial rows, which cost nothing.
pub(super) fn cost(summary: &Summary, row: &str) -> [String; 2] {
    let method = row.strip_suffix("-native").unwrap_or(row);
    let costs = &summary.cost.methods;
    let Some(cost) = costs.iter().find(|cost| cost.method == method) else {
        return Default::default();
    };
    let seconds = cost.seconds_per_slice;
    let seconds = seconds.map_or_else(|| "-".to_owned(), |s| format!("{s:.3}"));
    [cost.evaluations_per_slice.to_string(), seconds]
}

fn cell(value: &Value, mark: Mark) -> String {
    let Some(mean) = value.mean else {
        return "-".to_owned();
    };
    let mut text = marks::number(mean, value.bounds, "–");
    if let Some(std) = value.std {
        text.push_str(&format!(" ± {}", percent(std)));
    }
    text = match mark {
        Mark::None => text,
        Mark::Second => format!("<u>{text}</u>"),
        Mark::Best => format!("**{text}**"),
    };
    if let Some([low, high]) = value.ci95 {
        text.push_str(&format!(" [{}, {}]", percent(low), percent(high)));
    }
    text
}
