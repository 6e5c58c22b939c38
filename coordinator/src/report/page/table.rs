//! Table 1: every row in both set-ups.

use anofpdm_common::metrics::setup::Setup;
use maud::{Markup, html};

use super::number;
use crate::report::marks::{self, Mark};
use crate::report::summary::{MethodCost, Row, Summary, Value};

/// A column of a set-up.
struct Column {
    name: &'static str,
    /// Its field in `summary.json`, and the anchor of its definition.
    field: &'static str,
    of: fn(&Row) -> &Value,
    /// Shown from the start.
    always: bool,
    marked: bool,
    unit: Unit,
}

enum Unit {
    /// Shown in percent.
    Share,
    Pixels,
}

const COLUMNS: [Column; 10] = [
    column("DICE", "dice", |row| &row.dice, true, true),
    column("IoU", "iou", |row| &row.iou, true, true),
    column("AUPRC", "auprc", |row| &row.auprc, true, true),
    column(
        "AUPRC/100",
        "auprc_batch",
        |row| &row.auprc_batch,
        false,
        true,
    ),
    column("AUROC", "auroc", |row| &row.auroc, false, true),
    column("FPR at 95 %", "fpr95", |row| &row.fpr95, false, false),
    column("precision", "precision", |row| &row.precision, false, false),
    column("recall", "recall", |row| &row.recall, false, false),
    column(
        "lesion F1",
        "lesion_f1",
        |row| &row.localized.lesion_f1,
        false,
        true,
    ),
    Column {
        unit: Unit::Pixels,
        ..column("HD95, px", "hd95", |row| &row.localized.hd95, false, false)
    },
];

const fn column(
    name: &'static str,
    field: &'static str,
    of: fn(&Row) -> &Value,
    always: bool,
    marked: bool,
) -> Column {
    Column {
        name,
        field,
        of,
        always,
        marked,
        unit: Unit::Share,
    }
}

/// Rows of a set-up with their number in `summary.json` and the marks of each column.
struct OfSetup<'a> {
    setup: Setup,
    rows: Vec<(usize, &'a Row)>,
    marks: Vec<Vec<Mark>>,
}

impl<'a> OfSetup<'a> {
    fn new(summary: &'a Summary, setup: Setup) -> Self {
        let rows = summary.rows.iter().enumerate();
        let rows: Vec<(usize, &Row)> = rows.filter(|(_, row)| row.setup == setup).collect();
        let alone: Vec<&Row> = rows.iter().map(|(_, row)| *row).collect();
        let marks = COLUMNS.iter().map(|column| match column.marked {
            true => marks::marks(&alone, column.of),
            false => vec![Mark::None; alone.len()],
        });
        Self {
            setup,
            marks: marks.collect(),
            rows,
        }
    }

    fn find(&self, wanted: &Row) -> Option<usize> {
        let same = |row: &Row| row.method == wanted.method && row.guidance == wanted.guidance;
        self.rows.iter().position(|(_, row)| same(row))
    }
}

fn cell(column: &Column, mark: Mark, index: usize, row: &Row) -> Markup {
    let value = (column.of)(row);
    let at = format!("/rows/{index}/{}", column.field);
    if let Unit::Pixels = column.unit {
        return pixels(value, &at);
    }
    let (low, high) = value.ci95.map_or((0.0, 0.0), |[low, high]| (low, high));
    html! {
        td.num.extra[!column.always] data-v=(value.mean.map(|v| v.to_string()).unwrap_or_default()) {
            span.best[mark == Mark::Best].second[mark == Mark::Second] {
                (number::share(value.mean, &format!("{at}/mean")))
                @if let Some(std) = value.std {
                    " ± " (number::share(Some(std), &format!("{at}/std")))
                }
            }
            @if value.ci95.is_some() {
                br; (number::interval(value.ci95, &format!("{at}/ci95")))
                span.bar aria-hidden="true" {
                    span style=(format!("left:{:.1}%;width:{:.1}%", 100.0 * low.clamp(0.0, 1.0), 100.0 * (high - low).clamp(0.0, 1.0))) {}
                }
            }
        }
    }
}

/// A distance in pixels.
fn pixels(value: &Value, at: &str) -> Markup {
    let decimals = |value, part: &str| number::decimals(value, 1, &format!("{at}/{part}"));
    html! {
        td.num.extra data-v=(value.mean.map(|v| v.to_string()).unwrap_or_default()) {
            (decimals(value.mean, "mean"))
            @if let Some(std) = value.std { " ± " (decimals(Some(std), "std")) }
            @if let Some([low, high]) = value.ci95 {
                br; span.ci { "[" (decimals(Some(low), "ci95/0")) ", " (decimals(Some(high), "ci95/1")) "]" }
            }
        }
    }
}

