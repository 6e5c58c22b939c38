//! What the run is, in a sentence, and whether its numbers can be quoted.

use anofpdm_common::metrics::setup::Setup;
use maud::{Markup, html};

use super::number;
use crate::report::marks;
use crate::report::summary::{Row, State, Summary};

/// Number and row with the highest DICE of unhealthy slices among those wanted.
fn best(summary: &Summary, wanted: impl Fn(&Row) -> bool) -> Option<(usize, &Row)> {
    let rows = summary.rows.iter().enumerate();
    rows.filter(|(_, row)| row.setup == Setup::Unhealthy && wanted(row))
        .filter_map(|(index, row)| Some((index, row, row.dice.mean?)))
        .max_by(|a, b| a.2.total_cmp(&b.2))
        .map(|(index, row, _)| (index, row))
}

fn dice(index: usize, row: &Row) -> Markup {
    let at = format!("/rows/{index}/dice");
    html! {
        strong { (number::share(row.dice.mean, &format!("{at}/mean"))) }
        @if row.dice.ci95.is_some() { " " (number::interval(row.dice.ci95, &format!("{at}/ci95"))) }
    }
}

fn named(row: &Row) -> Markup {
    html! { b { (row.method) } @if let Some(w) = row.guidance { " (w = " (w) ")" } }
}

/// The sentence at the head.
fn sentence(summary: &Summary) -> Markup {
    let own = best(summary, |row| !marks::is_trivial(row) && !row.pixel_labels);
    let with = best(summary, |row| !marks::is_trivial(row) && row.pixel_labels);
    let trivial = best(summary, marks::is_trivial);
    html! {
        @if let Some((index, row)) = own {
            "Without pixel labels the best is " (named(row)) ": DICE of unhealthy slices " (dice(index, row))
            ", " (row.patients) (if row.patients == 1 { " patient" } else { " patients" })
        } @else {
            "No row without pixel labels has a DICE"
        }
        @if let Some((index, row)) = with {
            "; with pixel labels " (named(row)) ": " (dice(index, row))
        }
        @if let Some((index, row)) = trivial {
            "; the best row that needs no network is " (named(row))
            @if row.pixel_labels { " †" }
            ": " (dice(index, row))
        }
        "."
    }
}

/// The date of a time.
fn day(time: &str) -> &str {
    time.split('T').next().unwrap_or(time)
}

pub(super) fn head(summary: &Summary, version: &str) -> Markup {
    let of = |setup| {
        summary
            .rows
            .iter()
            .enumerate()
            .find(move |(_, row)| row.setup == setup)
    };
    let [mixed, unhealthy] = Setup::ALL.map(of);
    let fingerprint = summary.fingerprint.to_string();
    html! {
        header {
            h1 { (summary.run) }
            p.lead { (sentence(summary)) }
            dl.facts {
                @if let Some((index, row)) = mixed {
                    div { dt { "Test slices" } dd {
                        (number::count(row.slices as u64, &format!("/rows/{index}/slices")))
                        " of " (number::count(row.patients as u64, &format!("/rows/{index}/patients"))) (if row.patients == 1 { " patient" } else { " patients" })
                        @if let Some((index, sick)) = unhealthy {
                            ", " (number::count(sick.slices as u64, &format!("/rows/{index}/slices"))) " with a lesion"
                        }
                    } }
                }
                @if let Some(data) = &summary.data {
                    div { dt { "Data" } dd {
                        (data.modalities.join(", ")) " at " (data.size) " x " (data.size) " pixels, store "
                        code { (data.store.to_string().chars().take(12).collect::<String>()) "…" }
                    } }
                }
                div { dt { "Semantics" } dd { (summary.semantics) } }
                div { dt { "Computed" } dd {
                    (summary.precision) " on " (summary.device)
                    @if let Some(reason) = &summary.precision_reason { ": " (reason) }
                } }
                @if let Some(scored) = &summary.scored { div { dt { "Scored" } dd { time datetime=(scored) { (day(scored)) } } } }
                div { dt { "Version" } dd {
                    "anofpdm " (version)
                    @if let Some(commit) = summary.program.as_ref().and_then(|program| program.commit.as_ref()) {
                        ", commit " code { (commit.chars().take(12).collect::<String>()) }
                    }
                } }
                div.wide { dt { "Fingerprint" } dd {
                    code #fingerprint { (fingerprint) }
                    " " button.scripted type="button" data-copy="fingerprint" { "copy" }
                } }
            }
        }
    }
}

const ORDER: [State; 3] = [State::No, State::Look, State::Ok];

const fn sign(state: State) -> &'static str {
    match state {
        State::Ok => "✓",
        State::Look => "!",
        State::No => "✗",
    }
}

pub(super) fn verdict(summary: &Summary) -> Markup {
    let count = |state| {
        let checks = summary.checks.iter();
        checks.filter(|check| check.state == state).count()
    };
    let of_check = |warning: &&String| summary.checks.iter().any(|check| check.text == **warning);
    let others: Vec<&String> = summary.warnings.iter().filter(|w| !of_check(w)).collect();
    html! {
        section #quote {
            h2 { "Can I quote this?" }
            @if summary.checks.is_empty() {
                p { "This run has no checks." }
            } @else {
                p {
                    strong { (count(State::No)) } " say no, " strong { (count(State::Look)) }
                    " say look, " strong { (count(State::Ok)) } " are ok."
                }
                ul.checks {
                    @for state in ORDER {
                        @for (index, check) in summary.checks.iter().enumerate().filter(|(_, check)| check.state == state) {
                            li class=(state.name()) {
                                span.state { (sign(state)) " " (state.name()) }
                                span.about {
                                    b { (check.id) }
                                    @if let Some(value) = check.value {
                                        " (" (number::decimals(Some(value), 3, &format!("/checks/{index}/value"))) ")"
                                    }
                                    ": " (check.text)
                                }
                            }
                        }
                    }
                }
            }
            @if !others.is_empty() {
                h3 { "Warnings" }
                ul { @for warning in others { li { (warning) } } }
            }
        }
    }
}
