//! Simplex noise has the same bits on every machine.

use std::time::Instant;

use anofpdm_common::random::{Domain, Stream};
use anyhow::Result;
use tch::Tensor;

use crate::cli::clock::wait_for;
use crate::cli::selftest::finding::{Finding, Verdict};
use crate::cli::selftest::setting::Setting;
use crate::diffusion::simplex;
use crate::host::numbers;

/// The digest of the noise below.
const PINNED: &str = "4df0b5fb279e14da";

pub(super) fn check(setting: &Setting) -> Result<Vec<Finding>> {
    let seeds = [0, 1].map(|slice| Stream::new(7, Domain::ScoringNoise, slice, 0));
    let draw = || simplex::noise(seeds.to_vec(), 250, [2, 64, 64], setting.device);
    let noise = draw();
    let start = Instant::now();
    drop(draw());
    wait_for(setting.device);
    let seconds = start.elapsed().as_secs_f64();
    Ok(vec![judged(&noise).figure(
        "four fields of 64 x 64",
        seconds,
        "s",
    )])
}

fn judged(noise: &Tensor) -> Finding {
    let digest = digest(noise);
    let finding = Finding::new("simplex noise", format!("digest {digest}"));
    if digest == PINNED {
        return finding;
    }
    finding.but(
        Verdict::No,
        format!(
            "it should be {PINNED}: scores with simplex noise differ from other machines'; report a bug"
        ),
    )
}

/// The first digits of the digest over the values.
fn digest(noise: &Tensor) -> String {
    let mut hasher = blake3::Hasher::new();
    for value in numbers::<f32>(noise) {
        hasher.update(&value.to_le_bytes());
    }
    let digest = hasher.finalize().to_hex();
    digest.get(..16).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_bits_are_met_and_one_other_bit_is_a_no() {
        let setting = Setting::quick_cpu().unwrap();
        let found = check(&setting).unwrap();
        assert_eq!(found[0].verdict, Verdict::Ok, "{found:?}");
        let other = judged(&Tensor::from_slice(&[1.0_f32]));
        assert_eq!(other.verdict, Verdict::No);
    }
}
