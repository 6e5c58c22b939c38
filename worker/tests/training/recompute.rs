//! Activation checkpointing changes the memory of a step, not its gradients.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anofpdm_common::role::Role;
use anofpdm_common::spec::TrainPrecision;
use anofpdm_worker::tensors::NamedTensors;
use anofpdm_worker::train::{TrainOutcome, TrainRequest};
use tch::Kind;

use super::roles::request_of;
use super::together::{distance, go_on, ranks};
use super::{Discs, all_cores, contents, one_core, undisturbed};

/// The first moments after one step, a tenth of its gradients, and its loss: with and without recomputation.
fn both(
    world: usize,
    of: impl Fn(&Path) -> TrainRequest<'_> + Sync,
) -> [(NamedTensors, TrainOutcome); 2] {
    [false, true].map(|checkpoint_activations| {
        let folder = tempfile::tempdir().unwrap();
        let make = || {
            let mut request = of(folder.path());
            request.train.steps = 1;
            request.train.checkpoint_activations = checkpoint_activations;
            request
        };
        let outcome = match world {
            1 => undisturbed(&make()),
            world => ranks(world, |_| make(), go_on).swap_remove(0).unwrap(),
        };
        (contents(&outcome.checkpoint).swap_remove(2), outcome)
    })
}

/// Dropout is on: masks that differed would be seen.
fn dropping(role: Role, folder: &Path) -> TrainRequest<'_> {
    let request = request_of(role, folder, 1, Arc::new(Discs::new(10)));
    assert!(request.train.dropout > 0.0);
    request
}

#[test]
fn gradients_of_every_role_are_the_same_alone_and_with_others() {
    let _turn = all_cores();
    for role in Role::ALL {
        for (world, micro_batch) in [(1, None), (1, Some(1)), (2, None), (2, Some(1))] {
            let [(kept, alone), (recomputed, other)] = both(world, |folder| {
                let mut request = dropping(role, folder);
                request.kind = Kind::Double;
                request.train.micro_batch = micro_batch;
                request
            });
            let off = distance(&recomputed, &kept, "m.");
            assert!(off < 1e-13, "{role} {world} {micro_batch:?}: {off:e}");
            assert_eq!(other.loss, alone.loss, "{role} {world}: the forward pass");
        }
    }
}

#[test]
fn single_precision_differs_by_rounding_and_autocast_is_that_of_the_forward_pass() {
    let _turn = all_cores();
    for world in [1, 2] {
        for (precision, tolerance) in [(TrainPrecision::Fp32, 1e-6), (TrainPrecision::Bf16, 1e-2)] {
            let [(kept, alone), (recomputed, other)] = both(world, |folder| {
                let mut request = dropping(Role::Guided, folder);
                request.train.precision = precision;
                request
            });
            assert_eq!(other.loss, alone.loss, "{precision}");
            let off = distance(&recomputed, &kept, "m.");
            assert!(off < tolerance, "{precision} {world}: {off:e}");
        }
    }
}

#[test]
fn the_peak_of_memory_is_lower() {
    let _turn = one_core();
    // What is kept grows with the depth, what one block needs while it is recomputed does not.
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    let text = r#"{"arch": "v2", "image_size": 48, "in_channels": 2, "num_channels": 32, "num_res_blocks": 8,
        "channel_mult": [1, 2, 2], "attention_downsample_rates": [4], "num_heads": 2, "num_classes": 2}"#;
    std::fs::write(&config, text).unwrap();
    let peak = |more: &[&str]| -> u64 {
        let output = Command::new(env!("CARGO_BIN_EXE_anofpdm-worker"))
            .args([
                "bench-train",
                "--batch",
                "4",
                "--steps",
                "1",
                "--warm-up",
                "1",
                "--json",
            ])
            .arg("--config")
            .arg(&config)
            .args(more)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        let timing: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        timing["peak_memory_bytes"].as_u64().unwrap()
    };
    let (kept, recomputed) = (peak(&[]), peak(&["--checkpoint-activations"]));
    println!(
        "kept {} MiB, recomputed {} MiB",
        kept >> 20,
        recomputed >> 20
    );
    assert!(
        recomputed < kept * 7 / 10,
        "kept {kept}, recomputed {recomputed}"
    );
}