/// ⌈DICE⌉, where it was measured.
fn best_dice(index: usize, row: &Row) -> Markup {
    let best = row.best_dice;
    let at = format!("/rows/{index}/best_dice");
    html! {
        td.num.extra data-v=(best.map(|best| best.mean.to_string()).unwrap_or_default()) {
            (number::share(best.map(|best| best.mean), &format!("{at}/mean")))
            @if let Some(best) = best {
                br; span.ci { "pooled " (number::share(Some(best.pooled), &format!("{at}/pooled"))) }
            }
        }
    }
}

fn costs<'a>(summary: &'a Summary, row: &Row) -> Option<(usize, &'a MethodCost)> {
    let method = row.method.strip_suffix("-native").unwrap_or(&row.method);
    let mut methods = summary.cost.methods.iter().enumerate();
    methods.find(|(_, cost)| cost.method == method && !marks::is_trivial(row))
}

fn line(summary: &Summary, setups: &[OfSetup<'_>; 2], row: &Row) -> Markup {
    let cost = costs(summary, row);
    html! {
        tr data-labels=(row.pixel_labels) {
            th scope="row" data-v=(row.method) {
                (row.method) @if row.pixel_labels { " †" }
            }
            td.num data-v=(row.guidance.map(|w| w.to_string()).unwrap_or_default()) {
                @if let Some(w) = row.guidance { (w) }
            }
            @for setup in setups {
                @match setup.find(row) {
                    Some(place) => {
                        @let (index, of_setup) = setup.rows[place];
                        @for (number, column) in COLUMNS.iter().enumerate() {
                            (cell(column, setup.marks[number][place], index, of_setup))
                        }
                        (best_dice(index, of_setup))
                    },
                    None => {
                        @for column in &COLUMNS { td.num.extra[!column.always] data-v="" { span.none { (number::NONE) } } }
                        td.num.extra data-v="" { span.none { (number::NONE) } }
                    },
                }
            }
            td.num data-v=(cost.map(|(_, cost)| cost.evaluations_per_slice.to_string()).unwrap_or_default()) {
                @if let Some((index, cost)) = cost {
                    (number::count(cost.evaluations_per_slice, &format!("/cost/methods/{index}/evaluations_per_slice")))
                }
            }
            td.num data-v=(cost.and_then(|(_, cost)| cost.seconds_per_slice).map(|s| s.to_string()).unwrap_or_default()) {
                @if let Some((index, cost)) = cost {
                    (number::decimals(cost.seconds_per_slice, 3, &format!("/cost/methods/{index}/seconds_per_slice")))
                }
            }
        }
    }
}

/// A head that sorts, with a way to what its numbers are.
fn header(name: &str, definition: &str, extra: bool) -> Markup {
    html! {
        th.extra[extra] scope="col" {
            button.sort type="button" { (name) }
            @if !definition.is_empty() { " " a.what href=(format!("#def-{definition}")) aria-label=(format!("what {name} is")) { "?" } }
        }
    }
}

pub(super) fn section(summary: &Summary) -> Markup {
    let setups = Setup::ALL.map(|setup| OfSetup::new(summary, setup));
    let mut order: Vec<&Row> = Vec::new();
    for (_, row) in setups.iter().flat_map(|setup| &setup.rows) {
        if !order
            .iter()
            .any(|one| one.method == row.method && one.guidance == row.guidance)
        {
            order.push(row);
        }
    }
    let (trivial, methods): (Vec<&Row>, Vec<&Row>) =
        order.into_iter().partition(|row| marks::is_trivial(row));
    let shown = COLUMNS.iter().filter(|column| column.always).count();
    html! {
        section #table {
            h2 { "Table 1" }
            p.scripted {
                label { input type="checkbox" data-extra; " more columns: AUPRC/100, AUROC, FPR at 95 %, precision, recall, lesion F1, HD95, ⌈DICE⌉" }
                " " label { input type="checkbox" data-own; " only rows without pixel labels" }
            }
            div.scroll tabindex="0" role="region" aria-label="Table 1" {
                table.sortable {
                    caption { span { "Percent; ± over noise seeds, in brackets the 95 % interval over patients. " (marks::LEGEND) " † used pixel labels." } }
                    thead {
                        tr {
                            th colspan="2" {}
                            @for setup in &setups {
                                th scope="colgroup" colspan=(COLUMNS.len() + 1) data-shown=(shown) data-all=(COLUMNS.len() + 1) {
                                    (setup.setup.name())
                                    @if let Some((_, row)) = setup.rows.first() { ": " (row.slices) " slices" }
                                }
                            }
                            th scope="colgroup" colspan="2" { "one slice" }
                        }
                        tr.heads {
                            (header("method", "", false))
                            (header("w", "w", false))
                            @for _ in &setups {
                                @for column in &COLUMNS { (header(column.name, column.field, !column.always)) }
                                (header("⌈DICE⌉", "best_dice", true))
                            }
                            (header("evaluations", "evaluations", false))
                            (header("seconds", "", false))
                        }
                    }
                    tbody { @for row in &methods { (line(summary, &setups, row)) } }
                    @if !trivial.is_empty() {
                        tbody.trivial { @for row in &trivial { (line(summary, &setups, row)) } }
                    }
                }
            }
        }
    }
}
