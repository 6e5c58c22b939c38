//! Whether there is enough to form a number from: records, patients, slices, noise seeds.

use std::collections::BTreeSet;

use super::{Evidence, check, counted};
use crate::report::summary::{Check, State};

/// Patients below which an interval over them is not to be believed, and below which methods cannot be told apart.
const FOR_AN_INTERVAL: usize = 5;
const FOR_A_TEST: usize = 10;
/// Seeds that a spread needs.
const FOR_A_SPREAD: usize = 3;

/// Every slice scored, nothing with two answers.
pub(super) fn coverage(evidence: &Evidence<'_>) -> Check {
    let coverage = evidence.coverage;
    let share = coverage.scored as f64 / coverage.planned.max(1) as f64;
    let distrusted = &evidence.audits.distrusted;
    let (state, text) = if coverage.scored < coverage.planned {
        (
            State::No,
            format!(
                "{} of {} slice records count: the table is not that of the whole test set; run again to go on",
                coverage.scored, coverage.planned
            ),
        )
    } else if coverage.conflicts > 0 || evidence.audits.conflicts > 0 || !distrusted.is_empty() {
        let who = if distrusted.is_empty() {
            "audits in summary.json say more".to_owned()
        } else {
            format!("{} gave wrong bits", distrusted.join(", "))
        };
        (
            State::Look,
            format!(
                "all {} slice records count, but {} of them were once delivered with other bits: two workers agree on \
                 what counts; look at the machine before its next run ({who})",
                coverage.planned, coverage.conflicts
            ),
        )
    } else {
        (
            State::Ok,
            format!(
                "all {} slice records count and none came with other bits",
                coverage.planned
            ),
        )
    };
    check("coverage", state, share, text)
}

/// Patients, not slices, are what another test set would draw anew.
pub(super) fn patients(evidence: &Evidence<'_>) -> Check {
    let patients: BTreeSet<u32> = evidence.test.iter().map(|slice| slice.patient).collect();
    let number = patients.len();
    let are = counted(number, "test patient");
    let cure = "put more patients into the test split ([data] split)";
    let (state, text) = if number < 2 {
        (
            State::No,
            format!(
                "{are}: no interval can be formed, and nothing says what other patients would give; {cure}"
            ),
        )
    } else if number < FOR_AN_INTERVAL {
        (
            State::No,
            format!(
                "{are}: with fewer than {FOR_AN_INTERVAL} an interval over patients is too narrow to be believed; {cure}"
            ),
        )
    } else if number < FOR_A_TEST {
        (
            State::Look,
            format!(
                "{are}: intervals over patients are rough, and with fewer than {FOR_A_TEST} no test tells methods \
                 apart; quote the intervals, or {cure}"
            ),
        )
    } else {
        (
            State::Ok,
            format!("{are}: enough for intervals over patients and to compare methods"),
        )
    };
    check("patients", state, number as f64, text)
}

/// As many slices as were asked for.
pub(super) fn slices(evidence: &Evidence<'_>) -> Check {
    let data = &evidence.spec.data;
    let splits = [
        (
            "validation",
            evidence.validation_slices,
            data.validation_slices,
        ),
        ("test", evidence.test.len(), data.test_slices),
    ];
    let share = splits.map(|(_, used, asked)| used as f64 / asked.max(1) as f64);
    let missing: Vec<String> = splits
        .iter()
        .filter(|(_, used, asked)| used < asked)
        .map(|(split, used, asked)| format!("{used} of {asked} {split} slices"))
        .collect();
    let (state, text) = if missing.is_empty() {
        let [(_, validation, _), (_, test, _)] = splits;
        (
            State::Ok,
            format!("{validation} validation and {test} test slices, as many as were asked for"),
        )
    } else {
        (
            State::Look,
            format!(
                "{} that were asked for are there: all of them were used; say how many when quoting a number",
                missing.join(" and ")
            ),
        )
    };
    check("slices", state, share[0].min(share[1]), text)
}

pub(super) fn seeds(evidence: &Evidence<'_>) -> Check {
    let number = evidence.spec.score.seeds.len();
    let are = counted(number, "noise seed");
    let (state, text) = if number < FOR_A_SPREAD {
        (
            State::Look,
            format!(
                "{are}: the spread over noise (±) needs {FOR_A_SPREAD}; set [score] seeds = [0, 1, 2]"
            ),
        )
    } else {
        (State::Ok, format!("{are}: the spread over noise is there"))
    };
    check("seeds", state, number as f64, text)
}
