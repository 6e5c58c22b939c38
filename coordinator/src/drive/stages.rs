//! The stages of a run, each brought to its end: train, calibrate, score.

use std::collections::BTreeMap;
use std::path::Path;

use anofpdm_common::ids::Digest;
use anofpdm_common::method::Encoding;
use anofpdm_common::queue::Dispatch;
use anofpdm_common::queue::lease::Failure;
use anofpdm_common::spec::TrainSpec;
use anofpdm_common::work::{
    ForwardPlan, Job, NetworkPlan, Plan, PlanError, SliceRef, Stage, Task, TrainPlan,
};

use super::engine::{Engine, OnDeath};
use super::judge::{Current, RunJudge};
use super::progress::StageProgress;
use super::{DriveError, checkpoint_folder};
use crate::bench_file::BenchFile;
use crate::calibrate::{self, Calibration};
use crate::dataset::Dataset;
use crate::ledger::{Entry, Ledger};
use crate::plan::cells::{self, Columns};
use crate::plan::forward::{Setting, forward_plan};
use crate::plan::shards::shards;
use crate::run_folder::RunFolder;

/// Rounds of a stage in which every record conflicts with itself before the run gives up.
const MAX_ROUNDS: usize = 5;

/// A run on its way through the stages.
pub(super) struct Stages<'a> {
    pub(super) bench: &'a BenchFile,
    pub(super) dataset: &'a Dataset,
    pub(super) folder: &'a RunFolder,
    pub(super) engine: Engine,
}

