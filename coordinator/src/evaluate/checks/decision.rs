//! Whether healthy and unhealthy are told apart, and whether the strength that was chosen means something.

use anofpdm_common::anofpdm::select_guidance;
use anofpdm_common::calibration::Calibration;
use anofpdm_common::method::Encoding;
use anofpdm_common::spec::{Decision, Guidance};
use anofpdm_common::store::slices::Split;
use anofpdm_common::strength::Strength;

use super::finding::{Finding, Findings, Worse, subject};
use super::{Evidence, counted, percent};
use crate::report::summary::{Check, Classification, SliceScore, State};

/// Accuracy this little above the base rate is worth nothing.
const WORTH_SOMETHING: f64 = 0.02;
const CHANCE: f64 = 0.5;
/// An AUROC of another number that is worth mentioning, if it is that much higher.
const WORTH_MENTIONING: f64 = 0.6;
const MUCH_BETTER: f64 = 0.05;
/// A choice that hangs on this many validation slices, or fewer, is a coin toss.
const COIN_TOSS: usize = 2;

/// The classifications of the test slices that decide the mixed rows.
fn deciding<'a>(evidence: &'a Evidence<'_>) -> impl Iterator<Item = &'a Classification> {
    let all = evidence.classification.iter();
    all.filter(|one| one.split == Split::Test && one.decides)
}

fn name(one: &Classification) -> String {
    subject(one.encoding.as_deref().unwrap_or("-"), one.guidance)
}

/// Accuracy on the test slices against that of always giving the commoner answer.
pub(super) fn accuracy(evidence: &Evidence<'_>) -> Option<Check> {
    let findings = deciding(evidence).filter_map(|one| {
        let (accuracy, base) = (one.accuracy?, one.base_rate?);
        let gain = accuracy - base;
        Some(Finding {
            subject: name(one),
            value: gain,
            shown: format!("{}, base rate {}", percent(accuracy), percent(base)),
            state: if gain <= 0.0 {
                State::No
            } else if gain < WORTH_SOMETHING {
                State::Look
            } else {
                State::Ok
            },
        })
    });
    let check = Findings::new(findings.collect(), Worse::Low)?.check(
        "accuracy",
        |state, named| match state {
            State::Ok => format!(
                "healthy and unhealthy test slices are told apart better than by always giving the commoner answer \
                 (accuracy of {named})"
            ),
            _ => format!(
                "calling test slices healthy or unhealthy is worth nothing where its accuracy is not above the base \
                 rate of always giving the commoner answer ({named}): the mixed rows then say little more than \
                 all-empty; train longer, or walk further ([score] steps)"
            ),
        },
    );
    Some(check)
}

/// AUROC of the deciding number on the test slices.
pub(super) fn auroc(evidence: &Evidence<'_>) -> Option<Check> {
    let mut score = "";
    let findings: Vec<Finding> = deciding(evidence)
        .map(|one| {
            score = one.score.name();
            let area = one.auroc.mean;
            let state = match (area, one.auroc.ci95) {
                (Some(area), _) if area <= CHANCE => State::No,
                (Some(_), Some([low, _])) if low > CHANCE => State::Ok,
                _ => State::Look,
            };
            Finding {
                subject: name(one),
                value: area.unwrap_or(f64::NAN),
                shown: shown(one),
                state,
            }
        })
        .collect();
    let check = Findings::new(findings, Worse::Low)?.check("auroc", |state, named| match state {
        State::Ok => format!("the {score} ranks unhealthy test slices above healthy ones (AUROC of {named})"),
        _ => format!(
            "the {score} does not certainly tell unhealthy from healthy test slices (AUROC of {named}; 0.5 is chance): \
             do not read anything into the mixed rows{}",
            other_decision(evidence)
        ),
    });
    Some(Check {
        value: check.value.filter(|value| !value.is_nan()),
        ..check
    })
}

