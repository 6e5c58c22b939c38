//! What a run will cost, before it starts: evaluations, shards, disk.

use std::collections::BTreeMap;

use anofpdm_common::baseline::Baseline;
use anofpdm_common::plan::{Cell, ExhibitPlan, MAX_SHARD_CELLS, Trajectory, evaluations_per_slice};
use anofpdm_common::spec::{Guidance, Precision, RunSpec, ScoreSpec};
use serde::Serialize;

use crate::precision;

use super::cells::{self, Chosen, Columns, Decided, TableStrength, encodings, seeds_served};
use super::disk::SliceRoom;

/// `anofpdm plan --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    pub run: String,
    /// Evaluations of one slice by one network once.
    pub network_evaluations: Evaluations,
    /// Evaluations at most, beside the others, that choosing the number format takes; 0 where the spec names it.
    pub precision_trial: u64,
    /// Jobs, training included.
    pub shards: u64,
    /// Records that are there already.
    pub cached: u64,
    /// What records, weights and checkpoints take, bytes.
    pub disk_bytes: u64,
    /// Memory of a worker while it scores, bytes: libtorch, weights and activations of one batch, roughly.
    pub memory_bytes: u64,
    /// Device time still to go, seconds, at the rate of what this run has done; null before its first shard.
    pub predicted_device_seconds: Option<f64>,
    pub slices: Slices,
    /// Components of at most this many pixels are dropped from every mask.
    pub component_area: u32,
    /// Cells (method x guidance x seed) of the table.
    pub cells: u64,
    /// What a reader should know before starting.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Slices {
    pub train: u64,
    pub validation: u64,
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

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ByStage {
    pub train: u64,
    pub calibrate: u64,
    pub score: u64,
}

/// The estimate for `slices` that are like `room`, some of which are `exhibits`.
///
/// What calibration decides is known before only as far as it matters here: how many strengths the table has (all of a
/// list, one of a selection). A baseline whose noise scale is still to be `decided` counts with the largest of its
/// grid, and a warning says so.
pub fn estimate(
    spec: &RunSpec,
    slices: Slices,
    room: &SliceRoom,
    exhibits: &ExhibitPlan,
    decided: &BTreeMap<Baseline, Chosen>,
) -> Estimate {
    let score = &spec.score;
    let names: Vec<&str> = spec
        .needed_networks()
        .unwrap_or_default()
        .into_keys()
        .collect();
    let mut warnings = Vec::new();
    let columns = cells::calibration(score, &names);
    let calibrate = Work::of(spec, &columns, slices.validation, |_| 1);
    let batch = spec.compute.batch_slices;
    let none = ExhibitPlan::default();
    let calibration_bytes = room.bytes(&columns.cells, slices.validation, batch, &none);
    let foreseen = foreseen(score, decided, &mut warnings);
    let columns = cells::scoring(score, &names, &foreseen, !exhibits.is_empty());
    let test = Work::of(spec, &columns, slices.test, |trajectory| {
        seeds_served(trajectory, score)
    });
    let scoring_bytes = room.bytes(&columns.cells, slices.test, batch, exhibits);

    let mut train = 0;
    let mut trained = 0;
    for (name, model) in spec.needed_networks().unwrap_or_default() {
        let Some(plan) = model.train.as_ref().filter(|_| model.checkpoint.is_none()) else {
            continue;
        };
        train += plan.steps * plan.batch;
        trained += 1;
        if let Some(warning) = plan.ema_warning() {
            warnings.push(format!("[model.{name}.train]: {warning}"));
        }
    }
    let by_stage = ByStage {
        train,
        calibrate: calibrate.evaluations,
        score: test.evaluations,
    };
    Estimate {
        run: spec.name.clone(),
        network_evaluations: Evaluations {
            total: by_stage.train + by_stage.calibrate + by_stage.score,
            by_stage,
            without_sharing: train + calibrate.without_sharing + test.without_sharing,
            padding: calibrate.padding + test.padding,
        },
        precision_trial: precision_trial(spec, slices),
        shards: trained + calibrate.shards + test.shards,
        cached: 0,
        memory_bytes: 0,
        predicted_device_seconds: None,
        component_area: score.component_area_at(room.pixels.isqrt() as usize),
        disk_bytes: (calibration_bytes + scoring_bytes) as u64,
        slices,
        cells: test.cells,
        warnings,
    }
}

