//! The table as `run`, `demo` and `report` print it, with its legend below: as many columns as the terminal has room
//! for, the ones that matter most first.

use std::path::Path;

use anofpdm_common::metrics::setup::Setup;

use super::markdown;
use super::marks::{is_trivial, number, percent};
use super::summary::{Row, Summary, Value};
use crate::readable::{self, wrapped};

/// Longest line of the legend.
const LEGEND: usize = 120;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Method,
    Strength,
    Measure(Setup, Measure),
    Evaluations,
    Seconds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Dice,
    Iou,
    Auprc,
    AuprcBatch,
}

use Column::{Evaluations, Method, Seconds, Strength};
use Measure::{Auprc, AuprcBatch, Dice, Iou};
use Setup::{Mixed, Unhealthy};

/// All columns as they stand beside each other.
const ORDER: [Column; 12] = [
    Method,
    Strength,
    Column::Measure(Mixed, Dice),
    Column::Measure(Mixed, Iou),
    Column::Measure(Mixed, Auprc),
    Column::Measure(Mixed, AuprcBatch),
    Column::Measure(Unhealthy, Dice),
    Column::Measure(Unhealthy, Iou),
    Column::Measure(Unhealthy, Auprc),
    Column::Measure(Unhealthy, AuprcBatch),
    Evaluations,
    Seconds,
];

/// What every table should have, and what is left out first where even that is too wide: the last.
const BASE: [Column; 5] = [
    Method,
    Column::Measure(Unhealthy, Dice),
    Column::Measure(Mixed, Dice),
    Strength,
    Column::Measure(Unhealthy, Auprc),
];

/// What is added where there is room, in this order.
const MORE: [Column; 7] = [
    Column::Measure(Mixed, Auprc),
    Column::Measure(Unhealthy, Iou),
    Column::Measure(Mixed, Iou),
    Seconds,
    Evaluations,
    Column::Measure(Unhealthy, AuprcBatch),
    Column::Measure(Mixed, AuprcBatch),
];

/// How a number with its spread is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spread {
    Beside,
    /// The interval in a second line.
    Below,
}

/// Table and legend for `width` columns; without a width the Markdown table of `table.md`, which has every column, for
/// programs that read it.
pub fn table(summary: &Summary, width: Option<usize>) -> String {
    let (mut lines, shown) = match width {
        Some(width) => {
            let (lines, columns, _) = fitted(summary, width);
            (lines, columns)
        }
        None => (
            markdown::table(summary)
                .lines()
                .map(str::to_owned)
                .collect(),
            ORDER.to_vec(),
        ),
    };
    lines.push(String::new());
    let columns = width.unwrap_or(LEGEND).min(LEGEND);
    lines.extend(wrapped(&legend(summary, &shown), columns));
    lines.join("\n")
}

/// Where the files are, and what the table must be called by.
pub fn origin(summary: &Summary, report: &Path) -> String {
    format!(
        "report       {}\nfingerprint  {}",
        report.join("report.html").display(),
        summary.fingerprint
    )
}

/// The widest table that fits, its columns, and how spreads are written in it.
fn fitted(summary: &Summary, width: usize) -> (Vec<String>, Vec<Column>, Spread) {
    let fit = |columns: &[Column], spread| {
        let ordered = ORDER.into_iter().filter(|column| columns.contains(column));
        let ordered: Vec<Column> = ordered.collect();
        let lines = drawn(summary, &ordered, spread);
        (readable::width(&lines) <= width).then_some((lines, ordered, spread))
    };
    for spread in [Spread::Beside, Spread::Below] {
        let Some(mut best) = fit(&BASE, spread) else {
            continue;
        };
        for column in MORE {
            let columns = [&best.1[..], &[column]].concat();
            best = fit(&columns, spread).unwrap_or(best);
        }
        return best;
    }
    // What is narrower than two columns is wrapped by the terminal.
    let narrow = (2..BASE.len()).rev();
    narrow
        .filter_map(|count| fit(&BASE[..count], Spread::Below))
        .next()
        .unwrap_or_else(|| {
            let columns = BASE[..2].to_vec();
            (
                drawn(summary, &columns, Spread::Below),
                columns,
                Spread::Below,
            )
        })
}

fn drawn(summary: &Summary, columns: &[Column], spread: Spread) -> Vec<String> {
    let rows = rows(summary);
    let header: Vec<String> = columns.iter().map(|column| column.header()).collect();
    let mut cells = vec![Vec::new(); rows.len()];
    for column in columns {
        let texts = column.texts(summary, &rows, spread);
        for (row, text) in cells.iter_mut().zip(texts) {
            row.push(text);
        }
    }
    let right: Vec<usize> = (0..columns.len())
        .filter(|index| matches!(columns[*index], Strength | Evaluations | Seconds))
        .collect();
    readable::table(&header, &cells, &right)
}

/// The rows of one method at one strength in both set-ups.
struct Both<'a> {
    mixed: &'a Row,
    unhealthy: Option<&'a Row>,
}

fn rows(summary: &Summary) -> Vec<Both<'_>> {
    let of = |setup| summary.rows.iter().filter(move |row| row.setup == setup);
    of(Mixed)
        .map(|mixed| Both {
            mixed,
            unhealthy: of(Unhealthy)
                .find(|row| row.method == mixed.method && row.guidance == mixed.guidance),
        })
        .collect()
}

impl Column {
    fn header(self) -> String {
        match self {
            Method => "\nmethod".to_owned(),
            Strength => "\nw".to_owned(),
            Self::Measure(setup, measure) => {
                let setup = match setup {
                    Mixed => "mixed",
                    Unhealthy => "unhealthy",
                };
                format!("{setup}\n{}", measure.name())
            }
            Evaluations => "\nevaluations".to_owned(),
            Seconds => "\ns/slice".to_owned(),
        }
    }

