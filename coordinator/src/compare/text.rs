//! A comparison as the terminal shows it.

use anofpdm_common::metrics::setup::Setup;

use super::compared::{Compared, ComparedRow, Differing, RunPair};
use crate::readable::{self, table, wrapped};
use crate::report::marks::{number, percent};
use crate::report::summary::Value;

/// Columns of a value of a spec; longer ones are cut.
const LONGEST: usize = 48;

pub(super) const DIFFERENCES: &str = "The first run less the second, in percent points, of DICE with a 95 % bootstrap \
     interval over patients; patients in whom the first is better, of those in whom the two differ; two-sided p over patients, after Holm's \
     correction for all lines of a set-up and metric.";

/// All of it, in lines of `columns` where they are prose.
pub fn lines(compared: &Compared, columns: usize) -> Vec<String> {
    let mut lines = runs(compared);
    for note in &compared.notes {
        lines.extend(readable::labelled("note", note, Some(columns)));
    }
    lines.extend(differing("what differs", compared, &compared.facts));
    lines.extend(differing("specs", compared, &compared.spec));
    if compared.spec.is_empty() && !compared.notes.iter().any(|note| note.contains("no spec")) {
        lines.extend([
            String::new(),
            "the specs are the same but for the name".to_owned(),
        ]);
    }
    type Column = (&'static str, fn(&ComparedRow) -> &[Option<Value>]);
    let columns_of: [Column; 2] = [("DICE", |row| &row.dice), ("AUPRC", |row| &row.auprc)];
    for setup in Setup::ALL {
        for (name, of) in columns_of {
            lines.extend(values(compared, setup, name, of));
        }
    }
    for paired in &compared.paired {
        let note = paired
            .note
            .as_ref()
            .map_or_else(String::new, |note| format!("; {note}"));
        let title = format!(
            "{}, {}, {}{note}",
            paired.metric.name(),
            paired.setup.name(),
            readable::count(paired.patients as u64, "patient")
        );
        lines.extend([String::new(), title]);
        let header = [
            "runs",
            "method",
            "w",
            "difference",
            "better in",
            "p sign flip",
            "p signed rank",
        ];
        let rows: Vec<Vec<String>> = paired.comparisons.iter().map(pair).collect();
        lines.extend(table(&header.map(str::to_owned), &rows, &[5, 6]));
    }
    if !compared.paired.is_empty() {
        lines.push(String::new());
        lines.extend(wrapped(DIFFERENCES, columns));
    }
    lines.extend(changed(compared));
    lines
}

fn runs(compared: &Compared) -> Vec<String> {
    let header = ["", "run", "semantics", "test slices", "fingerprint"].map(str::to_owned);
    let runs = compared.runs.iter().zip(&compared.slices.of);
    let rows: Vec<Vec<String>> = runs
        .map(|(run, slices)| {
            let fingerprint: String = run.fingerprint.to_string().chars().take(12).collect();
            vec![
                run.label.clone(),
                run.path.clone(),
                run.semantics.clone(),
                slices.to_string(),
                format!("{fingerprint}…"),
            ]
        })
        .collect();
    table(&header, &rows, &[3])
}

fn labels(compared: &Compared) -> impl Iterator<Item = String> {
    compared.runs.iter().map(|run| run.label.clone())
}

fn differing(title: &str, compared: &Compared, differing: &[Differing]) -> Vec<String> {
    if differing.is_empty() {
        return Vec::new();
    }
    let header: Vec<String> = std::iter::once(title.to_owned())
        .chain(labels(compared))
        .collect();
    let shown = |value: &Option<String>| match value {
        Some(value) => console::truncate_str(value, LONGEST, "…").into_owned(),
        None => "-".to_owned(),
    };
    let rows: Vec<Vec<String>> = differing
        .iter()
        .map(|one| {
            std::iter::once(one.key.clone())
                .chain(one.values.iter().map(shown))
                .collect()
        })
        .collect();
    std::iter::once(String::new())
        .chain(table(&header, &rows, &[]))
        .collect()
}

fn values(
    compared: &Compared,
    setup: Setup,
    name: &str,
    of: fn(&ComparedRow) -> &[Option<Value>],
) -> Vec<String> {
    let rows = compared.rows.iter().filter(|row| row.setup == setup);
    let rows: Vec<&ComparedRow> = rows
        .filter(|row| of(row).iter().flatten().any(|value| value.mean.is_some()))
        .collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let header = [format!("{name}, {}", setup.name()), "w".to_owned()];
    let header: Vec<String> = header.into_iter().chain(labels(compared)).collect();
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let mark = if row.pixel_labels { " †" } else { "" };
            let start = [format!("{}{mark}", row.method), strengths(&row.guidance)];
            start.into_iter().chain(of(row).iter().map(value)).collect()
        })
        .collect();
    std::iter::once(String::new())
        .chain(table(&header, &cells, &[]))
        .collect()
}

