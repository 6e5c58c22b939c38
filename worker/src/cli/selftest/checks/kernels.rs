//! Kernels of our own and attention in tiles beside libtorch's plain operations.

use anyhow::Result;

use crate::cli::selftest::finding::{Finding, Verdict};
use crate::cli::selftest::setting::Setting;
use crate::engine::{Compared, own_operations};

pub(super) fn check(setting: &Setting) -> Result<Vec<Finding>> {
    Ok(judged(&own_operations(setting.device)))
}

/// One finding for each operation, whatever its kinds and sizes.
fn judged(all: &[Compared]) -> Vec<Finding> {
    let mut names: Vec<&str> = all.iter().map(|one| operation(&one.what)).collect();
    names.dedup();
    let of = |name: &str| {
        let own: Vec<&Compared> = all
            .iter()
            .filter(|one| operation(&one.what) == name)
            .collect();
        judged_one(name, &own)
    };
    names.into_iter().map(of).collect()
}

/// What stands before the kinds and sizes.
fn operation(what: &str) -> &str {
    what.split(',').next().unwrap_or(what)
}

fn judged_one(name: &str, all: &[&Compared]) -> Finding {
    let wrong: Vec<String> = all
        .iter()
        .filter(|one| !one.agrees())
        .map(ToString::to_string)
        .collect();
    let used = all.iter().map(|one| one.apart / one.tolerance);
    let worst = used.fold(0.0, f64::max);
    #[allow(clippy::cast_precision_loss)] // tens
    let finding = Finding::new(
        format!("kernels of our own: {name}"),
        format!("{} of {} agree", all.len() - wrong.len(), all.len()),
    )
    .figure("compared", all.len() as f64, "")
    .figure("largest difference, of what is allowed", worst, "");
    if wrong.is_empty() {
        return finding;
    }
    finding.but(
        Verdict::No,
        format!(
            "engines use libtorch's slower operation instead; report a bug: {}",
            wrong.join("; ")
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(what: &str, apart: f64) -> Compared {
        Compared {
            what: what.to_owned(),
            apart,
            tolerance: 1e-3,
            reason: None,
        }
    }

    #[test]
    fn one_wrong_kernel_is_named_and_a_no() {
        let all = [
            compared("GroupNorm, Float to Float", 1e-4),
            compared("GroupNorm, Half to Float", 2e-3),
            compared("GroupNorm, Half to Half", f64::NAN),
            compared("attention in tiles, Float", 5e-4),
        ];
        let found = judged(&all);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].verdict, Verdict::No);
        assert_eq!(found[0].says, "1 of 3 agree");
        let advice = found[0].advice.clone().unwrap();
        assert!(advice.contains("Half to Float: apart by 2e-3"), "{advice}");
        assert!(!advice.contains("Float to Float"), "{advice}");
        assert_eq!(found[1].verdict, Verdict::Ok);
        let unserved = Compared {
            reason: Some("not served".to_owned()),
            ..compared("GroupNorm, Half to Half", f64::NAN)
        };
        assert_eq!(judged(&[unserved])[0].verdict, Verdict::No);
    }

    #[test]
    fn what_the_cpu_has_agrees() {
        let found = check(&Setting::quick_cpu().unwrap()).unwrap();
        assert!(found.len() >= 2);
        for one in found {
            assert_eq!(one.verdict, Verdict::Ok, "{one:?}");
        }
    }
}
