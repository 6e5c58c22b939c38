//! The stages of a run, each brought to its end: train, calibrate, score.

use std::collections::BTreeMap;
use std::sync::Arc;

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::{
    ForwardPlan, MAX_TRIAL_REPORT_BYTES, NetworkPlan, Plan, PlanError, SliceRef, Stage, TrainPlan,
    TrialPlan,
};
use anofpdm_common::spec::{Precision, TrainSpec};
use anofpdm_common::store::location::Location;
use anofpdm_common::store::remote_file::local_path;

use super::active_plan::ActiveForward;
use super::operators::progress::StageProgress;
use super::operators::run_metrics::RunMetrics;
use super::operators::snapshot::Unit;
use super::scheduler::Scheduler;
use super::{RunError, checkpoint_folder};
use crate::dataset::Dataset;
use crate::evaluate::calibrate;
use crate::evaluate::tune;
use crate::ledger::{ChosenPrecision, Entry, Ledger};
use crate::plan::cells::{self, Columns, Decided};
use crate::plan::forward::{Setting, forward_plan};
use crate::precision;
use crate::report::training::{self, newest_checkpoint, saved_step};
use crate::run_folder::RunFolder;
use crate::spec_file::SpecFile;

/// How often calibration is looked at again after scoring, since a worker was found wrong in the meantime.
const MAX_ROUNDS: usize = 5;

/// A run on its way through the stages.
pub(super) struct Stages<'a> {
    pub(super) spec_file: &'a SpecFile,
    pub(super) dataset: &'a Dataset,
    pub(super) folder: &'a RunFolder,
    pub(super) scheduler: Scheduler,
    pub(super) metrics: RunMetrics,
}