/// What `precision = "auto"` takes on a GPU with the most candidates.
fn precision_trial(spec: &RunSpec, slices: Slices) -> u64 {
    let score = &spec.score;
    let encoding = encodings(score).first().copied();
    let Some(encoding) = encoding.filter(|_| spec.compute.precision == Precision::Auto) else {
        return 0;
    };
    let walked = slices.validation + slices.test * score.seeds.len() as u64;
    let walked = usize::try_from(walked).unwrap_or(usize::MAX);
    let tried = precision::trial_slices(walked) as u64;
    let batch = u64::from(spec.compute.batch_slices);
    let padded = tried.min(slices.validation).div_ceil(batch) * batch;
    let each = evaluations_per_slice(score.semantics, encoding, score.steps);
    (1 + precision::MOST_CANDIDATES) * each * padded
}

/// What scoring is likely to be told by calibration.
fn foreseen(
    score: &ScoreSpec,
    decided: &BTreeMap<Baseline, Chosen>,
    warnings: &mut Vec<String>,
) -> Decided {
    let candidates = score.guidance.candidates();
    let count = match score.guidance {
        Guidance::List(_) => candidates.len(),
        Guidance::Select { .. } => 1,
    };
    let strength = |guidance: &f64| TableStrength {
        guidance: *guidance,
        max_divergence: Vec::new(),
        selected: false,
    };
    let mut all = candidates.iter().map(strength);
    let mut strengths: Vec<TableStrength> = all.by_ref().take(count).collect();
    let others: Vec<TableStrength> = all.collect();
    // Algorithm 2 chooses one of them.
    if let Some(first) = strengths.first_mut() {
        first.selected = true;
    }
    let mut settings = BTreeMap::new();
    for (baseline, grid) in cells::baselines(score) {
        let largest = grid.settings.iter().max_by_key(|s| s.noise_scale).copied();
        let open = grid.settings.iter().map(|s| s.noise_scale);
        let open = open.min() != largest.map(|s| s.noise_scale);
        let chosen = decided.get(&baseline).copied();
        if open && chosen.is_none() {
            warnings.push(format!(
                "{baseline}: its noise scale is tuned on the validation slices; scoring is counted with the largest"
            ));
        }
        let guess = largest.map(|setting| Chosen {
            setting,
            threshold: 0.0,
        });
        if let Some(chosen) = chosen.or(guess) {
            settings.insert(baseline, chosen);
        }
    }
    Decided {
        strengths: encodings(score)
            .into_iter()
            .map(|encoding| (encoding, strengths.clone()))
            .collect(),
        others: encodings(score)
            .into_iter()
            .map(|encoding| (encoding, others.clone()))
            .collect(),
        settings,
    }
}

#[derive(Debug, Default)]
struct Work {
    evaluations: u64,
    without_sharing: u64,
    padding: u64,
    shards: u64,
    /// Cells x seeds they serve.
    cells: u64,
}

