//! Tables 1 and 3 of the paper with the rows of a run.

use anofpdm_common::metrics::setup::Setup;

use super::super::marks::{LEGEND, Mark, is_trivial, marks, number, percent};
use super::super::summary::{Row, Summary, Value};
use super::{document, named, origin};
use crate::readable;

const MEASURES: [fn(&Row) -> &Value; 3] = [|row| &row.dice, |row| &row.iou, |row| &row.auprc];

const GRADIENTS: [&str; 3] = ["gradient", "gradient-te", "gradient-weighted"];

/// All rows but the gradient maps of Table 3, in both set-ups.
pub(super) fn table1(summary: &Summary) -> Option<String> {
    let rows = |setup| -> Vec<&Row> {
        let rows = summary.rows.iter();
        rows.filter(|row| row.setup == setup && !GRADIENTS.contains(&row.method.as_str()))
            .collect()
    };
    let (mixed, unhealthy) = (rows(Setup::Mixed), rows(Setup::Unhealthy));
    if mixed.is_empty() && unhealthy.is_empty() {
        return None;
    }
    let mut lines = vec![
        "\\toprule".to_owned(),
        " & & \\multicolumn{3}{c}{Mixed} & \\multicolumn{3}{c}{Unhealthy} \\\\".to_owned(),
        "\\cmidrule(lr){3-5} \\cmidrule(lr){6-8}".to_owned(),
        "Method & & DICE & IoU & AUPRC & DICE & IoU & AUPRC \\\\".to_owned(),
        "\\midrule".to_owned(),
    ];
    let (mixed_cells, unhealthy_cells) = (cells(&mixed), cells(&unhealthy));
    let mut ruled = false;
    for (row, of_mixed) in mixed.iter().zip(&mixed_cells) {
        let place = unhealthy
            .iter()
            .position(|other| other.method == row.method && other.guidance == row.guidance);
        let of_unhealthy = place.map_or_else(none, |place| unhealthy_cells[place].clone());
        if is_trivial(row) && !ruled {
            lines.push("\\midrule".to_owned());
            ruled = true;
        }
        lines.push(format!(
            "{} & {} & {} & {} \\\\",
            named(&row.method, row.guidance, &mixed),
            labels(row),
            of_mixed.join(" & "),
            of_unhealthy.join(" & ")
        ));
    }
    lines.push("\\bottomrule".to_owned());
    let caption = format!(
        "Mixed: all {} slices of {}; unhealthy: the {} with a lesion, of {}. {} {}",
        count(&mixed).0,
        readable::count(count(&mixed).1 as u64, "patient"),
        count(&unhealthy).0,
        count(&unhealthy).1,
        legend(),
        origin(summary)
    );
    Some(document(&caption, "llcccccc", &lines))
}

/// The gradient maps beside the method's own; `None` where the run has none of them.
pub(super) fn table3(summary: &Summary) -> Option<String> {
    let rows: Vec<&Row> = summary
        .rows
        .iter()
        .filter(|row| row.setup == Setup::Unhealthy)
        .filter(|row| GRADIENTS.contains(&row.method.as_str()) || row.method == "anofpdm-ddim")
        .collect();
    if rows.iter().all(|row| row.method == "anofpdm-ddim") {
        return None;
    }
    let mut lines = vec![
        "\\toprule".to_owned(),
        "Map & DICE & IoU & AUPRC \\\\".to_owned(),
        "\\midrule".to_owned(),
    ];
    let cells = cells(&rows);
    let ordered = |gradients: bool| {
        let rows = rows.iter().zip(&cells);
        rows.filter(move |(row, _)| GRADIENTS.contains(&row.method.as_str()) == gradients)
    };
    for (row, cells) in ordered(true).chain(ordered(false)) {
        lines.push(format!(
            "{} & {} \\\\",
            named(&row.method, row.guidance, &rows),
            cells.join(" & ")
        ));
    }
    lines.push("\\bottomrule".to_owned());
    let (slices, patients) = count(&rows);
    let caption = format!(
        "Gradients of the implicit classifier as anomaly maps, the {slices} slices with a lesion of {patients} patients. \
         {} {}",
        legend(),
        origin(summary)
    );
    Some(document(&caption, "lccc", &lines))
}

fn legend() -> String {
    format!(
        "Percent; $\\pm$ is the standard deviation over noise seeds. $\\checkmark$: no pixel labels were used; $\\times$: \
         a threshold or a setting was chosen with pixel labels. {LEGEND}"
    )
}

/// Slices and patients of the rows.
fn count(rows: &[&Row]) -> (usize, usize) {
    rows.first()
        .map_or((0, 0), |row| (row.slices, row.patients))
}

const fn labels(row: &Row) -> &'static str {
    if row.pixel_labels {
        "$\\times$"
    } else {
        "$\\checkmark$"
    }
}

fn none() -> Vec<String> {
    vec!["--".to_owned(); MEASURES.len()]
}

/// The cells of each row, marked within the column.
fn cells(rows: &[&Row]) -> Vec<Vec<String>> {
    let mut cells = vec![Vec::new(); rows.len()];
    for measure in MEASURES {
        for ((row, mark), cells) in rows.iter().zip(marks(rows, measure)).zip(&mut cells) {
            cells.push(cell(measure(row), mark));
        }
    }
    cells
}

fn cell(value: &Value, mark: Mark) -> String {
    let Some(mean) = value.mean else {
        return "--".to_owned();
    };
    let spread = value.std.map(|std| format!("{{\\pm}}{}", percent(std)));
    let mean = number(mean, value.bounds, "\\mbox{--}");
    let number = format!("${mean}{}$", spread.unwrap_or_default());
    match mark {
        Mark::None => number,
        Mark::Second => format!("\\underline{{{number}}}"),
        Mark::Best => format!("\\textbf{{\\boldmath{number}}}"),
    }
}