/// `72.1 ± 0.2 [60.2, 80.1]`, or a dash.
pub(super) fn value(value: &Option<Value>) -> String {
    let Some((value, mean)) = value.as_ref().and_then(|value| Some((value, value.mean?))) else {
        return "-".to_owned();
    };
    let mut text = number(mean, value.bounds, "–");
    if let Some(std) = value.std {
        text.push_str(&format!(" ± {}", percent(std)));
    }
    text + &interval(value.ci95)
}

pub(super) fn interval(ends: Option<[f64; 2]>) -> String {
    ends.map_or_else(String::new, |[low, high]| {
        format!(" [{}, {}]", percent(low), percent(high))
    })
}

/// The strength of all runs, or that of each.
pub(super) fn strengths(guidance: &[Option<f64>]) -> String {
    let mut told = guidance.iter().flatten();
    match told.next() {
        None => String::new(),
        // A run without the row has no strength to tell.
        Some(first) if told.all(|w| w == first) => first.to_string(),
        Some(_) => {
            let shown = |w: &Option<f64>| w.map_or_else(|| "-".to_owned(), |w| w.to_string());
            guidance.iter().map(shown).collect::<Vec<_>>().join(" / ")
        }
    }
}

/// The cells of a paired difference.
pub(super) fn pair(pair: &RunPair) -> Vec<String> {
    let one = &pair.comparison;
    let difference = one.difference.map_or_else(|| "-".to_owned(), percent);
    vec![
        format!("{} - {}", pair.first_run, pair.second_run),
        one.first.method.clone(),
        strengths(&[one.first.guidance, one.second.guidance]),
        difference + &interval(one.ci95),
        format!("{} of {}", one.better, one.better + one.worse),
        format!("{:.3}", one.sign_flip.adjusted_p),
        format!("{:.3}", one.signed_rank.adjusted_p),
    ]
}

/// Heads of the list of changed slices.
pub(super) const CHANGED: [&str; 10] = [
    "patient", "subject", "set-up", "method", "runs", "slice", "lesion", "first", "second",
    "change",
];

pub(super) fn changed_cells(compared: &Compared) -> Vec<Vec<String>> {
    let cells = compared.changed.iter().map(|slice| {
        vec![
            slice.patient.clone(),
            slice.subject.clone(),
            slice.setup.name().to_owned(),
            slice.method.clone(),
            format!("{} - {}", slice.first_run, slice.second_run),
            slice.slice.to_string(),
            slice.truth.to_string(),
            percent(slice.first),
            percent(slice.second),
            percent(slice.change()),
        ]
    });
    cells.collect()
}

fn changed(compared: &Compared) -> Vec<String> {
    if compared.changed.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![
        String::new(),
        "slices with the largest change of DICE, in either set-up (mean over seeds; lesion in pixels)"
            .to_owned(),
    ];
    let header = CHANGED.map(str::to_owned);
    lines.extend(table(&header, &changed_cells(compared), &[5, 6, 7, 8, 9]));
    lines
}
