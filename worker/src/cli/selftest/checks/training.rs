//! Training: the same bits twice and after an interruption; lower precisions beside float32.

use std::path::Path;
use std::sync::Arc;

use anofpdm_common::ids::Digest;
use anofpdm_common::network::NetworkConfig;
use anofpdm_common::role::Role;
use anofpdm_common::spec::{Preset, TrainPrecision, TrainSpec};
use anyhow::Result;
use tch::{Device, Kind};

use crate::cli::selftest::finding::{Finding, Verdict};
use crate::cli::selftest::setting::{LesionSlices, Setting, small_network};
use crate::train::{Control, Identity, Ranks, TrainOutcome, TrainRequest, train};

/// Smaller yet than the small network: a step takes hundredths of a second.
fn network() -> NetworkConfig {
    NetworkConfig {
        image_size: 16,
        in_channels: 1,
        ..small_network()
    }
}

/// Steps of a small network on slices of discs, in `folder`.
fn request(
    device: Device,
    precision: TrainPrecision,
    steps: u64,
    folder: &Path,
) -> TrainRequest<'_> {
    let network = network();
    let mut train = TrainSpec::published(Role::Guided, Preset::Paper);
    train.steps = steps;
    train.batch = 4;
    train.checkpoint_every = steps;
    train.precision = precision;
    train.learning_rate = 1e-3;
    TrainRequest {
        role: Role::Guided,
        data: Arc::new(LesionSlices::of(&network, 16)),
        network,
        train,
        validation: None,
        checkpoints: folder,
        device,
        identity: Identity {
            spec: Digest::of(b"selftest"),
            data: Digest::of(b"discs"),
        },
        ranks: Ranks::Alone,
        generation: None,
        kind: Kind::Float,
    }
}

/// Trains to the end.
fn trained(request: &TrainRequest<'_>) -> Result<TrainOutcome> {
    Ok(train(request, &mut |_| Control::Continue)?)
}

/// One step, whose result is thrown away.
pub(super) fn a_step(setting: &Setting) -> Result<()> {
    let folder = setting.folder("step")?;
    trained(&request(setting.device, TrainPrecision::Fp32, 1, &folder))?;
    Ok(std::fs::remove_dir_all(folder)?)
}

/// The weights of two trainings, and of one that was interrupted.
struct Weights {
    twice: [Digest; 2],
    resumed: Digest,
}

pub(super) fn bits(setting: &Setting) -> Result<Vec<Finding>> {
    let steps = 2;
    let of = |outcome: &TrainOutcome| -> Result<Digest> {
        Ok(Digest::of(&std::fs::read(&outcome.ema)?))
    };
    let whole = |name: &str| -> Result<Digest> {
        let folder = setting.folder(name)?;
        of(&trained(&request(
            setting.device,
            TrainPrecision::Fp32,
            steps,
            &folder,
        ))?)
    };
    let twice = [whole("once")?, whole("twice")?];
    let folder = setting.folder("interrupted")?;
    let request = request(setting.device, TrainPrecision::Fp32, steps, &folder);
    let half = train(&request, &mut |progress| {
        if progress.step >= steps / 2 {
            Control::Stop
        } else {
            Control::Continue
        }
    })?;
    anyhow::ensure!(half.step < steps, "a training that was stopped went on");
    let resumed = trained(&request)?;
    let weights = Weights {
        twice,
        resumed: of(&resumed)?,
    };
    let mut found = judged_bits(&weights, setting.device);
    let folder = setting.folder("again")?;
    let mut again = self::request(setting.device, TrainPrecision::Fp32, steps, &folder);
    again.train.checkpoint_activations = true;
    found.push(judged_again(trained(&again)?.loss, resumed.loss));
    Ok(found)
}

/// Blocks that are computed again have the loss of blocks that are kept, but for rounding.
fn judged_again(loss: f64, kept: f64) -> Finding {
    let apart = (loss / kept - 1.0).abs();
    let finding = Finding::new(
        "training, blocks computed again",
        format!("mean loss {loss:.6}, kept {kept:.6}"),
    )
    .figure("difference of the loss", apart, "");
    if apart < 1e-3 {
        finding
    } else {
        finding.but(
            Verdict::No,
            "do not set checkpoint_activations on this device; report a bug",
        )
    }
}

