//! A comparison as one page that asks for nothing else.

use anofpdm_common::metrics::setup::Setup;
use maud::{Markup, PreEscaped, html};

use super::compared::{Compared, ComparedPatient, ComparedRow, Differing};
use super::pictures::Pictured;
use super::text::{CHANGED, DIFFERENCES, changed_cells, pair, strengths, value};
use crate::readable;
use crate::report::drawing::axis::Axis;
use crate::report::drawing::chart::{Chart, Dot, Look};
use crate::report::drawing::{Colour, Drawing, Stroke};
use crate::report::marks::percent;
use crate::report::page::figures::framed;
use crate::report::page::viewer::Viewer;
use crate::report::page::{LARGEST, VIEWER_SCRIPT, document};

/// Pairs of runs of which patients are drawn.
const MOST_PAIRS: usize = 6;
const SIDE: f64 = 460.0;

/// The page; its viewer holds what fits.
pub fn page(compared: &Compared, pictured: &Pictured) -> String {
    let without = whole(compared, pictured, None).into_string();
    // Escapes of names come on top of what is counted.
    let room = (LARGEST - 500_000).saturating_sub(without.len());
    let best = (0..pictured.pictures.methods.len()).collect();
    match Viewer::new(&pictured.pictures, best, &pictured.beside, room) {
        None => without,
        Some(viewer) => whole(compared, pictured, Some(&viewer)).into_string(),
    }
}

fn whole(compared: &Compared, pictured: &Pictured, viewer: Option<&Viewer>) -> Markup {
    let names: Vec<&str> = compared.runs.iter().map(|run| run.run.as_str()).collect();
    let title = names.join(", ");
    let body = html! {
        main {
            h1 { "Runs compared: " (title) }
            (runs(compared))
            @if !compared.notes.is_empty() { ul { @for note in &compared.notes { li { (note) } } } }
            (differing("What differs", compared, &compared.facts))
            (differing("Specs", compared, &compared.spec))
            h2 { "Rows" }
            p { "Percent; ± over noise seeds, in brackets the 95 % interval over patients. † used pixel labels." }
            @for setup in Setup::ALL { (rows(compared, setup)) }
            h2 { "Is it different?" }
            (paired(compared))
            h2 { "Patients" }
            p { "DICE of each patient in two runs: on the line they are the same, above it the later run is better." }
            (scatters(compared))
            h2 { "Slices with the largest change" }
            p {
                "DICE of the slice, mean over seeds, in percent; the lesion in pixels. Mixed shows calls that changed, unhealthy the \
                 masks."
            }
            (list(&CHANGED, 5, &changed_cells(compared)))
            @if !pictured.notes.is_empty() { ul { @for note in &pictured.notes { li { (note) } } } }
            @if let Some(figure) = &pictured.figure {
                @let caption = html! { ". " (figure.caption) (in_words(&figure.description)) };
                div.figures { (framed(&figure.drawing, &figure.name, &figure.title, &figure.description, &caption)) }
            }
            @if let Some(viewer) = viewer {
                h3 { "Viewer" }
                p { "Side by side (s) shows the same slice in the other run." }
                (viewer.markup(&pictured.pictures.rule))
            }
        }
        @if viewer.is_some() { script { (PreEscaped(VIEWER_SCRIPT)) } }
    };
    document(&format!("{title} compared – anofpdm"), &body)
}

fn in_words(words: &str) -> Markup {
    html! { details { summary { "in words" } p { (words) } } }
}

fn runs(compared: &Compared) -> Markup {
    let cells: Vec<Vec<String>> = compared
        .runs
        .iter()
        .zip(&compared.slices.of)
        .map(|(run, slices)| {
            vec![
                run.label.clone(),
                run.run.clone(),
                run.path.clone(),
                run.semantics.clone(),
                slices.to_string(),
                run.fingerprint.to_string(),
            ]
        })
        .collect();
    list(
        &[
            "",
            "run",
            "folder",
            "semantics",
            "test slices",
            "fingerprint",
        ],
        6,
        &cells,
    )
}

/// A table whose columns hold numbers from the one with number `first` on.
fn list(heads: &[&str], first: usize, cells: &[Vec<String>]) -> Markup {
    html! {
        @if cells.is_empty() { p.absent { "None." } } @else {
            div.scroll tabindex="0" { table {
                thead { tr { @for (column, head) in heads.iter().enumerate() { th.num[column >= first] scope="col" { (head) } } } }
                tbody { @for line in cells { tr {
                    @for (column, cell) in line.iter().enumerate() { td.num[column >= first] { (cell) } }
                } } }
            } }
        }
    }
}

fn labels(compared: &Compared) -> Vec<&str> {
    compared.runs.iter().map(|run| run.label.as_str()).collect()
}

