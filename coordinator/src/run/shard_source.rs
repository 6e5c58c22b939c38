//! The batches nobody has been asked for yet, cut into shards just before they are wanted.
//!
//! Shards are cut late, so that their size can follow what is known by then: how long an evaluation takes, how many
//! workers there are, how little is left. Towards the end they shrink, so that no worker is left with much while the
//! others have nothing. None of it changes a batch, and so no record key.

use std::collections::VecDeque;
use std::time::Duration;

use anofpdm_common::plan::{BatchRun, Job, PlanError};

use super::active_plan::ActiveForward;
use crate::plan::shards::runs;

/// A shard should take about this long.
const TARGET: Duration = Duration::from_secs(60);

/// What is left is cut into at least this many shards for each worker.
const SHARDS_PER_WORKER: u64 = 2;

/// What a cut depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Workers there are; at least one is assumed.
    pub(super) workers: usize,
    /// Time of one network evaluation, once measured.
    pub(super) evaluation: Option<Duration>,
}

/// What is left of a forward plan to be given out.
#[derive(Debug)]
pub(super) struct ShardSource<'a> {
    active: &'a ActiveForward,
    /// Runs of batches that lack the same cells, in order.
    runs: VecDeque<BatchRun>,
    /// Batches of all runs.
    left: u64,
    /// Their network evaluations, padding included.
    evaluations: u64,
    largest: u32,
}

impl<'a> ShardSource<'a> {
    /// Every record for which `missing(batch, cell)` holds, in shards of at most `largest` batches.
    pub(super) fn new(
        active: &'a ActiveForward,
        largest: u32,
        missing: impl FnMut(usize, usize) -> bool,
    ) -> Result<Self, PlanError> {
        let runs = runs(&active.plan, missing)?;
        let mut evaluations = 0;
        for run in &runs {
            evaluations += u64::from(run.evaluations(&active.plan)?.all());
        }
        Ok(Self {
            active,
            evaluations,
            left: runs.iter().map(|run| u64::from(run.count)).sum(),
            runs: runs.into(),
            largest,
        })
    }

    /// Batches that nobody has been asked for, and their network evaluations, padding included.
    pub(super) const fn left(&self) -> (u64, u64) {
        (self.left, self.evaluations)
    }

    /// True when everything has been given out.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The next shard; none when nothing is left.
    pub(super) fn cut(&mut self, pace: Pace) -> Result<Option<Job>, PlanError> {
        let Some(run) = self.runs.pop_front() else {
            return Ok(None);
        };
        let size = self.size(pace, &run)?;
        let (shard, rest) = run.split_at(size);
        let evaluations = shard.evaluations(&self.active.plan)?.all();
        self.left -= u64::from(shard.count);
        self.evaluations = self.evaluations.saturating_sub(evaluations.into());
        if let Some(rest) = rest {
            self.runs.push_front(rest);
        }
        Ok(Some(self.active.job(shard)))
    }

    fn size(&self, pace: Pace, run: &BatchRun) -> Result<u32, PlanError> {
        let share = self
            .left
            .div_ceil(SHARDS_PER_WORKER * pace.workers.max(1) as u64);
        let mut size = u32::try_from(share).unwrap_or(u32::MAX).min(self.largest);
        if let Some(evaluation) = pace.evaluation {
            let first = BatchRun {
                count: 1,
                ..run.clone()
            };
            let batch = evaluation * first.evaluations(&self.active.plan)?.all();
            let fitting = TARGET.as_nanos() / batch.as_nanos().max(1);
            size = size.min(u32::try_from(fitting).unwrap_or(u32::MAX));
        }
        Ok(size.max(1))
    }
}

#[cfg(test)]
mod tests {
    use anofpdm_common::ids::Digest;
    use anofpdm_common::plan::Task;

    use super::super::verification::tests::forward;
    use super::*;

    /// A plan of so many batches.
    fn plan(batches: u32) -> ActiveForward {
        let mut plan = forward();
        let batch = plan.batches[0].clone();
        plan.batches = (0..batches)
            .map(|number| {
                let mut batch = batch.clone();
                batch[0].position = number;
                batch
            })
            .collect();
        ActiveForward::new(Digest::of(b"plan"), plan, 4).unwrap()
    }

    fn run(job: Option<Job>) -> Option<BatchRun> {
        job.map(|job| match job.task {
            Task::Batches(run) => run,
            other => panic!("{other:?}"),
        })
    }

    fn sizes(plan: &ActiveForward, largest: u32, pace: Pace) -> Vec<u32> {
        let mut source = ShardSource::new(plan, largest, |_, _| true).unwrap();
        let mut sizes = Vec::new();
        while let Some(run) = run(source.cut(pace).unwrap()) {
            sizes.push(run.count);
        }
        assert!(source.is_empty());
        assert_eq!(source.left(), (0, 0));
        sizes
    }

    #[test]
    fn shards_shrink_towards_the_end_and_cover_everything_once() {
        let pace = Pace {
            workers: 3,
            evaluation: None,
        };
        let plan = plan(40);
        let sizes = sizes(&plan, 8, pace);
        // Two trajectories of 40 batches.
        assert_eq!(sizes.iter().sum::<u32>(), 80);
        assert_eq!(sizes[0], 8);
        assert_eq!(sizes.last(), Some(&1));
        let second = &sizes[sizes.len() / 2..];
        assert!(second.is_sorted_by(|a, b| a >= b), "{sizes:?}");

        let mut source = ShardSource::new(&plan, 8, |batch, _| batch % 7 != 0).unwrap();
        let mut seen = Vec::new();
        while let Some(run) = run(source.cut(pace).unwrap()) {
            for (batch, cell) in run.parts() {
                assert_ne!(batch % 7, 0, "what is there is not asked for");
                seen.push((batch, cell));
            }
        }
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all, "nothing twice");
        assert_eq!(all, (0..40).filter(|batch| batch % 7 != 0).count() * 3);
    }

    #[test]
    fn a_slow_device_gets_small_shards() {
        let plan = plan(400);
        let pace = |millis| Pace {
            workers: 1,
            evaluation: Some(Duration::from_millis(millis)),
        };
        let one = BatchRun {
            first: 0,
            count: 1,
            cells: vec![0],
        };
        let each = one.evaluations(&plan.plan).unwrap().all();
        // 25 seconds a batch: two of them are nearest below a minute.
        let slow = sizes(&plan, 8, pace(25_000 / u64::from(each)));
        assert_eq!(slow[0], 2);
        assert_eq!(sizes(&plan, 8, pace(1_000_000))[0], 1);
        assert_eq!(sizes(&plan, 8, pace(0))[0], 8);
    }
}
