//! What a run will cost, before it starts: evaluations, shards, disk.

use anofpdm_common::method::Method;
use anofpdm_common::spec::{Guidance, RunSpec};
use anofpdm_common::work::evaluations_per_slice;
use serde::Serialize;

use super::cells::encodings;

/// `anofpdm plan --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// Name of the run.
    pub run: String,
    /// Evaluations of one slice by one network once.
    pub network_evaluations: Evaluations,
    /// Jobs, training included.
    pub shards: u64,
    /// Records that are there already.
    pub cached: u64,
    /// Upper estimate of what the records and weights take, bytes.
    pub disk_bytes: u64,
    /// Memory of a worker while it scores, bytes: libtorch, weights and activations of one batch, roughly.
    pub memory_bytes: u64,
    /// Device time still to go, seconds, at the rate of what this run has done; null before its first shard.
    pub predicted_device_seconds: Option<f64>,
    /// Slices a stage reads.
    pub slices: Slices,
    /// Cells (method x guidance x seed) of the table.
    pub cells: u64,
    /// What a reader should know before starting.
    pub warnings: Vec<String>,
}

/// Slices by stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Slices {
    /// Training slices of the store.
    pub train: u64,
    /// Validation slices chosen.
    pub validation: u64,
    /// Test slices chosen.
    pub test: u64,
}

/// Evaluations with and without sharing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Evaluations {
    /// All stages, without padding.
    pub total: u64,
    /// By stage; training counted in forward passes.
    pub by_stage: ByStage,
    /// What the same table costs when every cell walks its own trajectory.
    pub without_sharing: u64,
    /// Spent on padding the last batch of each trajectory.
    pub padding: u64,
}

/// Evaluations by stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ByStage {
    /// Training.
    pub train: u64,
    /// Calibration.
    pub calibrate: u64,
    /// Scoring.
    pub score: u64,
}

/// The estimate for `slices` of `pixels` pixels, of which every one may be foreground, and `modalities` scored ones.
///
/// The number of strengths in the table is known before calibration: all of a list, one of a selection.
pub fn estimate(spec: &RunSpec, slices: Slices, pixels: u64, modalities: u64) -> Estimate {
    let score = &spec.score;
    let candidates = score.guidance.candidates().len() as u64;
    let strengths = match score.guidance {
        Guidance::List(_) => candidates,
        Guidance::Select { .. } => 1,
    };
    let seeds = score.seeds.len() as u64;
    let batch = u64::from(spec.compute.batch_slices);
    let padded = |n: u64| n.div_ceil(batch) * batch - n;
    let shards_of = |n: u64| {
        n.div_ceil(batch)
            .div_ceil(u64::from(spec.compute.batches_per_shard()))
    };

    let mut by_stage = ByStage::default();
    let mut shards = 0;
    let mut padding = 0;
    let mut without_sharing = 0;
    let mut warnings = Vec::new();
    for method in &score.methods {
        let each = per_slice(spec, *method);
        without_sharing += each * strengths * seeds * slices.test;
    }
    for encoding in encodings(score) {
        let each = evaluations_per_slice(score.semantics, encoding, score.steps);
        by_stage.calibrate += each * slices.validation;
        without_sharing += each * slices.validation * candidates;
        by_stage.score += each * slices.test * seeds;
        padding += each * (padded(slices.validation) + seeds * padded(slices.test));
        shards += shards_of(slices.validation) + seeds * shards_of(slices.test);
    }
    for (name, model) in spec.needed_networks().unwrap_or_default() {
        let Some(train) = model.train.as_ref().filter(|_| model.checkpoint.is_none()) else {
            continue;
        };
        by_stage.train += train.steps * train.batch;
        without_sharing += train.steps * train.batch;
        shards += 1;
        if let Some(warning) = train.ema_warning() {
            warnings.push(format!("[model.{name}.train]: {warning}"));
        }
    }
    let cells = score.methods.len() as u64 * strengths * seeds;
    let sequences = 3 * 4 * u64::from(score.steps) * modalities;
    let traces = sequences * candidates * slices.validation * encodings(score).len() as u64;
    Estimate {
        run: spec.name.clone(),
        network_evaluations: Evaluations {
            total: by_stage.train + by_stage.calibrate + by_stage.score,
            by_stage,
            without_sharing,
            padding,
        },
        shards,
        cached: 0,
        memory_bytes: 0,
        predicted_device_seconds: None,
        disk_bytes: cells * slices.test * (4 * pixels + 128) + traces,
        slices,
        cells,
        warnings,
    }
}

fn per_slice(spec: &RunSpec, method: Method) -> u64 {
    evaluations_per_slice(spec.score.semantics, method.encoding(), spec.score.steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_strengths_cost_what_one_costs() {
        let spec = |guidance: &str| {
            RunSpec::parse(&format!(
                "name = \"x\"\n[data]\nstore = \"s\"\n[model.guided]\npreset = \"paper\"\ncheckpoint = \"w\"\n\
                 [score]\nsteps = 600\nmethods = [\"anofpdm-ddim\", \"anofpdm-ddim-ste\", \"gradient\"]\nguidance = {guidance}\n"
            ))
            .unwrap()
        };
        let slices = Slices {
            train: 0,
            validation: 100,
            test: 1_000,
        };
        let one = estimate(&spec("[2]"), slices, 0, 1);
        let ten = estimate(&spec("[1,2,3,4,5,6,7,8,9,10]"), slices, 0, 1);
        assert_eq!(one.network_evaluations.total, 1_200 * (100 + 3 * 1_000));
        assert_eq!(one.network_evaluations.total, ten.network_evaluations.total);
        assert_eq!(
            ten.network_evaluations.without_sharing,
            1_200 * (10 * 100 + 3 * 10 * 3 * 1_000)
        );
        // 100 = 3 batches of 33 and 1 of 1; 1000 = 30 of 33 and 1 of 10.
        assert_eq!(one.network_evaluations.padding, 1_200 * (32 + 3 * 23));
    }
}
