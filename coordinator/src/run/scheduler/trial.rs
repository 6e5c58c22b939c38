//! The trial of number formats: one job, until its answer is in the journal.

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::{Job, Stage, Task, TrialPlan};

use super::{OnDeath, Scheduler};
use crate::run::active_plan::ActivePlan;
use crate::run::error::SchedulerError;
use crate::run::operators::snapshot::Unit;
use crate::run::operators::status_file::Done;
use crate::run::shard_tracker::Purpose;

impl Scheduler {
    /// Has a worker compare the formats of a trial plan. Which one is chosen is then in the journal.
    pub(in crate::run) fn trial(
        &mut self,
        digest: Digest,
        plan: TrialPlan,
    ) -> Result<(), SchedulerError> {
        let begun = Done {
            unit: Unit::Slices,
            done: 0,
            total: plan.forward.batches.iter().map(Vec::len).sum::<usize>() as u64,
            under_way: 0.0,
        };
        self.committer
            .begin(ActivePlan::Trial(digest, Box::new(plan)));
        let inherited = self.begin_stage()?;
        let job = Job {
            stage: Stage::Calibrate,
            plan: digest,
            task: Task::Trial,
        };
        let left = inherited.iter().find(|(_, left)| *left == job);
        let wanted = left.map(|(number, _)| *number).into_iter().collect();
        if self.take_over(inherited, &wanted)? == 0 {
            let submission = self.tracker.register(job, Purpose::Work, 0);
            self.pool.queue()?.submit(vec![submission])?;
        }
        self.operators.at(Stage::Calibrate, begun);
        while self.committer.ledger().precision.is_none() {
            self.look_at_dead_shards(|_| OnDeath::GiveUp)?;
            self.check_given_up()?;
            self.turn()?;
        }
        Ok(())
    }
}
