//! Training: a gang is formed, watched, called off and formed again.

use std::time::Instant;

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::{Stage, TrainPlan};
use anofpdm_common::queue::lease::Failure;

use super::{OnDeath, Scheduler};
use crate::run::active_plan::ActivePlan;
use crate::run::error::SchedulerError;
use crate::run::operators::snapshot::{Unit, Work};
use crate::run::operators::status_file::Done;
use crate::run::shard_event::Ending;
use crate::run::shard_tracker::Purpose;
use crate::run::workers::gang::Gang;
use crate::run::workers::pool::if_reachable;
use crate::run::workers::stall_detector::StallDetector;

impl Scheduler {
    /// Trains until the journal has the weights of `plan`. `saved` steps are in a checkpoint already; `watch` is called at
    /// every turn with how far it is and the words of the worker that is furthest, and `newest` says which checkpoint is
    /// the newest.
    pub(in crate::run) fn train(
        &mut self,
        digest: Digest,
        plan: TrainPlan,
        saved: u64,
        mut watch: impl FnMut(&Work, &str),
        newest: impl Fn() -> Option<String>,
    ) -> Result<(), SchedulerError> {
        let (key, steps) = (plan.key()?, plan.train.steps);
        self.metrics.workers_wanted(plan.train.devices.max().into());
        let mut gang = Gang::new(digest, plan.train.devices, newest());
        self.committer
            .begin(ActivePlan::Train(digest, Box::new(plan)));
        let inherited = self.begin_stage()?;
        let wanted = gang.adopt(&inherited);
        self.take_over(inherited, &wanted)?;
        let at = |done: u64| Done {
            unit: Unit::Steps,
            done: done.clamp(saved, steps),
            total: steps,
            under_way: 0.0,
        };
        self.operators.at(Stage::Train, at(0));
        self.serve_operators()?;
        let mut reached = newest();
        let mut stalls = StallDetector::default();
        loop {
            let (furthest, note) = self.pool.furthest();
            self.operators.at(Stage::Train, at(furthest));
            if let Some(work) = self.operators.work() {
                watch(work, note);
            }
            for (shard, how) in std::mem::take(&mut self.lost_leases) {
                if let Ending::Died { worker } = &how
                    && !gang.is_solo()
                    && gang.shards().contains(&shard)
                {
                    self.set_aside(worker, &mut stalls);
                }
                gang.note(shard, how);
            }
            self.look_at_dead_shards(|letter| {
                // A worker that dies and dies, but gets further each time, is not a poison job.
                let now = newest();
                let further = now > reached;
                reached = now;
                if further && matches!(letter.failure, Failure::Crash) {
                    OnDeath::Revive
                } else {
                    OnDeath::GiveUp
                }
            })?;
            if !self.given_up.is_empty() {
                self.call_off(&gang)?;
                self.check_given_up()?;
            }
            self.end_stalled_ranks(&gang, &mut stalls)?;
            let trained = self.committer.ledger().record(key).is_some();
            if trained || gang.is_broken() {
                self.call_off(&gang)?;
            }
            if self.pool.queue()?.counts()?.outstanding() == 0 {
                if trained {
                    return Ok(());
                }
                if gang.is_broken() {
                    gang.end(newest(), Instant::now())?;
                }
                self.assemble(&mut gang, &stalls)?;
            }
            self.turn()?;
        }
    }

    /// Starts the next generation of a gang, when enough workers are there.
    fn assemble(&mut self, gang: &mut Gang, stalls: &StallDetector) -> Result<(), SchedulerError> {
        let distrusted = &self.committer.ledger().distrusted;
        let workers = self.pool.workers().iter();
        let usable = workers
            .filter(|worker| !distrusted.contains_key(&worker.info.worker))
            .filter(|worker| !stalls.is_stalled(worker))
            .count();
        let Some(world) = gang.world_for(usable, self.pool.workers_to_come(), Instant::now())
        else {
            return Ok(());
        };
        let mut submissions = Vec::new();
        for job in gang.form(world) {
            submissions.push(self.tracker.register(job, Purpose::Work, 0));
        }
        gang.formed(submissions.iter().map(|new| new.shard).collect());
        self.pool.queue()?.submit(submissions)?;
        Ok(())
    }

    /// Ends the leases of ranks that have fallen silent: the others need not wait until they run out.
    fn end_stalled_ranks(
        &mut self,
        gang: &Gang,
        stalls: &mut StallDetector,
    ) -> Result<(), SchedulerError> {
        // The queue itself offers the shard of a training that is not shared.
        if gang.is_solo() {
            return Ok(());
        }
        let now = Instant::now();
        for stalled in stalls.look(gang.shards(), self.pool.workers(), now) {
            tracing::warn!(
                worker = stalled.worker,
                seconds = stalled.silent.as_secs(),
                "a rank of the training is silent: it is taken for lost"
            );
            // Where the queue is away, its lease runs out by itself.
            if_reachable(self.pool.queue()?.expire(stalled.shard))?;
            self.pool.replace(&stalled.worker);
        }
        Ok(())
    }

    /// A rank whose lease ran out and whose worker is still there has stalled before silence told: it is not to be a rank
    /// of the next generation, whose peers would wait for it.
    fn set_aside(&mut self, worker: &str, stalls: &mut StallDetector) {
        let mut workers = self.pool.workers().iter();
        if let Some(status) = workers.find(|status| status.info.worker == worker) {
            stalls.lost(status);
            self.pool.replace(worker);
        }
    }

    /// Takes what is left of a generation out. Where the queue is away, the next turn tries again.
    fn call_off(&mut self, gang: &Gang) -> Result<(), SchedulerError> {
        for shard in gang.shards() {
            self.cancel(*shard)?;
        }
        Ok(())
    }
}
