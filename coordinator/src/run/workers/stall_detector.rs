//! Which ranks of a gang have fallen silent: stalled, or gone without a word.
//!
//! A rank at work reports every two seconds from a thread of its own, whether its device computes, waits for the others,
//! validates or writes a checkpoint. So silence says that the whole process stands still or is gone, and its peers, which wait
//! for it, would wait until its lease ends. Silence is measured by what this coordinator hears, on its own clock, and not while
//! it did not listen: held up itself, or with the queue away, it blames nobody.
//!
//! Before the first step of a gang only leases count: stores are opened then, and libraries loaded. A step that one rank reports
//! is one that all of them took part in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anofpdm_common::queue::WorkerStatus;

/// Silence of a stalled rank at least: five reports. A busy machine holds a process up for seconds.
const SHORTEST: Duration = Duration::from_secs(10);

/// The same in steps: where steps are long, starting again costs more than waiting a little.
const STEPS: u32 = 3;

/// Counted between two looks at most; what is longer has kept this coordinator from listening.
const LONGEST_GAP: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::run) struct Stalled {
    pub(in crate::run) shard: u64,
    pub(in crate::run) worker: String,
    pub(in crate::run) silent: Duration,
}

/// What was heard of the ranks of a gang, and of workers that were taken for stalled.
#[derive(Debug, Default)]
pub(in crate::run) struct StallDetector {
    looked: Option<Instant>,
    /// The gang's, rank by rank.
    shards: BTreeSet<u64>,
    pace: StepPace,
    ranks: BTreeMap<u64, Rank>,
    /// When each was last heard, on the queue's clock.
    stalled: BTreeMap<String, Duration>,
}

#[derive(Debug)]
struct Rank {
    /// When it was last heard, on the queue's clock: compared, not measured with.
    heard: Duration,
    silent: Duration,
}

/// How long the steps of a gang take.
#[derive(Debug, Default)]
struct StepPace {
    /// The first step that was reported, and when.
    first: Option<(u64, Instant)>,
    /// Steps since, and the time they took.
    since: (u64, Duration),
}

impl StepPace {
    fn see(&mut self, step: u64, now: Instant) {
        match self.first {
            Some((first, at)) if step > first + self.since.0 => {
                self.since = (step - first, now.saturating_duration_since(at));
            }
            None if step > 0 => self.first = Some((step, now)),
            _ => {}
        }
    }

    /// Silence that is too long; none before the first step.
    fn limit(&self) -> Option<Duration> {
        self.first?;
        let (steps, time) = self.since;
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        let step = time.checked_div(steps).unwrap_or_default();
        Some(step.saturating_mul(STEPS).max(SHORTEST))
    }
}

impl StallDetector {
    /// Looks at the ranks of a gang, which have leases of `shards`; says which are silent for too long, each once.
    pub(in crate::run) fn look(
        &mut self,
        shards: &BTreeSet<u64>,
        workers: &[WorkerStatus],
        now: Instant,
    ) -> Vec<Stalled> {
        let gap = self.looked.map_or(Duration::ZERO, |looked| {
            now.saturating_duration_since(looked).min(LONGEST_GAP)
        });
        self.looked = Some(now);
        if self.shards != *shards {
            self.shards.clone_from(shards);
            self.pace = StepPace::default();
        }
        let leases = || {
            let leases = workers
                .iter()
                .flat_map(|worker| worker.leases.iter().map(move |lease| (worker, lease)));
            leases.filter(|(_, lease)| shards.contains(&lease.lease.shard))
        };
        let furthest = leases().map(|(_, lease)| lease.progress.ticks).max();
        self.pace.see(furthest.unwrap_or(0), now);
        let mut before = std::mem::take(&mut self.ranks);
        self.stalled.retain(|name, at| {
            let there = workers.iter().find(|worker| worker.info.worker == *name);
            there.is_some_and(|worker| worker.heard == *at)
        });
        let mut found = Vec::new();
        for (worker, lease) in leases() {
            let shard = lease.lease.shard;
            let silent = match before.remove(&shard) {
                Some(rank) if rank.heard == worker.heard => rank.silent + gap,
                _ => Duration::ZERO,
            };
            let name = &worker.info.worker;
            if self.pace.limit().is_some_and(|limit| silent >= limit)
                && !self.stalled.contains_key(name)
            {
                self.stalled.insert(name.clone(), worker.heard);
                found.push(Stalled {
                    shard,
                    worker: name.clone(),
                    silent,
                });
            }
            let heard = worker.heard;
            self.ranks.insert(shard, Rank { heard, silent });
        }
        found
    }

    /// The lease of this worker, a rank, has run out: it is taken for stalled, until it is heard again.
    pub(in crate::run) fn lost(&mut self, worker: &WorkerStatus) {
        self.stalled
            .insert(worker.info.worker.clone(), worker.heard);
    }

    /// True for a worker that was taken for stalled and has not been heard since: no rank is to be given to it.
    pub(in crate::run) fn is_stalled(&self, worker: &WorkerStatus) -> bool {
        self.stalled.get(&worker.info.worker) == Some(&worker.heard)
    }
}

