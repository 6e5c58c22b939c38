//! Whether the rows say more than no method would, and which of them saw pixel labels.

use anofpdm_common::metrics::bootstrap::difference_interval;
use anofpdm_common::metrics::setup::Setup;

use super::finding::subject;
use super::{Evidence, check, counted, with_interval};
use crate::evaluate::measured::{BOOTSTRAP_SEED, Measured};
use crate::report::summary::{Check, State};

fn name(measured: &Measured) -> String {
    let dagger = if measured.row.pixel_labels {
        " †"
    } else {
        ""
    };
    let name = subject(&measured.row.method, measured.row.guidance);
    format!("{name}{dagger}")
}

/// The row with the largest DICE of a set-up, the first of equals.
fn best<'a>(rows: impl Iterator<Item = &'a Measured>, setup: Setup) -> Option<(&'a Measured, f64)> {
    rows.filter(|measured| measured.row.setup == setup)
        .filter_map(|measured| Some((measured, measured.row.dice.mean?)))
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
}

/// The best method against the best trivial row, for each set-up. Where there is a method without pixel labels it is one
/// of those; a trivial row may have them.
pub(super) fn beats_trivial(evidence: &Evidence<'_>) -> Vec<Check> {
    let of_setup = |(setup, id): (Setup, &str)| {
        let methods = || evidence.methods.iter().flat_map(|method| &method.rows);
        let weak = methods().filter(|measured| !measured.row.pixel_labels);
        let (method, dice) = best(weak, setup).or_else(|| best(methods(), setup))?;
        let (trivial, trivial_dice) = best(evidence.trivial.iter(), setup)?;
        let difference = dice - trivial_dice;
        let interval = difference_interval(&method.dice, &trivial.dice, BOOTSTRAP_SEED);
        let state = match interval {
            _ if difference <= 0.0 => State::No,
            Some([low, _]) if low > 0.0 => State::Ok,
            _ => State::Look,
        };
        let rows = format!(
            "{} DICE of {} is {:.1}, of {} {:.1}: a difference of {} points{}",
            setup.name(),
            name(method),
            100.0 * dice,
            name(trivial),
            100.0 * trivial_dice,
            with_interval(difference, interval),
            if interval.is_none() {
                " without an interval, for lack of patients"
            } else {
                ""
            }
        );
        let text = match state {
            State::Ok => format!("{rows} over the same patients"),
            State::Look => {
                format!("{rows}, which other patients may turn round; do not call it better")
            }
            State::No => format!(
                "{rows}: the best method is no better than no method; do not quote it as a result"
            ),
        };
        Some(check(id, state, difference, text))
    };
    [
        (Setup::Mixed, "beats-trivial-mixed"),
        (Setup::Unhealthy, "beats-trivial-unhealthy"),
    ]
    .into_iter()
    .filter_map(of_setup)
    .collect()
}

/// Methods whose rows pixel labels went into.
pub(super) fn pixel_labels(evidence: &Evidence<'_>) -> Check {
    let firsts = evidence
        .methods
        .iter()
        .filter_map(|method| method.rows.first());
    let marked: Vec<String> = firsts
        .filter(|measured| measured.row.pixel_labels)
        .map(|measured| subject(&measured.row.method, measured.row.guidance))
        .collect();
    let (state, text) = if marked.is_empty() {
        (
            State::Ok,
            "no method chose a threshold or a setting with pixel labels".to_owned(),
        )
    } else {
        (
            State::Look,
            format!(
                "{} chose a threshold or a setting with pixel labels of the validation slices ({}): these rows (†) are \
                 not weakly supervised; say so where they stand beside others",
                counted(marked.len(), "method"),
                marked.join(", ")
            ),
        )
    };
    check("pixel-labels", state, marked.len() as f64, text)
}
