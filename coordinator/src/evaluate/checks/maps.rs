//! Whether the maps are cut off, and whether a low DICE is the map's fault or the threshold's.

use anofpdm_common::anofpdm::QuantileOf;
use anofpdm_common::metrics::setup::Setup;

use super::finding::{Finding, Findings, Worse, subject};
use super::{Evidence, percent};
use crate::evaluate::measured::Measured;
use crate::evaluate::rows::MethodResult;
use crate::evaluate::tally::Tally;
use crate::report::marks::ALL_BRAIN;
use crate::report::summary::{Check, State};

/// Share of end steps at the last step from which the walk counts as cut off.
const CUT_OFF: f64 = 0.2;
/// Share of divergences above M_max from which the levels count as saturated.
const SATURATED: f64 = 0.2;
/// Share of empty masks that is much, and that makes a DICE meaningless.
const MANY_EMPTY: f64 = 0.3;
const NEARLY_ALL_EMPTY: f64 = 0.9;
/// DICE lost to the threshold from which the map is not to blame.
const LOST: f64 = 0.15;

/// One finding for each encoding and strength: their methods share end steps and divergences.
fn of_walks(
    evidence: &Evidence<'_>,
    limit: f64,
    share: impl Fn(&Tally) -> Option<f64>,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for method in evidence.methods {
        let (Some((encoding, guidance)), Some(share)) = (method.walk, share(&method.tally)) else {
            continue;
        };
        let subject = subject(encoding.name(), Some(guidance));
        if findings.iter().all(|known| known.subject != subject) {
            findings.push(Finding {
                subject,
                value: share,
                shown: percent(share),
                state: if share > limit {
                    State::Look
                } else {
                    State::Ok
                },
            });
        }
    }
    findings
}

/// Whether M still rises where the walk ends.
pub(super) fn end_step(evidence: &Evidence<'_>) -> Option<Check> {
    let findings = Findings::new(of_walks(evidence, CUT_OFF, Tally::cut_off), Worse::High)?;
    let steps = evidence.spec.score.steps;
    Some(findings.check("end-step", |state, named| match state {
        State::Ok => format!(
            "M has its largest value before the last of {steps} steps (t_e at the last step in {named})"
        ),
        _ => format!(
            "t_e is the last of {steps} steps in many slices ({named}): the forward process is cut off where M still \
             rises; walk further ([score] steps) or train longer"
        ),
    }))
}

/// Whether the divergences of the test slices lie within those of the validation slices.
pub(super) fn divergence(evidence: &Evidence<'_>) -> Option<Check> {
    let findings = Findings::new(of_walks(evidence, SATURATED, Tally::clamped), Worse::High)?;
    Some(findings.check("divergence", |state, named| match state {
        State::Ok => format!(
            "the divergences of the test slices lie within those of the validation slices (above M_max: {named})"
        ),
        _ => format!(
            "M_te of many test slices exceeds M_max of the validation slices ({named}): their masks all have the \
             largest size, whatever the lesion's; calibrate on more or more alike slices ([data] validation_slices)"
        ),
    }))
}

fn name(method: &MethodResult) -> Option<String> {
    let row = &method.rows.first()?.row;
    Some(subject(&row.method, row.guidance))
}

/// Whether Q* is the quantile of another map than the one it is compared with, as in the public code.
fn other_reading(evidence: &Evidence<'_>) -> bool {
    evidence.spec.score.quantile_of == QuantileOf::Map
}

/// What the other reading of Appendix F would do to masks, as far as the records say.
fn other_masks(evidence: &Evidence<'_>) -> String {
    let walks = evidence.methods.iter().filter(|m| m.walk.is_some());
    let shares: Vec<f64> = walks
        .filter_map(|method| method.tally.mean_masked_share())
        .collect();
    if shares.is_empty() || !other_reading(evidence) {
        return String::new();
    }
    format!(
        "; with [score] quantile_of = \"filtered\", the other reading of Appendix F, the levels of these slices would \
         give masks of about {} of a slice, none empty before small components are dropped (their DICE cannot be told \
         from these records)",
        percent(shares.iter().sum::<f64>() / shares.len() as f64)
    )
}

/// Whether masks of slices with a lesion are empty.
pub(super) fn empty_masks(evidence: &Evidence<'_>) -> Option<Check> {
    let findings = evidence.methods.iter().filter_map(|method| {
        let share = method.tally.empty_masks()?;
        Some(Finding {
            subject: name(method)?,
            value: share,
            shown: percent(share),
            state: if share > NEARLY_ALL_EMPTY {
                State::No
            } else if share > MANY_EMPTY {
                State::Look
            } else {
                State::Ok
            },
        })
    });
    let findings = Findings::new(findings.collect(), Worse::High)?;
    Some(findings.check("empty-masks", |state, named| match state {
        State::Ok => format!("masks of slices with a lesion are seldom empty ({named})"),
        _ => format!(
            "masks of many slices with a lesion are empty ({named}): no pixel of the map reaches its threshold, or none \
             that does belongs to a component large enough; look at threshold, median and component-area{}",
            other_masks(evidence)
        ),
    }))
}

/// Whether one threshold for all slices would do much better than the masks did, and than no map at all: a map at chance
/// has its best DICE where the whole brain is called anomalous, and that is no fault of the threshold.
pub(super) fn threshold(evidence: &Evidence<'_>) -> Option<Check> {
    let unhealthy = |measured: &&Measured| measured.row.setup == Setup::Unhealthy;
    let mut trivial = evidence.trivial.iter().filter(unhealthy);
    let brain = trivial.find(|measured| measured.row.method == ALL_BRAIN);
    let brain = brain.and_then(|measured| measured.row.dice.mean);
    let findings = evidence.methods.iter().filter_map(|method| {
        let row = &method.rows.iter().find(unhealthy)?.row;
        let (dice, best) = (row.dice.mean?, row.best_dice?);
        let lost = best.mean - dice.max(brain.unwrap_or(0.0));
        let mut shown = format!("DICE {:.1}, best {:.1}", 100.0 * dice, 100.0 * best.mean);
        if let (Some(median), Some(threshold)) = (method.tally.median_threshold(), best.threshold) {
            shown.push_str(&format!(
                " at {threshold:.3} where the median Q* is {median:.3}"
            ));
        }
        Some(Finding {
            subject: name(method)?,
            value: lost,
            shown,
            state: if lost > LOST { State::Look } else { State::Ok },
        })
    });
    let findings = Findings::new(findings.collect(), Worse::High)?;
    let brain = brain.map_or_else(String::new, |brain| {
        format!("; the whole brain: {:.1}", 100.0 * brain)
    });
    Some(findings.check("threshold", |state, named| match state {
        State::Ok => format!(
            "in the unhealthy set-up no single threshold, chosen on the test slices themselves, would do much better \
             than the masks or than calling the whole brain anomalous ({named}{brain})"
        ),
        _ => format!(
            "threshold, not map: in the unhealthy set-up a single threshold, chosen on the test slices themselves, does \
             much better ({named}{brain}): the map finds the lesions and the mask loses them; quote AUPRC and best_dice \
             beside DICE{}",
            if other_reading(evidence) {
                "; [score] quantile_of = \"filtered\" is the other reading of the threshold in Appendix F"
            } else {
                ""
            }
        ),
    }))
}