/// `0.47 [0.28, 0.58]`.
fn shown(one: &Classification) -> String {
    match (one.auroc.mean, one.auroc.ci95) {
        (None, _) => "undefined, as the slices are of one kind".to_owned(),
        (Some(area), None) => format!("{area:.2}, without an interval"),
        (Some(area), Some([low, high])) => format!("{area:.2} [{low:.2}, {high:.2}]"),
    }
}

/// What the ratio of the MSE sequences does on the validation slices, where it is much better than the cosine.
fn other_decision(evidence: &Evidence<'_>) -> String {
    if evidence.spec.score.decision == Decision::MseRatio {
        return String::new();
    }
    let of = |score: SliceScore| {
        let all = evidence.classification.iter();
        all.filter(move |one| one.split == Split::Validation && one.score == score)
    };
    let better = of(SliceScore::MseRatio)
        .filter_map(|ratio| {
            let same = |one: &&Classification| {
                one.encoding == ratio.encoding && one.guidance == ratio.guidance
            };
            let cosine = of(SliceScore::Cosine).find(same)?.auroc.mean?;
            let area = ratio.auroc.mean?;
            (area > cosine + MUCH_BETTER && area > WORTH_MENTIONING)
                .then_some((ratio, area, cosine))
        })
        .max_by(|a, b| a.1.total_cmp(&b.1));
    better.map_or_else(String::new, |(ratio, area, cosine)| {
        format!(
            "; on the validation slices the ratio of the MSE sequences has {area:.2} where the cosine has {cosine:.2} \
             ({}): [score] decision = \"mse-ratio\", which is not the paper's, may decide better",
            name(ratio)
        )
    })
}

/// Whether the deciding number knows more than how much head a slice shows and where it lies.
pub(super) fn position(evidence: &Evidence<'_>) -> Option<Check> {
    let (trivial, best) = evidence
        .classification
        .iter()
        .filter(|one| one.split == Split::Test && one.score.is_trivial())
        // What tells slices apart the other way round tells them apart.
        .filter_map(|one| Some((one.score.name(), one.auroc.mean?)))
        .map(|(name, area)| (name, area.max(1.0 - area)))
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    let findings = deciding(evidence).filter_map(|one| {
        let area = one.auroc.mean?;
        Some(Finding {
            subject: name(one),
            value: area - best,
            shown: format!("{area:.2}"),
            state: if area > best.max(0.5) {
                State::Ok
            } else {
                State::Look
            },
        })
    });
    let check = Findings::new(findings.collect(), Worse::Low)?.check(
        "position",
        |state, named| match state {
            State::Ok => format!(
                "the decision knows more of a slice than its place: AUROC of {named}, {trivial} alone {best:.2}"
            ),
            _ => format!(
                "{trivial} alone, without any network, tells unhealthy from healthy test slices with an AUROC of \
                 {best:.2}, and the decision does no better ({named}): it may know no more than where a slice lies"
            ),
        },
    );
    Some(check)
}

/// An encoding whose strength Algorithm 2 chose.
struct Choice<'a> {
    encoding: Encoding,
    guidance: f64,
    calibration: &'a Calibration,
}

/// What Algorithm 2 chose, and among which candidates; `None` where the spec lists the strengths of the table.
fn choices<'a>(evidence: &'a Evidence<'_>) -> Option<(&'a [f64], Vec<Choice<'a>>)> {
    let Guidance::Select { select } = &evidence.spec.score.guidance else {
        return None;
    };
    let chosen = evidence
        .calibration
        .iter()
        .filter_map(|(encoding, calibration)| {
            let chosen = calibration.strengths.iter().find(|s| s.selected)?;
            Some(Choice {
                encoding: *encoding,
                guidance: chosen.guidance,
                calibration,
            })
        });
    Some((select, chosen.collect()))
}