impl Stages<'_> {
    /// Runs the stages up to `until`.
    pub(super) fn run(&mut self, until: Option<Stage>) -> Result<(), DriveError> {
        let networks = self.networks()?;
        if until == Some(Stage::Train) {
            return Ok(());
        }
        let calibration = self.calibrate(&networks)?;
        if until == Some(Stage::Calibrate) {
            return Ok(());
        }
        self.score(&networks, &calibration)
    }

    fn ledger(&self) -> &Ledger {
        self.engine.judge.journal.ledger()
    }

    /// The weights of every network the spec needs: given, or trained.
    fn networks(&mut self) -> Result<Vec<NetworkPlan>, DriveError> {
        let bench = self.bench;
        let mut plans = Vec::new();
        for (name, model) in bench.needed()? {
            let weights = self.ledger().weights.get(name).copied();
            let weights = match (weights, &model.checkpoint, &model.train) {
                (Some(weights), _, _) => weights,
                (None, Some(path), _) => self.adopt(name, path)?,
                (None, None, Some(train)) => self.train(name, train)?,
                (None, None, None) => return Err(DriveError::NoWeights(name.to_owned())),
            };
            plans.push(NetworkPlan {
                name: name.to_owned(),
                config: bench.network(name, self.dataset)?,
                weights,
            });
        }
        Ok(plans)
    }

    /// Takes the checkpoint file of the spec into the artifact store.
    fn adopt(&mut self, network: &str, path: &Path) -> Result<Digest, DriveError> {
        let judge = &mut self.engine.judge;
        let weights = judge
            .artifacts
            .put_file(path)
            .map_err(|source| DriveError::Checkpoint {
                network: network.to_owned(),
                source,
            })?;
        judge.journal.append(&Entry::Weights {
            network: network.to_owned(),
            weights,
        })?;
        Ok(weights)
    }

    fn train(&mut self, network: &str, train: &TrainSpec) -> Result<Digest, DriveError> {
        if train.devices > 1 {
            return Err(DriveError::Devices(network.to_owned(), train.devices));
        }
        let plan = TrainPlan {
            // The parser takes no other names.
            network: network.parse().map_err(PlanError::Impossible)?,
            config: self.bench.network(network, self.dataset)?,
            train: train.clone(),
            profile: self.engine.profile()?,
            data: self.dataset.training_plan()?,
        };
        let key = plan.key()?;
        let digest = self.publish(&Plan::Train(plan.clone()), Stage::Train, 1)?;
        if self.ledger().record(key).is_none() {
            let checkpoints = checkpoint_folder(self.folder, network);
            let mut progress = StageProgress::new("train", "steps", 0, train.steps);
            self.engine.judge.current = Current::Train(digest, Box::new(plan));
            let job = Job {
                stage: Stage::Train,
                plan: digest,
                task: Task::Train,
            };
            let mut reached = newest_checkpoint(&checkpoints);
            self.engine.complete(
                vec![job],
                |_, queue| {
                    let (step, note) = training_progress(queue);
                    progress.update(step, &note);
                },
                |letter| {
                    // A worker that dies and dies, but gets further each time, is not a poison job.
                    let now = newest_checkpoint(&checkpoints);
                    let further = now > reached;
                    reached = now;
                    if further && matches!(letter.failure, Failure::Crash) {
                        OnDeath::Revive
                    } else {
                        OnDeath::GiveUp
                    }
                },
            )?;
            progress.update(train.steps, "");
        }
        let weights = self.ledger().record(key).ok_or(DriveError::Conflicts(1))?;
        self.engine.judge.journal.append(&Entry::Weights {
            network: network.to_owned(),
            weights,
        })?;
        Ok(weights)
    }

    fn calibrate(
        &mut self,
        networks: &[NetworkPlan],
    ) -> Result<BTreeMap<Encoding, Calibration>, DriveError> {
        let bench = self.bench;
        let columns = cells::calibration(&bench.spec.score, networks);
        let slices = self.dataset.validation()?.slices;
        let plan = self.plan(Stage::Calibrate, &columns, networks, &slices)?;
        self.forward(&plan)?;
        let calibration = calibrate::calibrate(
            &plan,
            self.ledger(),
            &self.engine.judge.artifacts,
            &self.dataset.store().images(),
        )?;
        calibrate::write(self.folder, &calibration)?;
        Ok(calibration)
    }

    fn score(
        &mut self,
        networks: &[NetworkPlan],
        calibration: &BTreeMap<Encoding, Calibration>,
    ) -> Result<(), DriveError> {
        let bench = self.bench;
        let columns = cells::scoring(&bench.spec.score, networks, calibration);
        let slices = self.dataset.test()?.slices;
        let plan = self.plan(Stage::Score, &columns, networks, &slices)?;
        self.forward(&plan)
    }

    fn plan(
        &mut self,
        stage: Stage,
        columns: &Columns,
        networks: &[NetworkPlan],
        slices: &[SliceRef],
    ) -> Result<ForwardPlan, DriveError> {
        let profile = self.engine.profile()?;
        let setting = Setting {
            spec: &self.bench.spec,
            data: &self.dataset.plan(),
            networks,
            profile: &profile,
        };
        Ok(forward_plan(&setting, stage, columns, slices))
    }

    /// Brings every record of a forward plan into the journal.
    fn forward(&mut self, plan: &ForwardPlan) -> Result<(), DriveError> {
        let keys = plan.record_keys()?;
        let total: usize = keys.iter().map(Vec::len).sum();
        let digest = self.publish(&Plan::Forward(plan.clone()), plan.stage, total as u64)?;
        let all = || keys.iter().flatten().copied();
        let size = self.dataset.store().manifest().size;
        let cached = self.engine.judge.take_from_cache(plan, size, &keys)?;
        if cached > 0 {
            tracing::info!(
                "{}: {cached} records are taken from the cache",
                plan.stage.name()
            );
        }
        let batches_per_shard = self.bench.spec.compute.batches_per_shard();
        for _ in 0..MAX_ROUNDS {
            let ledger = self.ledger();
            let jobs = shards(plan, digest, batches_per_shard, |batch, cell| {
                ledger.record(keys[batch][cell]).is_none()
            })?;
            if jobs.is_empty() {
                return Ok(());
            }
            let done = |judge: &RunJudge| {
                let finished = judge.journal.ledger().finished.get(&plan.stage);
                finished.copied().unwrap_or(0)
            };
            let before = done(&self.engine.judge);
            self.engine.judge.current = Current::Forward(digest, Box::new(plan.clone()), size);
            let mut progress =
                StageProgress::new(plan.stage.name(), "records", before, total as u64);
            self.engine.complete(
                jobs,
                |judge, _| progress.update(done(judge), ""),
                |_| OnDeath::GiveUp,
            )?;
        }
        let ledger = self.ledger();
        Err(DriveError::Conflicts(
            all().filter(|key| ledger.record(*key).is_none()).count(),
        ))
    }

    /// Stores a plan and notes in the journal how much work the stage is.
    fn publish(&mut self, plan: &Plan, stage: Stage, records: u64) -> Result<Digest, DriveError> {
        let judge = &mut self.engine.judge;
        let digest = judge.artifacts.put(&plan.to_json()?)?;
        if judge.journal.ledger().planned.get(&stage) != Some(&(digest, records)) {
            judge.journal.append(&Entry::Planned {
                stage,
                plan: digest,
                records,
            })?;
        }
        Ok(digest)
    }
}

/// Name of the newest checkpoint folder: names sort by step.
fn newest_checkpoint(folder: &Path) -> Option<String> {
    std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("step-"))
        .max()
}

/// The step training is at and what the worker says of it.
fn training_progress(queue: &dyn Dispatch) -> (u64, String) {
    queue
        .workers()
        .unwrap_or_default()
        .into_iter()
        .flat_map(|worker| worker.leases)
        .map(|lease| (lease.progress.ticks, lease.progress.note))
        .next()
        .unwrap_or_default()
}
