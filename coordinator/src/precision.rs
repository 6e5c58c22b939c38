//! `precision = "auto"`: which number format a run computes in, and why (DESIGN 10).
//!
//! A worker measures the candidates of its device on validation slices (`anofpdm_common::work::TrialPlan`). A candidate that is clearly
//! faster than float32 and whose results agree with it may be used; the fastest of these is.

use anofpdm_common::spec::Precision;
use anofpdm_common::store::durable::{self, DiskError};
use anofpdm_common::work::{Agreement, Finding, NumericProfile, TrialReport};

use crate::run_folder::RunFolder;

/// A candidate must be this many times as fast as float32: less is not worth another set of bits, nor safely told
/// from noise in the clock.
pub const LEAST_GAIN: f64 = 1.2;

/// Least share of end steps that must be equal.
const END_STEPS: f64 = 0.995;
/// Least mean IoU with the masks of float32.
const MASK_IOU: f64 = 0.98;
/// Largest change of the mean DICE and of the pooled AUPRC.
const METRIC_CHANGE: f64 = 0.002;

/// A trial takes one slice in so many of a run, so that it never costs more than it can gain.
const SHARE: usize = 20;
/// Slices of a trial at least, as far as there are so many, and at most.
const LEAST_SLICES: usize = 8;
const MOST_SLICES: usize = 66;

/// Candidates that any machine has at most.
pub const MOST_CANDIDATES: u64 = 3;

/// Slices of a trial for a run that walks over so many.
pub const fn trial_slices(of_run: usize) -> usize {
    match of_run / SHARE {
        few if few < LEAST_SLICES => LEAST_SLICES,
        many if many > MOST_SLICES => MOST_SLICES,
        between => between,
    }
}

/// The formats that a machine computes in beside float32, in the order they are tried; or why there are none.
pub fn candidates(profile: &NumericProfile) -> Result<&'static [Precision], &'static str> {
    match (profile.device.as_str(), profile.cpu_capability.as_str()) {
        ("cpu", "avx512") => Ok(&[Precision::Bf16]),
        // Its convolutions are not vectorised there: tens of times slower, and slow to find out.
        ("cpu", _) => Err("on a CPU without AVX-512 nothing is faster"),
        ("fake", _) => Err("the device of drills has no number formats"),
        _ => Ok(&[Precision::Tf32, Precision::Fp16, Precision::Bf16]),
    }
}

/// The fastest candidate that passes, float32 where none does; and what speaks for it, for people.
pub fn choose(report: &TrialReport) -> (Precision, String) {
    let mut chosen = (Precision::Fp32, report.fp32_seconds);
    for candidate in &report.candidates {
        if let Finding::Compared { seconds, agreement } = &candidate.finding
            && passes(agreement)
            && *seconds < chosen.1
        {
            chosen = (candidate.precision, *seconds);
        }
    }
    let findings: Vec<String> = report
        .candidates
        .iter()
        .map(|candidate| {
            let name = candidate.precision.name();
            format!("{name} {}", in_words(&candidate.finding, report))
        })
        .collect();
    let reason = format!(
        "measured on {} validation slices: {}",
        report.slices,
        findings.join("; ")
    );
    (chosen.0, reason)
}

fn passes(agreement: &Agreement) -> bool {
    let small = |change: Option<f64>| change.is_none_or(|change| change <= METRIC_CHANGE);
    share_equal(agreement) >= END_STEPS
        && agreement.mask_iou >= MASK_IOU
        && small(agreement.dice_change)
        && small(agreement.auprc_change)
}

#[allow(clippy::cast_precision_loss)] // a share of some thousands
fn share_equal(agreement: &Agreement) -> f64 {
    agreement.end_steps_equal as f64 / agreement.end_steps.max(1) as f64
}