impl Work {
    /// What `columns` take on so many slices, where a trajectory serves so many noise seeds.
    fn of(
        spec: &RunSpec,
        columns: &Columns,
        slices: u64,
        seeds_of: impl Fn(&Trajectory) -> u64,
    ) -> Self {
        let (semantics, steps) = (spec.score.semantics, spec.score.steps);
        let batch = u64::from(spec.compute.batch_slices);
        let padding = slices.div_ceil(batch) * batch - slices;
        let shards_of_all = slices
            .div_ceil(batch)
            .div_ceil(u64::from(spec.compute.batches_per_shard()));
        let mut work = Self::default();
        for (index, trajectory) in columns.trajectories.iter().enumerate() {
            let cells: Vec<&Cell> = columns.cells_of(index).collect();
            let served = seeds_of(trajectory);
            // As shards are cut: so many cells of a trajectory travel together.
            for together in cells.chunks(MAX_SHARD_CELLS) {
                let each = trajectory.passes(semantics, steps, together.iter().copied());
                work.evaluations += each.total() * slices;
                work.padding += each.total() * padding;
                work.shards += shards_of_all;
            }
            for cell in cells.iter().filter(|cell| cell.output.counts()) {
                let alone = trajectory.passes(semantics, steps, [*cell]).total();
                work.without_sharing += alone * slices * served;
                work.cells += served;
            }
        }
        work
    }
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
        let none = BTreeMap::new();
        let one = estimate(
            &spec("[2]"),
            slices,
            &SliceRoom::default(),
            &ExhibitPlan::default(),
            &none,
        );
        let ten = estimate(
            &spec("[1,2,3,4,5,6,7,8,9,10]"),
            slices,
            &SliceRoom::default(),
            &ExhibitPlan::default(),
            &none,
        );
        assert_eq!(one.network_evaluations.total, 1_200 * (100 + 3 * 1_000));
        assert_eq!(one.network_evaluations.total, ten.network_evaluations.total);
        assert_eq!(
            ten.network_evaluations.without_sharing,
            1_200 * (10 * 100 + 3 * 10 * 3 * 1_000)
        );
        // 100 = 3 batches of 33 and 1 of 1; 1000 = 30 of 33 and 1 of 10.
        assert_eq!(one.network_evaluations.padding, 1_200 * (32 + 3 * 23));
        // Two full batches in float32 and three other formats.
        assert_eq!(one.precision_trial, 4 * 1_200 * 66);
    }
    #[test]
    fn baselines_share_their_encode_and_draw_noise_only_where_they_do() {
        let spec = |grid: &str| {
            let networks = ["guided", "healthy-simplex", "conditional", "classifier"]
                .map(|name| format!("[model.{name}]\npreset = \"paper\"\ncheckpoint = \"w\"\n"))
                .concat();
            RunSpec::parse(&format!(
                "name = \"x\"\n[data]\nstore = \"s\"\n{networks}[score]\nsteps = 600\nsemantics = \"reference\"\n\
                 methods = [\"ddim-clf-free\", \"anoddpm-simplex\", \"ddim-classifier\"]\n{grid}"
            ))
            .unwrap()
        };
        let slices = Slices {
            train: 0,
            validation: 100,
            test: 1_000,
        };
        let none = BTreeMap::new();
        let published = estimate(
            &spec(""),
            slices,
            &SliceRoom::default(),
            &ExhibitPlan::default(),
            &none,
        );
        assert_eq!(
            published.network_evaluations.by_stage,
            ByStage {
                train: 0,
                calibrate: (1_350 + 200 + 400) * 100,
                // Three seeds, but one computation serves them all where no noise is drawn.
                score: (1_350 + 3 * 200 + 3 * 400) * 1_000,
            }
        );
        assert_eq!(published.cells, 9);
        assert_eq!(published.warnings, Vec::<String>::new());
        assert_eq!(
            published.network_evaluations.without_sharing,
            (1_350 + 200 + 400) * (100 + 3 * 1_000)
        );

        let grid =
            spec("[score.baseline.ddim-clf-free]\nnoise_scale = [300, 450]\nstrength = [1, 2]\n");
        let tuned = estimate(
            &grid,
            slices,
            &SliceRoom::default(),
            &ExhibitPlan::default(),
            &none,
        );
        let encode_and_decodes = 450 + 2 * 2 * (300 + 450);
        assert_eq!(
            tuned.network_evaluations.by_stage.calibrate,
            (encode_and_decodes + 200 + 400) * 100
        );
        assert!(tuned.warnings[0].contains("ddim-clf-free"));
        let chosen = Chosen {
            setting: anofpdm_common::baseline::Setting {
                noise_scale: 300,
                strength: 2.0,
            },
            threshold: 0.1,
        };
        let known = BTreeMap::from([(Baseline::DdimClfFree, chosen)]);
        let known = estimate(
            &grid,
            slices,
            &SliceRoom::default(),
            &ExhibitPlan::default(),
            &known,
        );
        assert_eq!(known.warnings, Vec::<String>::new());
        assert_eq!(
            known.network_evaluations.by_stage.score,
            (900 + 600 + 1_200) * 1_000
        );

        // Where there is one candidate in all, nothing is tuned.
        let fixed = spec(
            "[score.baseline.ddim-clf-free]\nthresholds = [0.22]\n\
             [score.baseline.anoddpm-simplex]\nthresholds = [0.08]\n\
             [score.baseline.ddim-classifier]\nthresholds = [0.24]\n",
        );
        let fixed = estimate(
            &fixed,
            slices,
            &SliceRoom::default(),
            &ExhibitPlan::default(),
            &none,
        );
        assert_eq!(fixed.network_evaluations.by_stage.calibrate, 0);
    }
}