/// Whether the best strength may lie beyond the candidates.
pub(super) fn guidance_edge(evidence: &Evidence<'_>) -> Option<Check> {
    let (select, chosen) = choices(evidence)?;
    let lowest = select.iter().copied().reduce(f64::min)?;
    let highest = select.iter().copied().reduce(f64::max)?;
    let findings = chosen.iter().map(|choice| {
        let guidance = choice.guidance;
        let edge = [(lowest, "smallest"), (highest, "largest")]
            .into_iter()
            .find(|(edge, _)| Strength(*edge) == Strength(guidance));
        Finding {
            subject: choice.encoding.name().to_owned(),
            value: guidance,
            shown: match edge {
                Some((_, which)) => format!("w = {guidance}, the {which} of {}", select.len()),
                None => format!("w = {guidance}"),
            },
            state: if edge.is_some() {
                State::Look
            } else {
                State::Ok
            },
        }
    });
    let check = Findings::new(findings.collect(), Worse::High)?.check(
        "guidance-edge",
        |state, named| match state {
            State::Ok => format!("the strength that was chosen lies inside the candidates ({named})"),
            _ => format!(
                "the strength that was chosen lies at the edge of the candidates ({named}): a better one may lie \
                 beyond; add candidates there ([score] guidance)"
            ),
        },
    );
    Some(check)
}

/// On how many validation slices the choice of the strength hangs.
pub(super) fn guidance_margin(evidence: &Evidence<'_>) -> Option<Check> {
    let (select, chosen) = choices(evidence)?;
    if select.len() < 2 {
        return None;
    }
    let slices = evidence.validation_slices;
    let decision = evidence.spec.score.decision;
    let findings = chosen.iter().filter_map(|choice| {
        let correct: Vec<(f64, usize)> = choice
            .calibration
            .strengths
            .iter()
            .map(|strength| {
                let accuracy = match decision {
                    Decision::Cosine => strength.accuracy,
                    Decision::MseRatio => strength.ratio_accuracy,
                };
                // An accuracy is a number of slices over all of them.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let correct = (accuracy * slices as f64).round() as usize;
                (strength.guidance, correct)
            })
            .collect();
        let margin = margin(&correct, slices)?;
        Some(Finding {
            subject: choice.encoding.name().to_owned(),
            value: margin as f64,
            shown: format!("w = {} by {}", choice.guidance, counted(margin, "slice")),
            state: if margin <= COIN_TOSS {
                State::Look
            } else {
                State::Ok
            },
        })
    });
    let check = Findings::new(findings.collect(), Worse::Low)?.check(
        "guidance-margin",
        |state, named| match state {
            State::Ok => format!("the choice of the strength does not hang on single validation slices ({named})"),
            _ => format!(
                "the choice of the strength hangs on single slices of the {slices} validation slices ({named}): with so \
                 many called otherwise it would be another; use more of them ([data] validation_slices)"
            ),
        },
    );
    Some(check)
}

/// The fewest slices that, called otherwise at one of the strengths, would make Algorithm 2 choose another; `None` where
/// no number of them would.
fn margin(correct: &[(f64, usize)], slices: usize) -> Option<usize> {
    let chosen = select_guidance(correct);
    (1..=slices).find(|changed| {
        (0..correct.len()).any(|index| {
            let with = |number: usize| {
                let mut other = correct.to_vec();
                other[index].1 = number;
                select_guidance(&other) != chosen
            };
            let number = correct[index].1;
            (number + changed <= slices && with(number + changed))
                || (*changed <= number && with(number - changed))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::margin;

    #[test]
    fn the_margin_counts_slices_that_would_change_the_choice() {
        // 84 of 100 at w = 2, 83 at w = 30: 83.0 < 0.99 x 84, and one slice more there is enough.
        assert_eq!(margin(&[(2.0, 84), (30.0, 83)], 100), Some(1));
        // The larger leads by 10: it must fall below 0.99 x 80 = 79.2 (11 slices), or the other rise to 91 of 100.
        assert_eq!(margin(&[(2.0, 80), (30.0, 90)], 100), Some(11));
        // Equal, the larger is chosen: 73 must become 72, as 72 < 0.99 x 73.
        assert_eq!(margin(&[(2.0, 73), (8.0, 73), (30.0, 73)], 100), Some(1));
        assert_eq!(margin(&[(2.0, 50)], 100), None);
    }
}
