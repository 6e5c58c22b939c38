//! The trial of number formats at the engine's beat: one job, until its answer is in the journal.

use anofpdm_common::ids::Digest;
use anofpdm_common::queue::Submission;
use anofpdm_common::work::{Job, Stage, Task};

use super::{OnDeath, Scheduler};
use crate::run::error::SchedulerError;
use crate::run::operators::snapshot::Unit;
use crate::run::operators::status_file::Done;
use crate::run::shard_tracker::{Places, Purpose};

impl Scheduler {
    /// Has a worker compare the formats of the trial plan `digest`. Which one is chosen is then in the journal.
    pub(in crate::run) fn trial(
        &mut self,
        digest: Digest,
        slices: u64,
    ) -> Result<(), SchedulerError> {
        self.ready()?;
        self.tracker.begin_stage();
        let job = Job {
            stage: Stage::Calibrate,
            plan: digest,
            task: Task::Trial,
        };
        let left = self.inherited.iter().find(|(_, left)| *left == job);
        let usable = left.map(|(number, _)| *number).into_iter().collect();
        let known = self.take_over(&usable)?;
        let mut parts = self.parts()?;
        if known.is_empty() {
            let shard = parts.tracker.register(job.clone(), Purpose::Work, 0);
            parts.pool.queue.submit(vec![Submission::new(shard, job)])?;
        } else {
            for (number, job) in known {
                parts.tracker.adopt(number, job, 0);
            }
        }
        let begun = Done {
            unit: Unit::Slices,
            done: 0,
            total: slices,
            under_way: 0.0,
        };
        parts.operators.at(Stage::Calibrate, begun);
        let places = Places::new();
        while parts.judge.journal.ledger().precision.is_none() {
            parts.bury(&mut |_| OnDeath::GiveUp)?;
            if !parts.dead.is_empty() {
                return Err(parts.dead_error()?);
            }
            parts.beat(&places)?;
        }
        Ok(())
    }
}
