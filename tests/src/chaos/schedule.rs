//! What goes wrong in a drill, when and for whom: all of it drawn from one seed.

use std::time::Duration;

use anofpdm_common::random::{Domain, Stream};
use clap::ValueEnum;
use serde::Serialize;

use super::proxy::Weather;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Nothing goes wrong
    Calm,
    /// SIGKILL of 30 % of the workers, again and again
    KillWorkers,
    /// SIGSTOP of a worker until its lease is over, then SIGCONT
    Stall,
    /// kill -9 of Redis, started again with its append-only file
    RedisKill,
    /// FLUSHALL
    Flushall,
    /// Connections cut, refused, delayed, frozen; answers lost
    Network,
    /// Writes of a worker or of the coordinator fail for a while
    DiskFull,
    /// SIGKILL of the coordinator, started again
    CoordinatorKill,
    /// The device reports errors, runs out of memory, is lost, takes its process down
    DeviceFaults,
    /// Some of everything
    Mixed,
}

impl Kind {
    /// The kinds in which something goes wrong.
    pub const FAULTY: [Self; 9] = [
        Self::KillWorkers,
        Self::Stall,
        Self::RedisKill,
        Self::Flushall,
        Self::Network,
        Self::DiskFull,
        Self::CoordinatorKill,
        Self::DeviceFaults,
        Self::Mixed,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::KillWorkers => "kill-workers",
            Self::Stall => "stall",
            Self::RedisKill => "redis-kill",
            Self::Flushall => "flushall",
            Self::Network => "network",
            Self::DiskFull => "disk-full",
            Self::CoordinatorKill => "coordinator-kill",
            Self::DeviceFaults => "device-faults",
            Self::Mixed => "mixed",
        }
    }

    /// The faults of the fake workers: probabilities of a batch; none in most drills.
    pub fn device_faults(self) -> &'static str {
        match self {
            Self::DeviceFaults => ",error=0.03,oom=0.03,crash=0.02,lost=0.01",
            Self::Mixed => ",error=0.005,oom=0.01,crash=0.005",
            _ => "",
        }
    }
}

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// SIGKILL of these workers.
    KillWorkers(Vec<usize>),
    /// SIGSTOP of a worker for this long.
    Stall(usize, Duration),
    /// SIGKILL of Redis, started again after this long.
    KillRedis(Duration),
    Flushall,
    Cut,
    /// The network misbehaves for this long.
    Weather(Weather, Duration),
    /// Files of this worker cannot grow past so many bytes for so long.
    WorkerDiskFull(usize, u64, Duration),
    /// Files of the coordinator cannot grow past so many bytes for so long.
    CoordinatorDiskFull(u64, Duration),
    /// SIGKILL of the coordinator, started again after this long.
    KillCoordinator(Duration),
}

impl Fault {
    /// What it is counted as.
    pub fn name(&self) -> &'static str {
        match self {
            Self::KillWorkers(_) => "workers killed",
            Self::Stall(..) => "worker stalled",
            Self::KillRedis(_) => "redis killed",
            Self::Flushall => "redis flushed",
            Self::Cut => "connections cut",
            Self::Weather(Weather::Refuse, _) => "connections refused",
            Self::Weather(Weather::Delay(_), _) => "network delayed",
            Self::Weather(Weather::Freeze, _) => "network frozen",
            Self::Weather(Weather::LoseAnswers, _) => "answers lost",
            Self::Weather(Weather::Fair, _) => "fair weather",
            Self::WorkerDiskFull(..) => "worker's disk full",
            Self::CoordinatorDiskFull(..) => "coordinator's disk full",
            Self::KillCoordinator(_) => "coordinator killed",
        }
    }
}

/// A fault and its moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// The share of the run's records that are there when it strikes, in [0, 1).
    pub progress: f64,
    /// And so long after that.
    pub pause: Duration,
    pub fault: Fault,
}

/// The faults of a drill with `workers` workers and leases of length `lease`, in their order.
pub fn schedule(kind: Kind, seed: u64, workers: usize, lease: Duration) -> Vec<Planned> {
    let mut stream = Stream::new(seed, Domain::Chaos, 0, 0);
    let mut draw = Draw {
        stream: &mut stream,
        workers,
        lease,
    };
    let count = match kind {
        Kind::Calm | Kind::DeviceFaults => 0,
        Kind::Mixed => 7,
        _ => 3 + draw.below(3),
    };
    let mut moments: Vec<f64> = (0..count).map(|_| 0.9 * draw.uniform()).collect();
    moments.sort_by(f64::total_cmp);
    moments
        .into_iter()
        .map(|progress| Planned {
            progress,
            pause: draw.millis(0, 200),
            fault: draw.fault(kind),
        })
        .collect()
}

