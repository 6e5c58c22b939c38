//! The arguments of `bench`.

use std::path::PathBuf;

use anofpdm_common::method::Encoding;
use anofpdm_common::semantics::Semantics;
use anofpdm_common::spec::Precision;
use clap::Args;

use crate::engine::Optimizations;
use crate::torch::DeviceSpec;

const EXAMPLE: &str = "Examples:
  the paper's network on this CPU, two steps of two slices:
    anofpdm-worker bench --config paper.json --batch 2 --steps 2 \\
      --semantics paper-clipped --precision fp32 --guidance 2 --threads 2 --json
  ten strengths and all maps from one pass:
    anofpdm-worker bench --config paper.json --batch 2 --steps 2 \\
      --guidance 0.5,1,2,3,4,5,6,8,10,12 --variants
  what one saving brings:
    anofpdm-worker bench --config paper.json --batch 2 --steps 2 \\
      --savings=-upsample
  a GPU, full waves of an H200 (fp32 means fp32 only with the variable):
    anofpdm-worker bench --config paper.json --batch 33 --steps 20 \\
      --precision fp32 --device cuda:0";

/// Measure what a step of scoring takes on this device.
///
/// Runs AnoFPDM's forward process, the loop that scoring runs, on generated slices, and prints evaluations a step,
/// seconds an evaluation and a step of one slice (medians over the steps of all repeats after a warm-up), peak memory,
/// useful FLOP/s (those counted of the plain network, whatever the savings) and their share of the rate measured for
/// a large matrix product in the same number format.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLE)]
pub struct BenchArgs {
    /// Network configuration: one network's object, or several by name
    #[arg(long, value_name = "C.json")]
    pub config: PathBuf,
    /// Which network of a configuration that holds several
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
    /// Weights, safetensors [default: random ones]
    #[arg(long, value_name = "W.safetensors")]
    pub weights: Option<PathBuf>,
    /// Slices a batch
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: u32,
    /// Steps of a repeat
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub steps: u32,
    /// Science switches: paper, paper-clipped or reference
    #[arg(long, default_value = "paper-clipped")]
    pub semantics: Semantics,
    /// ddim or ddpm
    #[arg(long, default_value = "ddim")]
    pub encoding: Encoding,
    /// Number format: fp32, bf16; on a GPU also tf32, fp16
    #[arg(long, default_value = "fp32")]
    pub precision: Precision,
    /// Guidance strengths
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "2",
        value_name = "w,v",
        allow_hyphen_values = true
    )]
    pub guidance: Vec<f64>,
    /// Channels that maps are made of [default: 0 and 3 of four channels, else all]
    #[arg(long, value_delimiter = ',', value_name = "a,b")]
    pub modalities: Vec<i64>,
    /// Also the maps of -ste and of the three gradient methods
    #[arg(long)]
    pub variants: bool,
    /// cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    pub device: DeviceSpec,
    /// Threads inside one operation (CPU)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: u32,
    /// Passes whose steps are measured, after one that is not
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repeats: u32,
    /// Optimizations of the engine: all, none, names separated by commas, or all but -name [default: those of scoring: all on
    /// the CPU, all but channels-last on CUDA]
    #[arg(long, allow_hyphen_values = true)]
    pub savings: Option<Optimizations>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