fn differing(title: &str, compared: &Compared, differing: &[Differing]) -> Markup {
    let heads = [&["key"], &labels(compared)[..]].concat();
    let cells = differing.iter().map(|one| {
        let values = one.values.iter();
        let values = values.map(|value| value.clone().unwrap_or_else(|| "–".to_owned()));
        std::iter::once(one.key.clone()).chain(values).collect()
    });
    html! { h2 { (title) } (list(&heads, usize::MAX, &cells.collect::<Vec<_>>())) }
}

fn rows(compared: &Compared, setup: Setup) -> Markup {
    let rows: Vec<&ComparedRow> = compared
        .rows
        .iter()
        .filter(|row| row.setup == setup)
        .collect();
    let heads = [&["method", "w", "metric"], &labels(compared)[..]].concat();
    let mut cells = Vec::new();
    for row in rows {
        let mark = if row.pixel_labels { " †" } else { "" };
        for (metric, values) in [
            ("DICE", &row.dice),
            ("IoU", &row.iou),
            ("AUPRC", &row.auprc),
        ] {
            if values.iter().flatten().all(|value| value.mean.is_none()) {
                continue;
            }
            let start = [
                format!("{}{mark}", row.method),
                strengths(&row.guidance),
                metric.to_owned(),
            ];
            cells.push(start.into_iter().chain(values.iter().map(value)).collect());
        }
    }
    html! { h3 { (setup.name()) } (list(&heads, 3, &cells)) }
}

fn paired(compared: &Compared) -> Markup {
    let heads = [
        "runs",
        "method",
        "w",
        "difference",
        "better in",
        "p sign flip",
        "p signed rank",
    ];
    html! {
        @if !compared.paired.is_empty() { p { (DIFFERENCES) } }
        @if compared.paired.is_empty() { p.absent { "No method is in two of the runs." } }
        @for paired in &compared.paired {
            h3 { (paired.metric.name()) ", " (paired.setup.name()) ", " (readable::count(paired.patients as u64, "patient")) @if let Some(note) = &paired.note { "; " (note) } }
            (list(&heads, 3, &paired.comparisons.iter().map(pair).collect::<Vec<_>>()))
        }
    }
}

fn scatters(compared: &Compared) -> Markup {
    let runs = compared.runs.len();
    let pairs = (0..runs).flat_map(|second| (second + 1..runs).map(move |first| (first, second)));
    let pairs: Vec<(usize, usize)> = pairs.collect();
    html! {
        div.figures {
            @for (first, second) in pairs.iter().take(MOST_PAIRS) { @for setup in Setup::ALL {
                @if let Some((drawing, words)) = scatter(compared, setup, *first, *second) {
                    @let title = format!("{}: {} against {}", setup.name(), compared.runs[*first].label, compared.runs[*second].label);
                    (framed(&drawing, &format!("{}-{first}-{second}", setup.name()), &title, &words, &in_words(&words)))
                }
            } }
        }
        @if pairs.len() > MOST_PAIRS { p { "The other pairs of runs are in what --json prints." } }
    }
}

/// DICE of each patient in two runs, a series a method, and the same in words; `None` where no patient is in both.
fn scatter(
    compared: &Compared,
    setup: Setup,
    first: usize,
    second: usize,
) -> Option<(Drawing, String)> {
    let of_setup = compared.patients.iter().filter(|one| one.setup == setup);
    let mut series: Vec<(&str, Vec<&ComparedPatient>)> = Vec::new();
    for patient in of_setup {
        if patient.dice.get(first)?.is_none() || patient.dice.get(second)?.is_none() {
            continue;
        }
        match series
            .iter_mut()
            .find(|(method, _)| *method == patient.method)
        {
            Some((_, patients)) => patients.push(patient),
            None => series.push((&patient.method, vec![patient])),
        }
    }
    let axis = |run: usize| {
        let title = format!("DICE in {}", compared.runs[run].label);
        Axis::linear(title, 0.0, 1.0)
    };
    let mut chart = Chart::new(axis(second), axis(first));
    chart.line(
        "",
        vec![[0.0, 0.0], [1.0, 1.0]],
        Stroke::new(Colour::Faint, 1.0),
    );
    let mut words = Vec::new();
    for (number, (method, patients)) in series.iter().enumerate() {
        let (mut dots, mut above) = (Vec::new(), 0);
        for patient in patients {
            let (Some(y), Some(x)) = (patient.dice[first], patient.dice[second]) else {
                continue;
            };
            above += usize::from(y > x);
            let hint = format!(
                "{}, {method}: {} and {}",
                patient.patient,
                percent(x),
                percent(y)
            );
            dots.push(Dot {
                hint,
                ..Dot::at(x, y)
            });
        }
        words.push(format!(
            "{method}: {above} of {} patients above the line",
            dots.len()
        ));
        chart.dots(method, dots, Look::of(number));
    }
    let height = SIDE + 18.0 * series.len() as f64;
    (!series.is_empty()).then(|| {
        (
            chart.drawing(SIDE, height),
            format!("{}.", words.join("; ")),
        )
    })
}
