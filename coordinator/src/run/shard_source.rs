//! The batches nobody has been asked for yet, cut into shards just before they are wanted.
//!
//! Shards are cut late, so that their size can follow what is known by then: how long an evaluation takes, how many
//! workers there are, how little is left. Towards the end they shrink, so that no worker is left with much while the
//! others have nothing. None of it changes a batch, and so no record key (DESIGN 9).

use std::collections::VecDeque;
use std::time::Duration;

use anofpdm_common::ids::Digest;
use anofpdm_common::work::{ForwardPlan, Job, PlanError, Task};

use super::verification::forward_cost;
use crate::plan::shards::shards;

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
    plan: &'a ForwardPlan,
    /// Runs of batches that lack the same cells, in order.
    runs: VecDeque<Job>,
    /// Batches of all runs.
    left: u64,
    largest: u32,
}

impl<'a> ShardSource<'a> {
    /// Every record for which `missing(batch, cell)` holds, in shards of at most `largest` batches.
    ///
    /// # Errors
    /// [`PlanError`] when the plan contradicts itself.
    pub(super) fn new(
        plan: &'a ForwardPlan,
        digest: Digest,
        largest: u32,
        missing: impl FnMut(usize, usize) -> bool,
    ) -> Result<Self, PlanError> {
        let runs = shards(plan, digest, u32::MAX, missing)?;
        Ok(Self {
            plan,
            left: runs.iter().map(|job| u64::from(batches(job))).sum(),
            runs: runs.into(),
            largest,
        })
    }

    /// True when everything has been given out.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The next shard; none when nothing is left.
    ///
    /// # Errors
    /// [`PlanError`] when the plan contradicts itself.
    pub(super) fn cut(&mut self, pace: Pace) -> Result<Option<Job>, PlanError> {
        let Some(run) = self.runs.pop_front() else {
            return Ok(None);
        };
        let Task::Batches {
            first,
            count,
            ref cells,
        } = run.task
        else {
            return Ok(Some(run));
        };
        let size = self.size(pace, first, cells)?.min(count);
        self.left -= u64::from(size);
        let part = |first, count| Job {
            task: Task::Batches {
                first,
                count,
                cells: cells.clone(),
            },
            ..run
        };
        if size < count {
            self.runs.push_front(part(first + size, count - size));
        }
        Ok(Some(part(first, size)))
    }

    fn size(&self, pace: Pace, first: u32, cells: &[u16]) -> Result<u32, PlanError> {
        let share = self
            .left
            .div_ceil(SHARDS_PER_WORKER * pace.workers.max(1) as u64);
        let mut size = u32::try_from(share).unwrap_or(u32::MAX).min(self.largest);
        if let Some(evaluation) = pace.evaluation {
            let batch = evaluation * forward_cost(self.plan, first, 1, cells)?.all();
            let fitting = TARGET.as_nanos() / batch.as_nanos().max(1);
            size = size.min(u32::try_from(fitting).unwrap_or(u32::MAX));
        }
        Ok(size.max(1))
    }
}

/// Batches of a job; none for one that is no run of batches.
pub(super) const fn batches(job: &Job) -> u32 {
    match job.task {
        Task::Batches { count, .. } => count,
        Task::Train(_) | Task::Trial => 0,
    }
}

/// The two halves of a shard that is too large; `None` when it is a single batch.
pub(super) fn halves(job: &Job) -> Option<[Job; 2]> {
    let Task::Batches {
        first,
        count,
        ref cells,
    } = job.task
    else {
        return None;
    };
    let half = count / 2;
    let part = |first, count| Job {
        task: Task::Batches {
            first,
            count,
            cells: cells.clone(),
        },
        ..*job
    };
    (half > 0).then(|| [part(first, half), part(first + half, count - half)])
}

#[cfg(test)]
mod tests {
    use super::super::verification::tests::forward;
    use super::*;

    /// A plan of so many batches.
    fn plan(batches: usize) -> ForwardPlan {
        let mut plan = forward();
        plan.batches = (0..batches).map(|_| plan.batches[0].clone()).collect();
        plan
    }

    fn sizes(plan: &ForwardPlan, largest: u32, pace: Pace) -> Vec<u32> {
        let mut feed = ShardSource::new(plan, Digest::of(b"plan"), largest, |_, _| true).unwrap();
        let mut sizes = Vec::new();
        while let Some(job) = feed.cut(pace).unwrap() {
            sizes.push(batches(&job));
        }
        assert!(feed.is_empty());
        assert_eq!(feed.left, 0);
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

        let mut feed =
            ShardSource::new(&plan, Digest::of(b"plan"), 8, |batch, _| batch % 7 != 0).unwrap();
        let mut seen = Vec::new();
        while let Some(job) = feed.cut(pace).unwrap() {
            let Task::Batches {
                first,
                count,
                cells,
            } = job.task
            else {
                panic!("a shard of batches")
            };
            for batch in first..first + count {
                assert_ne!(batch % 7, 0, "what is there is not asked for");
                seen.extend(cells.iter().map(|cell| (batch, *cell)));
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
        let each = forward_cost(&plan, 0, 1, &[0]).unwrap().all();
        // 25 seconds a batch: two of them are nearest below a minute.
        let slow = sizes(&plan, 8, pace(25_000 / u64::from(each)));
        assert_eq!(slow[0], 2);
        assert_eq!(sizes(&plan, 8, pace(1_000_000))[0], 1);
        assert_eq!(sizes(&plan, 8, pace(0))[0], 8);
    }

    #[test]
    fn halves_of_a_shard() {
        let plan = plan(9);
        let mut feed = ShardSource::new(&plan, Digest::of(b"plan"), 5, |_, _| true).unwrap();
        let pace = Pace {
            workers: 1,
            evaluation: None,
        };
        let job = feed.cut(pace).unwrap().unwrap();
        assert_eq!(batches(&job), 5);
        let [a, b] = halves(&job).unwrap();
        assert_eq!((batches(&a), batches(&b)), (2, 3));
        let [a, _] = halves(&a).unwrap();
        assert!(halves(&a).is_none());
    }
}