#[cfg(test)]
mod tests {
    use anofpdm_common::plan::{NumericProfile, WorkerInfo};
    use anofpdm_common::queue::{LeaseId, LiveLease};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A worker last heard at `heard` seconds, after `ticks` steps of its shard, which is `pid`.
    fn worker(pid: u32, heard: u64, ticks: u64) -> WorkerStatus {
        WorkerStatus {
            info: WorkerInfo {
                worker: format!("w{pid}"),
                host: "here".to_owned(),
                pid,
                profile: NumericProfile {
                    device: "cpu".to_owned(),
                    libtorch: "2".to_owned(),
                    cpu_capability: "AVX2".to_owned(),
                    threads: 1,
                },
                memory_bytes: 1,
                version: "0".to_owned(),
                metrics: None,
            },
            heard: Duration::from_secs(heard),
            leases: vec![LiveLease {
                lease: LeaseId {
                    shard: pid.into(),
                    epoch: 1,
                },
                since: Duration::ZERO,
                deadline: Duration::from_secs(60),
                progress: ticks.into(),
            }],
        }
    }

    struct Fixture {
        detector: StallDetector,
        shards: BTreeSet<u64>,
        start: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            Self {
                detector: StallDetector::default(),
                shards: [1, 2].into(),
                start: Instant::now(),
            }
        }

        fn at(&mut self, second: u64, workers: &[WorkerStatus]) -> Vec<String> {
            let now = self.start + SECOND * u32::try_from(second).unwrap();
            let stalled = self.detector.look(&self.shards, workers, now);
            stalled.into_iter().map(|rank| rank.worker).collect()
        }
    }

    #[test]
    fn who_is_silent_for_ten_seconds_is_named_once_until_heard_again() {
        let mut fixture = Fixture::new();
        fixture.at(0, &[worker(1, 0, 0), worker(2, 0, 0)]);
        for second in 1..=2 {
            let both = [worker(1, second, second), worker(2, second, second)];
            assert!(fixture.at(second, &both).is_empty());
        }
        for second in 3..=11 {
            let one = [worker(1, 2, 2), worker(2, second, 3)];
            assert!(fixture.at(second, &one).is_empty(), "{second}");
        }
        let silent = worker(1, 2, 2);
        assert!(!fixture.detector.is_stalled(&silent));
        assert_eq!(fixture.at(12, &[silent.clone(), worker(2, 12, 3)]), ["w1"]);
        assert!(fixture.detector.is_stalled(&silent));
        assert!(fixture.at(13, &[silent, worker(2, 13, 3)]).is_empty());
        let back = worker(1, 14, 2);
        assert!(!fixture.detector.is_stalled(&back));
        assert!(fixture.at(14, &[back, worker(2, 14, 3)]).is_empty());
    }

    #[test]
    fn who_has_lost_its_lease_is_stalled_until_heard_again() {
        let mut fixture = Fixture::new();
        let silent = worker(1, 0, 0);
        fixture.at(0, &[silent.clone(), worker(2, 0, 0)]);
        fixture.detector.lost(&silent);
        // Also in the generations that follow.
        fixture.shards = [3].into();
        fixture.at(5, &[silent.clone(), worker(2, 5, 0)]);
        assert!(fixture.detector.is_stalled(&silent));
        assert!(!fixture.detector.is_stalled(&worker(2, 5, 0)));
        assert!(!fixture.detector.is_stalled(&worker(1, 6, 0)));
    }

    #[test]
    fn before_the_first_step_of_a_gang_a_rank_may_be_silent() {
        let mut fixture = Fixture::new();
        for second in 0..50 {
            let both = [worker(1, 0, 0), worker(2, second, 0)];
            assert!(fixture.at(second, &both).is_empty());
        }
        // The other reports a step: this one has taken part in it.
        let both = [worker(1, 0, 0), worker(2, 50, 1)];
        assert_eq!(fixture.at(50, &both), ["w1"]);
    }

    #[test]
    fn the_next_generation_begins_afresh() {
        let mut fixture = Fixture::new();
        for second in 0..5 {
            let both = [worker(1, second, second), worker(2, second, second)];
            assert!(fixture.at(second, &both).is_empty());
        }
        fixture.shards = [3, 4].into();
        for second in 5..60 {
            let both = [worker(3, 5, 0), worker(4, 5, 0)];
            assert!(fixture.at(second, &both).is_empty(), "{second}");
        }
    }

    #[test]
    fn long_steps_are_given_their_time() {
        let mut fixture = Fixture::new();
        // A step takes twenty seconds.
        for second in 0..=60 {
            fixture.at(second, &[worker(1, second, second / 20)]);
        }
        for second in 61..120 {
            assert!(
                fixture.at(second, &[worker(1, 60, 3)]).is_empty(),
                "{second}"
            );
        }
        assert_eq!(fixture.at(120, &[worker(1, 60, 3)]), ["w1"]);
    }

    #[test]
    fn what_kept_the_coordinator_from_listening_is_nobodys_silence() {
        let mut fixture = Fixture::new();
        fixture.at(0, &[worker(1, 0, 0)]);
        fixture.at(1, &[worker(1, 1, 1)]);
        // Stopped for a minute.
        assert!(fixture.at(61, &[worker(1, 1, 1)]).is_empty());
        // The queue is away for a minute: nobody is there.
        for second in 62..120 {
            assert!(fixture.at(second, &[]).is_empty());
        }
        assert!(fixture.at(121, &[worker(1, 1, 1)]).is_empty());
    }

    #[test]
    fn other_shards_are_not_watched() {
        let mut fixture = Fixture::new();
        for second in 0..60 {
            assert!(
                fixture
                    .at(second, &[worker(7, 1.min(second), second)])
                    .is_empty()
            );
        }
    }
}
