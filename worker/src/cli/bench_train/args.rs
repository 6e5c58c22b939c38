//! The arguments of `bench-train`.

use std::path::PathBuf;

use anofpdm_common::role::Role;
use anofpdm_common::spec::TrainPrecision;
use clap::Args;

use crate::torch::DeviceSpec;

const EXAMPLE: &str = "Example:
  anofpdm-worker bench-train --config unet_v2.json --batch 16 --steps 20 \\
    --precision bf16 --json

Two ranks of this machine's CPU, one thread each:
  anofpdm-worker bench-train --config unet_v2.json --batch 16 --steps 20 \\
    --world 2";

/// Time training steps on synthetic slices: images a second and peak memory
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLE)]
pub struct BenchTrainArgs {
    /// Configuration of the network, or of several
    #[arg(long, value_name = "C.json")]
    pub config: PathBuf,
    /// Which network of a configuration that holds several
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
    /// What the network is trained for: guided, healthy-gaussian, healthy-simplex, conditional or classifier
    #[arg(long, default_value = "guided", value_parser = role)]
    pub role: Role,
    /// Global batch
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub batch: u64,
    /// Steps that are timed
    #[arg(long, value_name = "K", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub steps: u64,
    /// Steps before them
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=100_000))]
    pub warm_up: u64,
    /// Arithmetic: fp32, tf32, bf16 or fp16
    #[arg(long, value_name = "P", default_value = "fp32", value_parser = precision)]
    pub precision: TrainPrecision,
    /// Samples that pass through the network at once, at most [default: a rank's whole share]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub micro_batch: Option<u64>,
    /// Compute residual and attention blocks again in the backward pass instead of keeping what they computed
    #[arg(long)]
    pub checkpoint_activations: bool,
    /// Probability of dropout
    #[arg(long, value_name = "P", default_value_t = 0.1)]
    pub dropout: f64,
    /// Where to compute: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    pub device: DeviceSpec,
    /// Threads inside one operation, of each rank
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=1_024))]
    pub threads: i32,
    /// Ranks, as threads of this process over Gloo; CPU only
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub world: u64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

fn precision(text: &str) -> Result<TrainPrecision, String> {
    TrainPrecision::ALL
        .into_iter()
        .find(|precision| precision.name() == text)
        .ok_or_else(|| "one of fp32, tf32, bf16, fp16".to_owned())
}

fn role(text: &str) -> Result<Role, String> {
    Role::ALL
        .into_iter()
        .find(|role| role.name() == text)
        .ok_or_else(|| {
            let known: Vec<&str> = Role::ALL.iter().map(|role| role.name()).collect();
            format!("one of {}", known.join(", "))
        })
}