struct Draw<'a> {
    stream: &'a mut Stream,
    workers: usize,
    lease: Duration,
}

impl Draw<'_> {
    fn uniform(&mut self) -> f64 {
        self.stream.uniform()
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.stream.below(bound)
    }

    fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.below(most - least))
    }

    fn worker(&mut self) -> usize {
        #[allow(clippy::cast_possible_truncation)]
        let worker = self.below(self.workers as u64) as usize;
        worker
    }

    fn fault(&mut self, kind: Kind) -> Fault {
        match kind {
            Kind::KillWorkers => self.kill_workers(),
            Kind::Stall => Fault::Stall(
                self.worker(),
                self.lease.mul_f64(1.1 + 0.9 * self.uniform()),
            ),
            Kind::RedisKill => Fault::KillRedis(self.millis(50, 1_500)),
            Kind::Flushall => Fault::Flushall,
            Kind::Network => self.network(),
            Kind::DiskFull => self.disk_full(),
            Kind::CoordinatorKill => Fault::KillCoordinator(self.millis(0, 1_500)),
            Kind::Mixed | Kind::DeviceFaults | Kind::Calm => {
                // All kinds but the last two, which are no single event.
                let kinds = &Kind::FAULTY[..7];
                #[allow(clippy::cast_possible_truncation)]
                let kind = kinds[self.below(kinds.len() as u64) as usize];
                self.fault(kind)
            }
        }
    }

    /// 30 % of the workers, at least one.
    fn kill_workers(&mut self) -> Fault {
        let count = (self.workers * 3).div_ceil(10);
        let mut killed: Vec<usize> = self
            .stream
            .permutation(self.workers)
            .into_iter()
            .take(count)
            .map(|worker| worker as usize)
            .collect();
        killed.sort_unstable();
        Fault::KillWorkers(killed)
    }

    fn network(&mut self) -> Fault {
        match self.below(5) {
            0 => Fault::Cut,
            1 => Fault::Weather(Weather::Refuse, self.millis(100, 2_000)),
            2 => Fault::Weather(Weather::Delay(self.millis(5, 100)), self.millis(500, 2_000)),
            // Past the lease, now and then.
            3 => Fault::Weather(
                Weather::Freeze,
                self.lease.mul_f64(0.2 + 1.3 * self.uniform()),
            ),
            _ => Fault::Weather(Weather::LoseAnswers, self.millis(50, 500)),
        }
    }

    fn disk_full(&mut self) -> Fault {
        let bytes = self.below(4_096);
        let duration = self.millis(200, 1_500);
        if self.below(3) == 0 {
            Fault::CoordinatorDiskFull(bytes, duration)
        } else {
            Fault::WorkerDiskFull(self.worker(), bytes, duration)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(2);

    #[test]
    fn a_seed_fixes_everything_and_another_changes_it() {
        for kind in Kind::FAULTY {
            assert_eq!(schedule(kind, 7, 4, LEASE), schedule(kind, 7, 4, LEASE));
        }
        assert_ne!(
            schedule(Kind::Mixed, 7, 4, LEASE),
            schedule(Kind::Mixed, 8, 4, LEASE)
        );
    }

    #[test]
    fn each_kind_does_what_its_name_says() {
        for seed in 0..50 {
            for planned in schedule(Kind::KillWorkers, seed, 4, LEASE) {
                let Fault::KillWorkers(workers) = planned.fault else {
                    panic!("{planned:?}")
                };
                assert_eq!(workers.len(), 2, "30 % of 4, rounded up");
                assert!(workers[0] < workers[1] && workers[1] < 4);
            }
            for planned in schedule(Kind::Stall, seed, 4, LEASE) {
                assert!(
                    matches!(planned.fault, Fault::Stall(worker, time) if worker < 4 && time > LEASE)
                );
            }
        }
        let names: std::collections::BTreeSet<_> = (0..50)
            .flat_map(|seed| schedule(Kind::Mixed, seed, 4, LEASE))
            .map(|planned| planned.fault.name())
            .collect();
        assert_eq!(names.len(), 12, "{names:?}");
        assert!(schedule(Kind::Calm, 1, 4, LEASE).is_empty());
    }
}