    fn texts(self, summary: &Summary, rows: &[Both<'_>], spread: Spread) -> Vec<String> {
        let each = |text: &dyn Fn(&Row) -> String| rows.iter().map(|row| text(row.mixed)).collect();
        match self {
            Method => each(&|row| {
                let mark = if row.pixel_labels { " †" } else { "" };
                format!("{}{mark}", row.method)
            }),
            Strength => each(&|row| row.guidance.map(|w| w.to_string()).unwrap_or_default()),
            Self::Measure(setup, measure) => {
                let values = rows.iter().map(|row| {
                    let row = match setup {
                        Mixed => Some(row.mixed),
                        Unhealthy => row.unhealthy,
                    };
                    row.map(|row| measure.of(row))
                });
                aligned(&values.collect::<Vec<_>>(), spread)
            }
            Evaluations | Seconds => each(&|row| {
                let [evaluations, seconds] = markdown::cost(summary, &row.method);
                if self == Seconds {
                    seconds
                } else {
                    evaluations
                }
            }),
        }
    }
}

impl Measure {
    const fn name(self) -> &'static str {
        match self {
            Dice => "DICE",
            Iou => "IoU",
            Auprc => "AUPRC",
            AuprcBatch => "AUPRC/100",
        }
    }

    const fn of(self, row: &Row) -> &Value {
        match self {
            Dice => &row.dice,
            Iou => &row.iou,
            Auprc => &row.auprc,
            AuprcBatch => &row.auprc_batch,
        }
    }
}

/// Numbers below each other: means, deviations and both ends of intervals each in a place of their own.
fn aligned(values: &[Option<&Value>], spread: Spread) -> Vec<String> {
    let parts: Vec<[String; 4]> = values
        .iter()
        .map(|value| {
            let Some((value, mean)) = value.and_then(|value| Some((value, value.mean?))) else {
                return ["-".to_owned(), String::new(), String::new(), String::new()];
            };
            let [low, high] = value
                .ci95
                .map_or_else(Default::default, |ends| ends.map(percent));
            [
                number(mean, value.bounds, "–"),
                value.std.map(percent).unwrap_or_default(),
                low,
                high,
            ]
        })
        .collect();
    let [mean_width, std_width, low_width, high_width] = [0, 1, 2, 3].map(|part| {
        let lengths = parts.iter().map(|parts| parts[part].len());
        lengths.max().unwrap_or(0)
    });
    parts
        .iter()
        .map(|[mean, std, low, high]| {
            let mut text = format!("{mean:>mean_width$}");
            if !std.is_empty() {
                text.push_str(&format!(" ± {std:>std_width$}"));
            }
            if low.is_empty() {
                return text;
            }
            let interval = format!("[{low:>low_width$}, {high:>high_width$}]");
            match spread {
                Spread::Below => format!("{text}\n{interval}"),
                Spread::Beside => {
                    let beside = match std_width {
                        0 => mean_width,
                        _ => mean_width + " ± ".chars().count() + std_width,
                    };
                    let missing = beside - text.chars().count();
                    format!("{text}{} {interval}", " ".repeat(missing))
                }
            }
        })
        .collect()
}

/// What a reader of these columns must know.
fn legend(summary: &Summary, shown: &[Column]) -> String {
    let values = || {
        let rows = summary.rows.iter();
        rows.flat_map(|row| [&row.dice, &row.iou, &row.auprc, &row.auprc_batch])
    };
    let shows = |wanted: Measure| {
        let measures = shown.iter();
        let mut measures = measures.filter_map(|column| match column {
            Column::Measure(_, measure) => Some(*measure),
            _ => None,
        });
        measures.any(|measure| measure == wanted)
    };
    let mut text = vec!["Percent".to_owned()];
    let mut add = |sentence: &str| text.push(sentence.to_owned());
    if values().any(|value| value.std.is_some()) {
        add("; ± standard deviation over noise seeds");
    }
    if values().any(|value| value.ci95.is_some()) {
        add("; [95 % bootstrap interval over patients]");
    }
    add(". mixed: all test slices; unhealthy: those with a lesion.");
    if shows(Auprc) {
        add(" AUPRC: average precision of the foreground pixels of all slices together.");
    }
    if shows(AuprcBatch) {
        add(" AUPRC/100: its mean over batches of 100 slices.");
    }
    if summary.rows.iter().any(|row| row.pixel_labels) {
        add(" †: a threshold or a setting was chosen with pixel labels.");
    }
    if summary.rows.iter().any(is_trivial) {
        add(" all-empty, all-brain and raw-threshold are no methods: what is scored without one.");
    }
    if summary
        .rows
        .iter()
        .any(|row| row.method.ends_with("-native"))
    {
        add(" -native: the mask made as the method's authors do.");
    }
    if shown.contains(&Evaluations) {
        add(
            " evaluations: of networks, to score one slice once; methods of one encoding share them.",
        );
    }
    if shown.contains(&Seconds) {
        add(" s/slice: device time of the same.");
    }
    let mut left_out = Vec::new();
    for column in MORE {
        let name = column.header().replace('\n', " ");
        if !shown.contains(&column) {
            left_out.push(name.trim().to_owned());
        }
    }
    if !left_out.is_empty() {
        add(&format!(
            " Not shown for want of room: {}; report/table.md has them.",
            left_out.join(", ")
        ));
    }
    text.concat()
}

#[cfg(test)]
mod tests;
