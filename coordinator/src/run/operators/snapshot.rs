//! `live.json` as a value: what is in it, and how it is read without trust.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::PathBuf;

use anofpdm_common::instance::unix_millis;
use anofpdm_common::plan::Stage;
use anofpdm_common::queue::Counts;
use serde::{Deserialize, Serialize};

use crate::run_folder::RunFolder;

/// The form of the file; another one is refused.
pub const FORMAT: u32 = 1;

/// Largest file read, bytes. What is written stays far below.
const READ_LIMIT: u64 = 16 << 20;

/// What a coordinator at work says of itself, or said last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`FORMAT`].
    pub format: u32,
    /// The run's name in its queue.
    pub run: String,
    pub coordinator: Writer,
    /// When this was written, milliseconds of Unix time on the coordinator's clock.
    pub time_millis: u64,
    /// How it ended; none while it works, or when it was killed.
    pub ended: Option<Ended>,
    pub stage: Option<Stage>,
    pub paused: bool,
    /// What workers connect to, without password; none before there was work.
    pub queue: Option<String>,
    pub work: Option<Work>,
    /// Shards of this coordinator by state.
    pub shards: Counts,
    /// Workers let in and not gone; the first of them by name.
    pub workers: Vec<WorkerEntry>,
    /// Workers beyond those listed.
    pub more_workers: u64,
    /// Of these, workers that hold a lease.
    #[serde(default)]
    pub more_at_work: u64,
    /// Those workers themselves: for numbers of the same moment, not in the file.
    #[serde(skip)]
    pub unlisted: Vec<WorkerEntry>,
    /// Shards given up; the first of them by number.
    pub dead: Vec<Dead>,
    /// Dead shards beyond those listed.
    pub more_dead: u64,
    /// What became of deliveries, over all starts of the run.
    pub verdicts: Verdicts,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    pub host: String,
    pub pid: u32,
    pub version: String,
    /// When it started, milliseconds of Unix time.
    pub started_millis: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub outcome: RunOutcome,
    pub message: String,
}

/// How a coordinator ended, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunOutcome {
    /// It did what it was started for.
    Finished,
    Interrupted,
    /// By `anofpdm cancel`.
    Cancelled,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Work {
    pub unit: Unit,
    /// Done, by earlier coordinators too.
    pub done: u64,
    pub total: u64,
    /// Computed and not yet delivered, in the same unit: what workers say of the shards they hold.
    #[serde(default)]
    pub under_way: f64,
    /// The rate of late, what is under way included; none before the first step forward.
    pub per_second: Option<f64>,
    /// Time left at this rate, seconds.
    pub eta_seconds: Option<f64>,
}

impl Work {
    /// Done and under way as a share of the total, in [0, 1].
    #[allow(clippy::cast_precision_loss)]
    pub fn share(&self) -> f64 {
        let share = (self.done as f64 + self.under_way) / self.total.max(1) as f64;
        if share.is_finite() {
            share.clamp(0.0, 1.0)
        } else {
            0.0
        }
    }
}

/// What the work of a stage is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Slices, each as far as its records are there: calibration and scoring.
    Slices,
    /// Optimiser steps: training.
    Steps,
}

impl Unit {
    /// Its plural, for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slices => "slices",
            Self::Steps => "steps",
        }
    }

    /// The same of one.
    pub const fn singular(self) -> &'static str {
        match self {
            Self::Slices => "slice",
            Self::Steps => "step",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerEntry {
    /// Unique per start.
    pub name: String,
    pub host: String,
    pub pid: u32,
    /// `cpu`, or the name of the GPU.
    pub device: String,
    /// Its numeric profile in words.
    pub profile: String,
    /// Memory of its device, bytes; 0 where unknown.
    pub memory_bytes: u64,
    pub version: String,
    /// Where it serves its metrics, `HOST:PORT`.
    #[serde(default)]
    pub metrics: Option<String>,
    /// What it holds, soonest deadline first.
    pub leases: Vec<Held>,
    /// Leases beyond those listed.
    pub more_leases: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    pub shard: u64,
    pub job: Option<String>,
    /// How long the worker has had it, seconds.
    pub seconds: f64,
    /// When it is lost unless renewed, seconds from now.
    pub deadline_seconds: f64,
    /// Network evaluations or training steps finished on this lease.
    pub ticks: u64,
    pub note: String,
}

/// A shard given up until a person looks at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dead {
    pub shard: u64,
    pub job: Option<String>,
    pub errors: u32,
    pub crashes: u32,
    pub worker: String,
    /// The class of the last error, or `Crash`.
    pub class: String,
    /// The full error chain of the last error; of a crash there is none.
    pub message: String,
    /// Bytes of the message left out, so that this file stays small.
    pub cut_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Verdicts {
    /// Shards run again on another worker to compare bits.
    pub audits: u64,
    /// Of these, all records equal.
    pub audits_agreed: u64,
    /// Of these, a record differed.
    pub audits_conflicts: u64,
    /// Records delivered again with equal bits.
    pub duplicates: u64,
    /// Records delivered again with other bits.
    pub conflicts: u64,
    /// Keys of which no record counts until another worker has delivered them.
    pub contested: u64,
    /// Workers found to give wrong bits.
    pub distrusted: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: {what}; a coordinator at work writes it anew within a second, else remove it")]
    Content { path: PathBuf, what: String },
}

/// How many of them hold a lease.
pub(super) fn at_work(workers: &[WorkerEntry]) -> u64 {
    let busy = |worker: &&WorkerEntry| !worker.leases.is_empty();
    workers.iter().filter(busy).count() as u64
}

impl Snapshot {
    /// What the coordinator of this run says, or its last one said; none before the first.
    pub fn read(folder: &RunFolder) -> Result<Option<Self>, SnapshotError> {
        let path = folder.live();
        let mut bytes = Vec::new();
        let read =
            File::open(&path).and_then(|file| file.take(READ_LIMIT + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SnapshotError::Read { path, source }),
        }
        let content = |what| SnapshotError::Content { path, what };
        if bytes.len() as u64 > READ_LIMIT {
            return Err(content(format!("larger than {READ_LIMIT} bytes")));
        }
        /// Read first: what follows may have changed with it.
        #[derive(Deserialize)]
        struct Form {
            format: u32,
        }
        match serde_json::from_slice(&bytes) {
            Ok(Form { format: FORMAT }) => {}
            Ok(Form { format }) => {
                return Err(content(format!(
                    "its format is {format}, this version knows {FORMAT}"
                )));
            }
            Err(error) => return Err(content(error.to_string())),
        }
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| content(error.to_string()))
    }

    /// How old it is, seconds; 0 when its coordinator's clock is ahead of this one.
    #[allow(clippy::cast_precision_loss)]
    pub fn age_seconds(&self) -> f64 {
        unix_millis().saturating_sub(self.time_millis) as f64 / 1e3
    }

    pub fn dead_total(&self) -> u64 {
        self.dead.len() as u64 + self.more_dead
    }

    pub fn workers_total(&self) -> u64 {
        self.workers.len() as u64 + self.more_workers
    }

    /// Workers that hold a lease.
    pub fn workers_at_work(&self) -> u64 {
        at_work(&self.workers) + self.more_at_work
    }

    /// Every worker, in the coordinator that wrote this; of a snapshot that was read, those listed.
    pub fn all_workers(&self) -> impl Iterator<Item = &WorkerEntry> {
        self.workers.iter().chain(&self.unlisted)
    }
}
