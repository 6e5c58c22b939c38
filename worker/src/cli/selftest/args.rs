//! The arguments of `selftest`, and of the ranks that it starts.

use std::path::PathBuf;

use clap::Args;

use crate::torch::DeviceSpec;

const EXAMPLE: &str = "Examples:
  everything that a GPU can show, about ten minutes:
    anofpdm-worker selftest --device cuda
  a small network only, for a bug report:
    anofpdm-worker selftest --device cuda --quick
  for a program:
    anofpdm-worker selftest --quick --json > selftest.json";

/// Check that this machine computes what it should, and say how fast.
///
/// Says what the machine is, then runs checks one after another: kernels of our own beside libtorch's, the engine beside
/// the plain network, the rounding of every number format, a training's bits, ranks that lose one of theirs, speed. Each
/// prints figures and `ok`, `look` (it works, but is not as expected) or `no` with what to do. Needs no network, no data
/// and no other program; what it writes lies in a temporary folder that it removes. Put all it prints into a bug report.
///
/// Exit codes: 0 when no check says no, 5 when one does.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLE)]
pub struct SelftestArgs {
    /// cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    pub device: DeviceSpec,
    /// Small networks and few steps: under a minute on a CPU
    #[arg(long)]
    pub quick: bool,
    /// Threads inside one operation (CPU)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: u32,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// One rank of the check of several, which starts it itself.
#[derive(Debug, Clone, Args)]
pub struct RankArgs {
    /// cpu, cuda or cuda:N
    #[arg(long)]
    pub device: DeviceSpec,
    /// This rank, from 0
    #[arg(long)]
    pub rank: usize,
    /// Number of ranks
    #[arg(long)]
    pub world: usize,
    /// Folder in which the ranks find each other
    #[arg(long)]
    pub rendezvous: PathBuf,
    /// Go on until another rank is lost
    #[arg(long)]
    pub until_lost: bool,
}