fn in_words(finding: &Finding, report: &TrialReport) -> String {
    let times = |seconds: f64| format!("is {:.2} x as fast as fp32", report.fp32_seconds / seconds);
    match finding {
        Finding::Slow { seconds } => {
            format!("{}, under {LEAST_GAIN} x", times(*seconds))
        }
        Finding::NotFinite { what } => {
            let what: String = what.chars().filter(|c| !c.is_control()).take(160).collect();
            format!("does not hold the numbers ({what})")
        }
        Finding::Compared { seconds, agreement } => {
            let change = |name: &str, change: Option<f64>| {
                change.map_or_else(String::new, |change| {
                    format!(", {name} changed by {change:.4}")
                })
            };
            format!(
                "{}, t_e equal in {} of {}, mask IoU {:.4}, M off by {:.2} %{}{}: {}",
                times(*seconds),
                agreement.end_steps_equal,
                agreement.end_steps,
                agreement.mask_iou,
                100.0 * agreement.divergence_error,
                change("DICE", agreement.dice_change),
                change("AUPRC", agreement.auprc_change),
                if passes(agreement) { "passes" } else { "fails" }
            )
        }
    }
}

/// Writes the report of a trial, JSON, to `calibration/precision.json`.
///
/// # Errors
/// Names the file.
pub fn write(folder: &RunFolder, report: &[u8]) -> Result<(), DiskError> {
    durable::write(&folder.calibration().join("precision.json"), report)
}

#[cfg(test)]
mod tests {
    use anofpdm_common::work::Candidate;

    use super::*;

    const EXACT: Agreement = Agreement {
        end_steps: 1_000,
        end_steps_equal: 1_000,
        divergence_error: 0.001,
        cosine_error: 1e-5,
        mask_iou: 1.0,
        dice_change: Some(0.0),
        auprc_change: None,
    };

    fn report(candidates: &[(Precision, Finding)]) -> TrialReport {
        TrialReport {
            slices: 60,
            fp32_seconds: 1.0,
            candidates: candidates
                .iter()
                .map(|(precision, finding)| Candidate {
                    precision: *precision,
                    finding: finding.clone(),
                })
                .collect(),
        }
    }

    fn compared(seconds: f64, agreement: Agreement) -> Finding {
        Finding::Compared { seconds, agreement }
    }

    #[test]
    fn the_fastest_that_agrees() {
        let found = report(&[
            (Precision::Tf32, compared(0.5, EXACT)),
            (Precision::Fp16, compared(0.3, EXACT)),
            (
                Precision::Bf16,
                compared(
                    0.2,
                    Agreement {
                        end_steps_equal: 994,
                        ..EXACT
                    },
                ),
            ),
        ]);
        let (chosen, reason) = choose(&found);
        assert_eq!(chosen, Precision::Fp16);
        for part in [
            "60 validation slices",
            "fp16 is 3.33 x",
            "994 of 1000",
            "fails",
        ] {
            assert!(reason.contains(part), "{part}: {reason}");
        }
        assert!(reason.len() <= 1_024, "{}", reason.len());
    }

    #[test]
    fn each_part_of_the_gate_closes_it() {
        let strayed = [
            Agreement {
                end_steps_equal: 994,
                ..EXACT
            },
            Agreement {
                mask_iou: 0.979,
                ..EXACT
            },
            Agreement {
                dice_change: Some(0.003),
                ..EXACT
            },
            Agreement {
                auprc_change: Some(0.003),
                ..EXACT
            },
        ];
        for agreement in strayed {
            let found = report(&[(Precision::Bf16, compared(0.5, agreement))]);
            assert_eq!(choose(&found).0, Precision::Fp32, "{agreement:?}");
        }
        let nothing = [
            Finding::Slow { seconds: 0.9 },
            Finding::NotFinite {
                what: "M of slice 3\nis not finite".to_owned(),
            },
        ];
        for finding in nothing {
            let (chosen, reason) = choose(&report(&[(Precision::Bf16, finding)]));
            assert_eq!(chosen, Precision::Fp32);
            assert!(!reason.contains('\n'), "{reason}");
        }
    }
}