impl Stages<'_> {
    /// Runs the stages up to `until`.
    pub(super) fn run(&mut self, until: Option<Stage>) -> Result<(), RunError> {
        self.identify()?;
        self.check_precision()?;
        let networks = self.networks()?;
        if until == Some(Stage::Train) {
            return Ok(());
        }
        let precision = self.precision(&networks)?;
        self.identify()?;
        for _ in 0..MAX_ROUNDS {
            let decided = self.calibrate(&networks, precision)?;
            if until == Some(Stage::Calibrate) {
                return Ok(());
            }
            self.score(&networks, precision, &decided)?;
            if self.ledger().contested() == 0 {
                return Ok(());
            }
            // A worker was found wrong that had calibrated too: what it said then is computed again.
            tracing::warn!("records of an earlier stage are contested: it is looked at again");
        }
        let contested = usize::try_from(self.ledger().contested()).unwrap_or(usize::MAX);
        Err(RunError::Conflicts(contested))
    }

    /// Tells what the run is, as far as it is known.
    fn identify(&self) -> Result<(), RunError> {
        let asked = self.spec_file.spec.compute.precision;
        let chosen = self.ledger().precision.as_ref();
        let precision = match (asked, chosen) {
            (Precision::Auto, None) => "",
            (Precision::Auto, Some(chosen)) => chosen.precision.name(),
            (asked, _) => asked.name(),
        };
        let profile = self.ledger().profile.as_ref();
        self.metrics.identify(
            &self.spec_file.digest()?.short(),
            &self.dataset.digest().short(),
            precision,
            profile.map_or("", |profile| &profile.device),
        );
        Ok(())
    }

    fn ledger(&self) -> &Ledger {
        self.scheduler.committer.ledger()
    }

    /// The weights of every network the spec needs: given, or trained.
    fn networks(&mut self) -> Result<Vec<NetworkPlan>, RunError> {
        let spec_file = self.spec_file;
        let mut plans = Vec::new();
        let needed = spec_file.needed()?;
        let trained = needed.values().filter(|model| model.checkpoint.is_none());
        let trained = trained.count() as u64;
        for (name, model) in needed {
            let weights = self.ledger().weights.get(name).copied();
            let weights = match (weights, &model.checkpoint, &model.train) {
                (Some(weights), _, _) => weights,
                (None, Some(checkpoint), _) => self.adopt(name, checkpoint)?,
                (None, None, Some(train)) => self.train(name, train, trained)?,
                (None, None, None) => return Err(RunError::NoWeights(name.to_owned())),
            };
            plans.push(NetworkPlan {
                name: name.to_owned(),
                config: spec_file.network(name, self.dataset)?,
                weights,
            });
        }
        Ok(plans)
    }

    /// Takes the checkpoint file of the spec into the artifact store.
    fn adopt(&mut self, network: &str, checkpoint: &Location) -> Result<Digest, RunError> {
        let committer = &mut self.scheduler.committer;
        let weights = local_path(checkpoint)
            .and_then(|path| Ok(committer.artifacts().put_file(&path)?))
            .map_err(|source| RunError::Checkpoint {
                network: network.to_owned(),
                source: Box::new(source),
            })?;
        committer.append(&Entry::Weights {
            network: network.to_owned(),
            weights,
        })?;
        Ok(weights)
    }

    /// Trains one network; the run trains `networks` in all.
    fn train(
        &mut self,
        network: &str,
        train: &TrainSpec,
        networks: u64,
    ) -> Result<Digest, RunError> {
        let plan = TrainPlan {
            // The parser takes no other names.
            network: network.parse().map_err(PlanError::Impossible)?,
            config: self.spec_file.network(network, self.dataset)?,
            train: train.clone(),
            profile: self.scheduler.profile()?,
            data: self.dataset.training_plan()?,
            validation: self.dataset.validation_subjects(),
        };
        let key = plan.key()?;
        let digest = self.publish(&Plan::Train(plan.clone()), Stage::Train, networks)?;
        if self.ledger().record(key).is_none() {
            let checkpoints = checkpoint_folder(self.folder, network);
            let saved = saved_step(&checkpoints).unwrap_or(0).min(train.steps);
            let mut progress = StageProgress::new("train", Unit::Steps, saved, train.steps);
            let newest = || {
                let folder = newest_checkpoint(&checkpoints)?;
                Some(folder.file_name()?.to_string_lossy().into_owned())
            };
            self.scheduler.train(
                digest,
                plan,
                saved,
                |work, note| progress.update(work, note),
                newest,
            )?;
            progress.finish();
        }
        // Not only at the end of this training: a coordinator may have died between the two.
        training::keep(self.folder, network)?;
        let weights = self.ledger().record(key).ok_or(RunError::Conflicts(1))?;
        self.scheduler.committer.append(&Entry::Weights {
            network: network.to_owned(),
            weights,
        })?;
        Ok(weights)
    }

    /// Refuses, before anything is trained, a number format that scoring could not have.
    fn check_precision(&mut self) -> Result<(), RunError> {
        let asked = self.spec_file.spec.compute.precision;
        if asked.needs_gpu() && self.scheduler.profile()?.device == "cpu" {
            return Err(RunError::Precision(asked));
        }
        Ok(())
    }

    /// What U-Nets are computed in: what the spec says, or what a trial on validation slices spoke for. Journaled once.
    fn precision(&mut self, networks: &[NetworkPlan]) -> Result<Precision, RunError> {
        let asked = self.spec_file.spec.compute.precision;
        if asked != Precision::Auto {
            return Ok(asked);
        }
        if let Some(chosen) = &self.ledger().precision {
            return Ok(chosen.precision);
        }
        match self.trial_plan(networks)? {
            Ok(plan) => self.try_formats(plan)?,
            Err(reason) => {
                let fp32 = ChosenPrecision {
                    precision: Precision::Fp32,
                    reason: reason.to_owned(),
                    report: None,
                };
                self.scheduler.committer.append(&Entry::Precision(fp32))?;
            }
        }
        let chosen = self.ledger().precision.clone();
        let chosen = chosen.ok_or(RunError::Conflicts(1))?;
        tracing::info!(
            "precision: this run computes in {}; {}",
            chosen.precision.name(),
            chosen.reason
        );
        Ok(chosen.precision)
    }

    /// The trial of this run, or why there is none.
    fn trial_plan(
        &mut self,
        networks: &[NetworkPlan],
    ) -> Result<Result<TrialPlan, &'static str>, RunError> {
        let candidates = match precision::candidates(&self.scheduler.profile()?) {
            Ok(candidates) => candidates,
            Err(reason) => return Ok(Err(reason)),
        };
        let score = &self.spec_file.spec.score;
        let Some(encoding) = cells::encodings(score).first().copied() else {
            return Ok(Err(
                "the formats are compared by AnoFPDM, which is not asked for",
            ));
        };
        let columns = cells::trial(score, &names(networks), encoding);
        let mut slices = self.dataset.validation()?.slices;
        let scored = self.dataset.test()?.slices.len() * score.seeds.len();
        slices.truncate(precision::trial_slices(slices.len() + scored));
        let forward = self.plan(
            Stage::Calibrate,
            &columns,
            networks,
            Precision::Fp32,
            &slices,
        )?;
        Ok(Ok(TrialPlan {
            with_truth: self.dataset.have_masks(&slices)?,
            forward,
            candidates: candidates.to_vec(),
        }))
    }

    /// Has the formats compared and keeps the report for people.
    fn try_formats(&mut self, plan: TrialPlan) -> Result<(), RunError> {
        let slices = plan.forward.batches.iter().map(Vec::len).sum::<usize>() as u64;
        tracing::info!("precision: number formats are compared on {slices} validation slices");
        let artifact = Plan::Trial(plan.clone()).to_json(self.scheduler.run())?;
        let digest = self.scheduler.committer.artifacts().put(&artifact)?;
        self.scheduler.trial(digest, plan)?;
        let Some(report) = self
            .ledger()
            .precision
            .as_ref()
            .and_then(|chosen| chosen.report)
        else {
            return Ok(());
        };
        let bytes = self
            .scheduler
            .committer
            .artifacts()
            .get(&report, MAX_TRIAL_REPORT_BYTES)?;
        precision::write(self.folder, &bytes)?;
        Ok(())
    }

    /// What the validation slices decide: for AnoFPDM from image-level labels, for the baselines from pixel labels.
    fn calibrate(
        &mut self,
        networks: &[NetworkPlan],
        precision: Precision,
    ) -> Result<Decided, RunError> {
        let score = &self.spec_file.spec.score;
        let columns = cells::calibration(score, &names(networks));
        let slices = self.dataset.validation()?.slices;
        let plan = self.plan(Stage::Calibrate, &columns, networks, precision, &slices)?;
        self.forward(&plan)?;
        let artifacts = self.scheduler.committer.artifacts();
        let images = self.dataset.store().images();
        let calibration =
            calibrate::calibrate(&plan, score.decision, self.ledger(), artifacts, &images)?;
        calibrate::write(self.folder, &calibration)?;
        let tunings = tune::tune(score, &plan, self.ledger(), artifacts)?;
        tune::write(self.folder, &tunings)?;
        let (mut strengths, mut others) = (BTreeMap::new(), BTreeMap::new());
        for (encoding, calibration) in calibration {
            let (of_table, candidates) = calibrate::table_strengths(&calibration, &score.guidance);
            strengths.insert(encoding, of_table);
            others.insert(encoding, candidates);
        }
        let settings = tunings
            .into_iter()
            .filter_map(|(baseline, tuning)| Some((baseline, tuning.chosen()?)));
        Ok(Decided {
            strengths,
            others,
            settings: settings.collect(),
        })
    }

    fn score(
        &mut self,
        networks: &[NetworkPlan],
        precision: Precision,
        decided: &Decided,
    ) -> Result<(), RunError> {
        let spec = &self.spec_file.spec;
        let slices = self.dataset.test()?.slices;
        let exhibits = self.dataset.exhibits(spec, &slices)?;
        let shown = !exhibits.is_empty();
        let columns = cells::scoring(&spec.score, &names(networks), decided, shown);
        let mut plan = self.plan(Stage::Score, &columns, networks, precision, &slices)?;
        plan.exhibits = exhibits;
        self.forward(&plan)
    }

    fn plan(
        &mut self,
        stage: Stage,
        columns: &Columns,
        networks: &[NetworkPlan],
        precision: Precision,
        slices: &[SliceRef],
    ) -> Result<ForwardPlan, RunError> {
        let profile = self.scheduler.profile()?;
        let setting = Setting {
            spec: &self.spec_file.spec,
            data: &self.dataset.plan(),
            networks,
            profile: &profile,
            size: self.dataset.store().manifest().size,
            precision,
        };
        Ok(forward_plan(&setting, stage, columns, slices))
    }

    /// Brings every record of a forward plan into the journal.
    fn forward(&mut self, plan: &ForwardPlan) -> Result<(), RunError> {
        let records = plan.batches.len() as u64 * plan.cells.len() as u64;
        let digest = self.publish(&Plan::Forward(plan.clone()), plan.stage, records)?;
        let size = self.dataset.store().manifest().size;
        let active = Arc::new(ActiveForward::new(digest, plan.clone(), size)?);
        let committer = &mut self.scheduler.committer;
        let cached = committer.take_from_cache(&active)?;
        if cached > 0 {
            tracing::info!(
                "{}: {cached} records are taken from the cache",
                plan.stage.name()
            );
        }
        let slices = active.slices();
        let before = committer.counted(&active) * slices / records.max(1);
        let mut progress = StageProgress::new(plan.stage.name(), Unit::Slices, before, slices);
        let largest = self.spec_file.spec.compute.batches_per_shard();
        self.scheduler
            .forward(&active, largest, |work| progress.update(work, ""))?;
        let missing = records - self.scheduler.committer.counted(&active);
        if missing > 0 {
            let missing = usize::try_from(missing).unwrap_or(usize::MAX);
            return Err(RunError::Conflicts(missing));
        }
        progress.finish();
        Ok(())
    }

    /// Stores a plan and notes in the journal how much work the stage is.
    fn publish(&mut self, plan: &Plan, stage: Stage, records: u64) -> Result<Digest, RunError> {
        let artifact = plan.to_json(self.scheduler.run())?;
        let committer = &mut self.scheduler.committer;
        let digest = committer.artifacts().put(&artifact)?;
        if committer.ledger().planned.get(&stage) != Some(&(digest, records)) {
            committer.append(&Entry::Planned {
                stage,
                plan: digest,
                records,
            })?;
        }
        Ok(digest)
    }
}

fn names(networks: &[NetworkPlan]) -> Vec<&str> {
    networks
        .iter()
        .map(|network| network.name.as_str())
        .collect()
}
