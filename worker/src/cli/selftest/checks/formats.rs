//! What rounding of each number format does to end steps, maps and masks.

use anofpdm_common::anofpdm::MaskRule;
use anofpdm_common::plan::Agreement;
use anofpdm_common::spec::Precision;
use anyhow::Result;

use super::scoring::{Walk, walked};
use crate::anofpdm::agreement::{FormatResults, MaskSettings, PixelTruth};
use crate::cli::selftest::finding::{Finding, Verdict};
use crate::cli::selftest::setting::{LesionSlices, Setting};
use crate::engine::precision;

pub(super) fn check(setting: &Setting) -> Result<Vec<Finding>> {
    let walk = Walk::of(setting);
    let slices = walk.slices();
    let truth: Vec<[Vec<u8>; 2]> = (0..slices.slices)
        .map(|index| labels(&slices, index))
        .collect();
    let truth: Vec<PixelTruth<'_>> = truth
        .iter()
        .map(|[mask, foreground]| PixelTruth { mask, foreground })
        .collect();
    let rules = MaskSettings {
        level_index: walk.switches().level_index,
        mask_rule: MaskRule::default(),
        component_area: 2,
        truth: &truth,
    };
    let results = |format: Precision| -> Result<FormatResults> {
        let mut results = FormatResults::default();
        let done = walked(setting, &walk, format)?;
        results.add(&done, i64::try_from(slices.slices)?);
        Ok(results)
    };
    let exact = results(Precision::Fp32)?;
    let mut found = Vec::new();
    for format in setting.precisions().iter().skip(1) {
        found.push(judged(*format, &results(*format)?.compare(&exact, &rules)?));
    }
    precision::set(Precision::Fp32, setting.device)?;
    Ok(found)
}

/// Lesion and tissue of a slice.
fn labels(slices: &LesionSlices, index: usize) -> [Vec<u8>; 2] {
    let each = |is: &dyn Fn(usize) -> bool| (0..slices.pixels()).map(|p| u8::from(is(p))).collect();
    [
        each(&|pixel| slices.has_lesion(index, pixel)),
        each(&|pixel| slices.is_tissue(pixel)),
    ]
}

#[allow(clippy::cast_precision_loss)] // tens
fn judged(format: Precision, agreement: &Agreement) -> Finding {
    let name = precision::name_of(format);
    let equal = agreement.end_steps_equal as f64 / agreement.end_steps.max(1) as f64;
    let mut finding = Finding::new(
        format!("noise floor, {name}"),
        format!(
            "{} of {} end steps as in fp32, masks with an IoU of {:.3} (weights are random: a trained network says more)",
            agreement.end_steps_equal, agreement.end_steps, agreement.mask_iou
        ),
    )
    .figure("equal end steps", equal, "")
    .figure("mask IoU with fp32", agreement.mask_iou, "")
    .figure("largest difference of M", agreement.divergence_error, "")
    .figure("largest difference of the cosine", agreement.cosine_error, "");
    if let Some(change) = agreement.dice_change {
        finding = finding.figure("change of DICE", change, "");
    }
    if let Some(change) = agreement.auprc_change {
        finding = finding.figure("change of AUPRC", change, "");
    }
    if !agreement.divergence_error.is_finite() {
        let advice = format!("{name} cannot hold these numbers: score in another format");
        return finding.but(Verdict::No, advice);
    }
    if equal < 0.5 || agreement.mask_iou < 0.5 {
        let advice = format!(
            "{name} is coarse here: use it only where precision = \"auto\" chooses it on your slices"
        );
        return finding.but(Verdict::Look, advice);
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_measured_and_judged() {
        let setting = Setting::quick_cpu().unwrap();
        let found = check(&setting).unwrap();
        assert_eq!(found.len(), 1);
        assert_ne!(found[0].verdict, Verdict::No, "{found:?}");
        let of = |name: &str| {
            found[0]
                .figures
                .iter()
                .find(|one| one.name == name)
                .unwrap()
                .value
        };
        assert!(
            of("largest difference of M") > 0.0,
            "bf16 rounds: {found:?}"
        );
        let agreement = |error, equal| Agreement {
            end_steps: 8,
            end_steps_equal: equal,
            divergence_error: error,
            cosine_error: 0.0,
            mask_iou: 1.0,
            dice_change: None,
            auprc_change: None,
        };
        let verdict = |error, equal| judged(Precision::Bf16, &agreement(error, equal)).verdict;
        assert_eq!(verdict(f64::NAN, 8), Verdict::No);
        assert_eq!(verdict(0.1, 3), Verdict::Look);
        assert_eq!(verdict(0.1, 8), Verdict::Ok);
    }
}