fn judged_bits(weights: &Weights, device: Device) -> Vec<Finding> {
    let [first, second] = weights.twice;
    // Only the CPU promises it.
    let verdict = if device.is_cuda() {
        Verdict::Look
    } else {
        Verdict::No
    };
    let finding = |check: &str, equal: bool, what: &str| {
        let says = if equal { "the same bits" } else { "other bits" };
        let finding = Finding::new(check, format!("{says} {what}"));
        if equal {
            finding
        } else {
            finding.but(
                verdict,
                "a training cannot be repeated to the bit on this device; report it",
            )
        }
    };
    vec![
        finding("training", first == second, "twice"),
        finding(
            "training, resumed",
            first == weights.resumed,
            "after an interruption",
        ),
    ]
}

pub(super) fn mixed(setting: &Setting) -> Result<Vec<Finding>> {
    let steps = match (setting.quick, setting.device.is_cuda()) {
        (true, false) => 4,
        (true, true) => 50,
        (false, _) => 200,
    };
    let precisions: &[TrainPrecision] = if setting.device.is_cuda() {
        &[
            TrainPrecision::Tf32,
            TrainPrecision::Bf16,
            TrainPrecision::Fp16,
        ]
    } else {
        &[TrainPrecision::Bf16]
    };
    let loss = |precision: TrainPrecision| -> Result<f64> {
        let folder = setting.folder(&format!("mixed-{}", precision.name()))?;
        let outcome = trained(&request(setting.device, precision, steps, &folder))?;
        Ok(outcome.loss)
    };
    let exact = loss(TrainPrecision::Fp32)?;
    precisions
        .iter()
        .map(|precision| Ok(judged_loss(precision.name(), loss(*precision)?, exact)))
        .collect()
}

/// How far the mean loss of a lower precision may be from that of float32.
const APART: f64 = 0.05;

fn judged_loss(name: &str, loss: f64, exact: f64) -> Finding {
    let apart = (loss / exact - 1.0).abs();
    let finding = Finding::new(
        format!("mixed precision, {name}"),
        format!("mean loss {loss:.4}, in fp32 {exact:.4}"),
    )
    .figure("mean loss", loss, "")
    .figure("mean loss in fp32", exact, "");
    if !loss.is_finite() {
        return finding.but(Verdict::No, format!("do not train in {name}; report a bug"));
    }
    if apart < APART {
        finding
    } else {
        finding.but(
            Verdict::Look,
            format!("more than 5 % from fp32: compare longer trainings before {name} is relied on"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_that_differ_are_a_no_on_the_cpu_and_worth_a_look_elsewhere() {
        let [a, b] = [b"a", b"b"].map(|bytes| Digest::of(bytes));
        let verdicts = |twice, resumed, device| {
            let found = judged_bits(&Weights { twice, resumed }, device);
            [found[0].verdict, found[1].verdict]
        };
        let ok = Verdict::Ok;
        assert_eq!(verdicts([a, a], a, Device::Cpu), [ok, ok]);
        assert_eq!(verdicts([a, b], a, Device::Cpu), [Verdict::No, ok]);
        assert_eq!(verdicts([a, a], b, Device::Cuda(0)), [ok, Verdict::Look]);
    }

    #[test]
    fn a_loss_apart_is_worth_a_look_and_none_is_a_no() {
        assert_eq!(judged_loss("bf16", 1.0, 1.01).verdict, Verdict::Ok);
        assert_eq!(judged_loss("bf16", 1.0, 1.10).verdict, Verdict::Look);
        assert_eq!(judged_loss("fp16", f64::NAN, 1.0).verdict, Verdict::No);
        assert_eq!(judged_again(1.0, 1.000_01).verdict, Verdict::Ok);
        assert_eq!(judged_again(1.0, 1.1).verdict, Verdict::No);
        assert_eq!(judged_again(f64::NAN, 1.0).verdict, Verdict::No);
    }
}
