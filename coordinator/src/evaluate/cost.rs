//! What a run took, as a whole and method by method.

use std::collections::{BTreeMap, HashMap};

use anofpdm_common::baseline::Passes;
use anofpdm_common::ids::Digest;
use anofpdm_common::method::{Encoding, Method};
use anofpdm_common::plan::{Cell, Stage, Trajectory};

use super::Finished;
use crate::ledger::{Ledger, StageCost};
use crate::report::summary::{Cost, EnergyUsed, MethodCost, StageEvaluations};

#[allow(clippy::cast_precision_loss)]
pub(super) fn cost(scored: &Finished, ledger: &Ledger) -> Cost {
    let plan = &scored.plan;
    let of = |stage| ledger.cost.get(&stage).copied().unwrap_or_default();
    let (train, calibrate, score) = (of(Stage::Train), of(Stage::Calibrate), of(Stage::Score));
    let slices: usize = plan.batches.iter().map(Vec::len).sum();
    let walked = (slices * plan.trajectories.len()) as f64;
    Cost {
        network_evaluations: train.evaluations + calibrate.evaluations + score.evaluations,
        by_stage: StageEvaluations {
            train: train.evaluations,
            calibrate: calibrate.evaluations,
            score: score.evaluations,
        },
        padding: calibrate.padding + score.padding,
        repeated_evaluations: ledger.repeated.evaluations,
        device_seconds: seconds(
            train.device_millis
                + calibrate.device_millis
                + score.device_millis
                + ledger.repeated.device_millis,
        ),
        energy: (ledger.energy.device_millis > 0).then(|| EnergyUsed {
            joules: seconds(ledger.energy.millijoules),
            of_device_seconds: seconds(ledger.energy.device_millis),
        }),
        wall_seconds: seconds(ledger.wall_millis),
        slices_per_second: if score.device_millis == 0 {
            0.0
        } else {
            walked / seconds(score.device_millis)
        },
        methods: by_method(scored, ledger),
    }
}

#[allow(clippy::cast_precision_loss)]
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1e3
}

/// What a pass is asked for together, and so costs once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shared {
    Walk(Encoding),
    Method(Method),
}

/// What one pass took over all slices and seeds.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    /// Of one slice.
    passes: Passes,
    total: StageCost,
}

/// One entry for each method of the plan, in the order of the report.
fn by_method(scored: &Finished, ledger: &Ledger) -> Vec<MethodCost> {
    let plan = &scored.plan;
    let trajectory_of = |cell: &Cell| plan.trajectories.get(usize::from(cell.trajectory));
    let mut taken: BTreeMap<Shared, Taken> = BTreeMap::new();
    for (index, trajectory) in plan.trajectories.iter().enumerate() {
        let cells = plan.cells.iter();
        let cells = cells.filter(|cell| usize::from(cell.trajectory) == index);
        taken.entry(shared(trajectory)).or_default().passes =
            trajectory.passes(plan.semantics, plan.steps, cells);
    }
    let cell_of = cells_by_key(scored);
    for (key, cost) in &ledger.deliveries {
        let cell = cell_of.get(key).and_then(|cell| plan.cells.get(*cell));
        if let Some(trajectory) = cell.and_then(trajectory_of) {
            taken.entry(shared(trajectory)).or_default().total += *cost;
        }
    }
    let mut methods: Vec<(Method, Shared)> = plan
        .cells
        .iter()
        .filter_map(|cell| {
            let trajectory = trajectory_of(cell)?;
            Some((cell.method(trajectory)?, shared(trajectory)))
        })
        .collect();
    methods.sort_unstable();
    methods.dedup();
    methods
        .into_iter()
        .map(|(method, shared)| {
            let Taken { passes, total } = taken.get(&shared).copied().unwrap_or_default();
            MethodCost {
                method: method.name().to_owned(),
                evaluations_per_slice: passes.total(),
                classifier_evaluations_per_slice: passes.classifier,
                seconds_per_slice: per_slice(&total, passes),
            }
        })
        .collect()
}

const fn shared(trajectory: &Trajectory) -> Shared {
    match trajectory {
        Trajectory::Forward(walk) => Shared::Walk(walk.encoding),
        Trajectory::Restoration(walk) => Shared::Method(Method::Baseline(walk.baseline)),
    }
}

/// Where in the plan each key of the stage lies.
fn cells_by_key(scored: &Finished) -> HashMap<Digest, usize> {
    scored
        .records
        .iter()
        .flat_map(|cells| cells.iter().enumerate())
        .map(|(cell, (key, _))| (*key, cell))
        .collect()
}

/// Device time of one slice once, padding included in the time; `None` where everything came from the cache.
#[allow(clippy::cast_precision_loss)]
fn per_slice(total: &StageCost, passes: Passes) -> Option<f64> {
    let slices = total.evaluations.checked_div(passes.total())?;
    (slices > 0).then(|| seconds(total.device_millis) / slices as f64)
}
