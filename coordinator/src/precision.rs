//! `precision = "auto"`: which number format a run computes in, and why.
//!
//! The same spec on the same machine has the same format, so nothing here reads a clock. A CPU computes in float32. On a
//! GPU a worker compares formats with float32 on validation slices (`anofpdm_common::plan::TrialPlan`), and the first of a
//! fixed order whose results agree is taken, float32 where none does. How fast a format is on a machine is what
//! `anofpdm-worker bench` prints.

use anofpdm_common::plan::{Agreement, Finding, NumericProfile, TrialReport};
use anofpdm_common::spec::Precision;
use anofpdm_common::store::durable::{self, DiskError};

use crate::run_folder::RunFolder;

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

/// The formats that are compared with float32 on this machine, the one that is preferred first; or why there are none.
///
/// The order is that of expected speed, and among equals of the bits of a factor: float16 and bfloat16 run at twice the
/// rate of TF32 and need half its memory; float16 has the 10 bits of TF32, bfloat16 has 7 but the range of float32. GPUs
/// from before Ampere have neither TF32 nor bfloat16 in hardware. Of a GPU that is not known by name only TF32 is
/// tried, which differs least from float32.
pub fn candidates(profile: &NumericProfile) -> Result<&'static [Precision], &'static str> {
    match profile.device.as_str() {
        "cpu" => Err("a CPU computes in fp32 unless the spec names a format"),
        "fake" => Err("the fake workers of the tests have no number formats"),
        gpus => Ok(match Generation::of(gpus) {
            Generation::AmpereOrLater => &[Precision::Fp16, Precision::Bf16, Precision::Tf32],
            Generation::VoltaOrTuring => &[Precision::Fp16],
            Generation::Unknown => &[Precision::Tf32],
        }),
    }
}

/// What the name of a GPU says of the number formats it has hardware for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Generation {
    /// A100, H200, L40S, B200, RTX A6000, RTX 4090, RTX 6000 Ada …
    AmpereOrLater,
    /// V100, T4, TITAN V and RTX, Quadro RTX, RTX 2080 …
    VoltaOrTuring,
    Unknown,
}

impl Generation {
    /// Of a device class: models, joined by `+` where a machine has several. What differs is unknown.
    fn of(device: &str) -> Self {
        let mut all = device.split(" + ").map(Self::of_model);
        let first = all.next().unwrap_or(Self::Unknown);
        if all.all(|other| other == first) {
            first
        } else {
            Self::Unknown
        }
    }

    /// Of a model as the driver names it, `NVIDIA H100 80GB HBM3`.
    fn of_model(model: &str) -> Self {
        let words: Vec<&str> = model
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect();
        let has = |name: &str| words.contains(&name);
        let series = |first: &[char]| {
            let digits = |word: &&&str| word.starts_with(first) && word.len() == 4 && number(word);
            has("RTX") && words.iter().any(|word| digits(&word))
        };
        let data_centre = |letters: &[&str]| {
            words.iter().any(|word| {
                let split = word.find(|c: char| c.is_ascii_digit());
                split.is_some_and(|at| letters.contains(&&word[..at]))
            })
        };
        if has("Ada")
            || has("Blackwell")
            || data_centre(&["A", "H", "L", "B", "GH", "GB"])
            || (has("GeForce") && series(&['3', '4', '5']))
        {
            Self::AmpereOrLater
        } else if data_centre(&["V", "T"])
            || (has("TITAN") && (has("V") || has("RTX")))
            || (has("Quadro") && has("RTX"))
            || (has("GeForce") && series(&['2']))
        {
            Self::VoltaOrTuring
        } else {
            Self::Unknown
        }
    }
}

fn number(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit())
}

