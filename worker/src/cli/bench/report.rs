//! What a bench prints.

use anofpdm_common::network::NetworkConfig;
use serde::Serialize;
use tch::Device;

use super::args::BenchArgs;
use super::pass::Timed;
use crate::engine::{Optimizations, precision};
use crate::torch;

/// Figures of one bench. Rates count the plain network's operations, so optimizations raise them.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    device: String,
    cpu_capability: &'static str,
    libtorch: String,
    threads: u32,
    precision: &'static str,
    savings: Vec<String>,
    parameters: i64,
    batch: u32,
    steps: u32,
    repeats: u32,
    semantics: &'static str,
    encoding: &'static str,
    guidance: Vec<f64>,
    maps: usize,
    evaluations_per_step: f64,
    seconds_per_step: f64,
    seconds_per_evaluation: f64,
    seconds_per_slice_step: f64,
    /// Operations that compute something, of libtorch and not of our own: launches, on a GPU.
    operations_per_step: u64,
    /// Share of a step's time after which the host has asked for all of it: near 1 the host is the limit, not the GPU.
    host_share: f64,
    /// Resident memory of the process, bytes; of a GPU what tensors had at once.
    peak_memory_bytes: Option<u64>,
    /// Counted of the plain network.
    flop_per_evaluation: f64,
    useful_flop_per_second: f64,
    matmul_flop_per_second: f64,
    fraction_of_matmul: f64,
}

impl Report {
    pub(super) fn new(
        args: &BenchArgs,
        optimizations: Optimizations,
        config: &NetworkConfig,
        device: Device,
        timed: &Timed,
        matmul: f64,
    ) -> Self {
        let footprint = config.footprint();
        let slice_step = timed.seconds_per_step / f64::from(args.batch);
        let evaluations_per_step = timed.evaluations_per_slice / f64::from(args.steps);
        let seconds_per_evaluation = slice_step / evaluations_per_step;
        #[allow(clippy::cast_precision_loss)] // a rate, not a count
        let flop_per_evaluation = 2.0 * footprint.multiply_adds as f64;
        let useful = flop_per_evaluation / seconds_per_evaluation;
        Self {
            device: torch::device_class(device),
            cpu_capability: torch::cpu_capability(),
            libtorch: torch::libtorch_version(),
            threads: args.threads,
            precision: precision::name_of(args.precision),
            savings: optimizations.names().collect(),
            parameters: footprint.parameters,
            batch: args.batch,
            steps: args.steps,
            repeats: args.repeats,
            semantics: args.semantics.name(),
            encoding: args.encoding.name(),
            guidance: args.guidance.clone(),
            maps: if args.variants { 5 } else { 1 },
            evaluations_per_step,
            seconds_per_step: timed.seconds_per_step,
            seconds_per_evaluation,
            seconds_per_slice_step: slice_step,
            operations_per_step: timed.operations,
            host_share: timed.host_share,
            peak_memory_bytes: timed.peak_memory,
            flop_per_evaluation,
            useful_flop_per_second: useful,
            matmul_flop_per_second: matmul,
            fraction_of_matmul: useful / matmul,
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const GIGA: f64 = 1e9;
        writeln!(
            f,
            "{}, {}, {} thread(s), libtorch {}; savings: {}",
            self.device,
            self.precision,
            self.threads,
            self.libtorch,
            if self.savings.is_empty() {
                "none".to_owned()
            } else {
                self.savings.join(", ")
            }
        )?;
        writeln!(
            f,
            "{} weights, {} slices, {}, {}, {} strength(s), {} map(s) each",
            self.parameters,
            self.batch,
            self.semantics,
            self.encoding,
            self.guidance.len(),
            self.maps
        )?;
        writeln!(
            f,
            "evaluations a step        {:.3}",
            self.evaluations_per_step
        )?;
        writeln!(
            f,
            "seconds an evaluation     {:.4}",
            self.seconds_per_evaluation
        )?;
        writeln!(
            f,
            "seconds a slice and step  {:.4}",
            self.seconds_per_slice_step
        )?;
        writeln!(
            f,
            "operations a step         {}, asked for within {:.0} % of its time",
            self.operations_per_step,
            100.0 * self.host_share
        )?;
        match self.peak_memory_bytes {
            Some(bytes) => writeln!(f, "peak memory               {} MiB", bytes >> 20)?,
            None => writeln!(f, "peak memory               not measured")?,
        }
        writeln!(
            f,
            "useful rate               {:.1} GFLOP/s of the plain network's {:.2} GFLOP an evaluation",
            self.useful_flop_per_second / GIGA,
            self.flop_per_evaluation / GIGA
        )?;
        write!(
            f,
            "of the matmul rate        {:.0} % of {:.1} GFLOP/s",
            100.0 * self.fraction_of_matmul,
            self.matmul_flop_per_second / GIGA
        )
    }
}
