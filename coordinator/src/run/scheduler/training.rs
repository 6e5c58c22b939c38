//! Training at the engine's beat: a gang is formed, watched, called off and formed again.

use std::time::Instant;

use anofpdm_common::ids::Digest;
use anofpdm_common::queue::Submission;
use anofpdm_common::queue::lease::Failure;
use anofpdm_common::work::Stage;

use super::{OnDeath, Parts, Scheduler};
use crate::run::error::SchedulerError;
use crate::run::operators::snapshot::{Unit, Work};
use crate::run::operators::status_file::Done;
use crate::run::shard_tracker::{Places, Purpose};
use crate::run::workers::gang::Gang;
use crate::run::workers::pool::is_away;
use crate::run::workers::stall_detector::StallDetector;

impl Scheduler {
    /// Trains until the journal has weights under `key`. `saved` steps are in a checkpoint already; `watch` is called at
    /// every beat with how far it is and the words of the worker that is furthest, and `newest` says which checkpoint is
    /// the newest.
    pub(in crate::run) fn train(
        &mut self,
        mut gang: Gang,
        key: Digest,
        (saved, steps): (u64, u64),
        mut watch: impl FnMut(&Work, &str),
        newest: impl Fn() -> Option<String>,
    ) -> Result<(), SchedulerError> {
        self.ready()?;
        self.tracker.begin_stage();
        let usable = gang.adopt(&self.inherited);
        for (number, job) in self.take_over(&usable)? {
            self.tracker.adopt(number, job, 0);
        }
        let mut parts = self.parts()?;
        let at = |done: u64| Done {
            unit: Unit::Steps,
            done: done.clamp(saved, steps),
            total: steps,
            under_way: 0.0,
        };
        parts.operators.at(Stage::Train, at(0));
        parts.attend()?;
        let mut reached = newest();
        let mut silence = StallDetector::default();
        let places = Places::new();
        loop {
            let (furthest, note) = parts.pool.furthest();
            parts.operators.at(Stage::Train, at(furthest));
            if let Some(work) = parts.operators.work() {
                watch(work, note);
            }
            for (shard, how) in std::mem::take(parts.endings) {
                gang.note(shard, how);
            }
            parts.bury(&mut |letter| {
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
            if !parts.dead.is_empty() {
                parts.call_off(&gang)?;
                return Err(parts.dead_error()?);
            }
            parts.end_stalled_ranks(&gang, &mut silence)?;
            let trained = parts.judge.journal.ledger().record(key).is_some();
            if trained || gang.is_broken() {
                parts.call_off(&gang)?;
            }
            if parts.pool.queue.counts()?.outstanding() == 0 {
                if trained {
                    return Ok(());
                }
                if gang.is_broken() {
                    gang.end(newest(), Instant::now())?;
                }
                parts.assemble(&mut gang, &silence)?;
            }
            parts.beat(&places)?;
        }
    }
}

impl Parts<'_> {
    /// Starts the next generation of a gang, when enough workers are there.
    fn assemble(&mut self, gang: &mut Gang, silence: &StallDetector) -> Result<(), SchedulerError> {
        let distrusted = &self.judge.journal.ledger().distrusted;
        let workers = self.pool.workers().iter();
        let usable = workers
            .filter(|worker| !distrusted.contains_key(&worker.info.worker))
            .filter(|worker| !silence.is_stalled(worker))
            .count();
        let Some(world) = gang.world_for(usable, self.pool.workers_to_come(), Instant::now())
        else {
            return Ok(());
        };
        let mut submissions = Vec::new();
        for job in gang.form(world) {
            let number = self.tracker.register(job.clone(), Purpose::Work, 0);
            submissions.push(Submission::new(number, job));
        }
        gang.formed(submissions.iter().map(|new| new.shard).collect());
        self.pool.queue.submit(submissions)?;
        Ok(())
    }

    /// Ends the leases of ranks that have fallen silent: the others need not wait until they run out.
    fn end_stalled_ranks(
        &mut self,
        gang: &Gang,
        silence: &mut StallDetector,
    ) -> Result<(), SchedulerError> {
        // The queue itself offers the shard of a training that is not shared.
        if gang.is_solo() {
            return Ok(());
        }
        let now = Instant::now();
        for stalled in silence.look(gang.shards(), self.pool.workers(), now) {
            tracing::warn!(
                worker = stalled.worker,
                seconds = stalled.silent.as_secs(),
                "a rank of the training is silent: it is taken for lost"
            );
            match self.pool.queue.expire(stalled.shard) {
                Ok(_) => {}
                // Its lease runs out by itself.
                Err(error) if is_away(&error) => {}
                Err(error) => return Err(error.into()),
            }
            self.pool.replace(&stalled.worker);
        }
        Ok(())
    }

    /// Takes what is left of a generation out.
    fn call_off(&mut self, gang: &Gang) -> Result<(), SchedulerError> {
        for shard in gang.shards().iter().copied() {
            match self.pool.queue.cancel(shard) {
                Ok(_) => {}
                // The next beat tries again.
                Err(error) if is_away(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