/// The first candidate that agrees with float32, float32 where none does; and what speaks for it, for people.
pub fn choose(report: &TrialReport) -> (Precision, String) {
    let agrees = |finding: &Finding| match finding {
        Finding::Compared(agreement) => passes(agreement),
        Finding::NotFinite { .. } => false,
    };
    let mut candidates = report.candidates.iter();
    let chosen = candidates
        .find(|candidate| agrees(&candidate.finding))
        .map_or(Precision::Fp32, |candidate| candidate.precision);
    let findings: Vec<String> = report
        .candidates
        .iter()
        .map(|candidate| {
            let name = candidate.precision.name();
            format!("{name} {}", in_words(&candidate.finding))
        })
        .collect();
    let reason = format!(
        "the first that agrees with fp32 on {} validation slices: {}",
        report.slices,
        findings.join("; ")
    );
    (chosen, reason)
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

fn in_words(finding: &Finding) -> String {
    match finding {
        Finding::NotFinite { what } => {
            let what: String = what.chars().filter(|c| !c.is_control()).take(160).collect();
            format!("does not hold the numbers ({what})")
        }
        Finding::Compared(agreement) => {
            let change = |name: &str, change: Option<f64>| {
                change.map_or_else(String::new, |change| {
                    format!(", {name} changed by {change:.4}")
                })
            };
            format!(
                "has t_e equal in {} of {}, mask IoU {:.4}, M off by {:.2} %{}{}: {}",
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
pub fn write(folder: &RunFolder, report: &[u8]) -> Result<(), DiskError> {
    durable::write(&folder.calibration().join("precision.json"), report)
}

#[cfg(test)]
mod tests {
    use anofpdm_common::plan::Candidate;

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

    const STRAYED: Agreement = Agreement {
        end_steps_equal: 994,
        ..EXACT
    };

    fn report(candidates: &[(Precision, Finding)]) -> TrialReport {
        TrialReport {
            slices: 60,
            candidates: candidates
                .iter()
                .map(|(precision, finding)| Candidate {
                    precision: *precision,
                    finding: finding.clone(),
                })
                .collect(),
        }
    }

    #[test]
    fn the_order_follows_from_the_device_alone() {
        let of = |device: &str| {
            candidates(&NumericProfile {
                device: device.to_owned(),
                libtorch: "2.11.0".to_owned(),
                // What a CPU can do is no reason for another format there.
                cpu_capability: "avx512".to_owned(),
                threads: 1,
            })
        };
        for cpu in ["cpu", "fake"] {
            assert!(of(cpu).is_err(), "{cpu}");
        }
        let later: &[Precision] = &[Precision::Fp16, Precision::Bf16, Precision::Tf32];
        for gpu in [
            "NVIDIA H200",
            "NVIDIA H100 80GB HBM3",
            "NVIDIA A100-SXM4-40GB",
            "NVIDIA A10G",
            "NVIDIA GH200 480GB",
            "NVIDIA B200",
            "NVIDIA L40S",
            "NVIDIA RTX A6000",
            "NVIDIA RTX 6000 Ada Generation",
            "NVIDIA RTX PRO 6000 Blackwell Server Edition",
            "NVIDIA GeForce RTX 3090",
            "NVIDIA GeForce RTX 4090 Laptop GPU",
            "NVIDIA A100-SXM4-40GB + NVIDIA H100 PCIe",
        ] {
            assert_eq!(of(gpu), Ok(later), "{gpu}");
        }
        for gpu in [
            "Tesla V100-SXM2-16GB",
            "Tesla T4",
            "NVIDIA TITAN V",
            "NVIDIA TITAN RTX",
            "Quadro RTX 6000",
            "NVIDIA GeForce RTX 2080 Ti",
        ] {
            assert_eq!(of(gpu), Ok(&[Precision::Fp16][..]), "{gpu}");
        }
        for gpu in [
            "cuda",
            "",
            "Tesla P100-PCIE-16GB",
            "Tesla K80",
            "NVIDIA GeForce GTX 1080 Ti",
            "NVIDIA GeForce GTX 1660",
            "AMD Instinct MI300X",
            "Tesla V100-SXM2-16GB + NVIDIA H200",
        ] {
            assert_eq!(of(gpu), Ok(&[Precision::Tf32][..]), "{gpu}");
        }
    }

    #[test]
    fn the_first_that_agrees() {
        let found = report(&[
            (Precision::Fp16, Finding::Compared(STRAYED)),
            (Precision::Bf16, Finding::Compared(EXACT)),
            (Precision::Tf32, Finding::Compared(EXACT)),
        ]);
        let (chosen, reason) = choose(&found);
        assert_eq!(chosen, Precision::Bf16);
        for part in [
            "60 validation slices",
            "fp16 has t_e equal in 994 of 1000",
            "fails; bf16",
        ] {
            assert!(reason.contains(part), "{part}: {reason}");
        }
        assert!(reason.len() <= 1_024, "{}", reason.len());
    }

    #[test]
    fn each_part_of_the_gate_closes_it() {
        let strayed = [
            STRAYED,
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
            let found = report(&[(Precision::Bf16, Finding::Compared(agreement))]);
            assert_eq!(choose(&found).0, Precision::Fp32, "{agreement:?}");
        }
        let finding = Finding::NotFinite {
            what: "M of slice 3\nis not finite".to_owned(),
        };
        let (chosen, reason) = choose(&report(&[(Precision::Bf16, finding)]));
        assert_eq!(chosen, Precision::Fp32);
        assert!(!reason.contains('\n'), "{reason}");
    }
}
