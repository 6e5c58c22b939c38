//! What a worker is asked to do, and what it answers.

use serde::{Deserialize, Serialize};

use super::batch_run::BatchRun;
use super::profile::NumericProfile;
use crate::ids::Digest;
use crate::wire::list;

/// The stages of a run, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase", const_into_str)]
pub enum Stage {
    /// Networks without a checkpoint are trained.
    Train,
    /// Validation slices are pushed through; thresholds are chosen from image-level labels.
    Calibrate,
    Score,
}

impl Stage {
    pub const fn name(self) -> &'static str {
        self.into_str()
    }
}

/// What a worker is asked to do. Never holds tensors or paths.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Job {
    pub stage: Stage,
    /// Digest of the [`Plan`](super::Plan) in the artifact store.
    pub plan: Digest,
    pub task: Task,
}

/// One rank of a training gang. The ranks of one generation train together: they start together, and when one
/// of them is lost the generation is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GangRank {
    /// Number of the gang; that of a later one is larger.
    pub generation: u64,
    /// Which rank, from 0.
    pub rank: u32,
    pub world: u32,
}

impl GangRank {
    pub const fn alone(generation: u64) -> Self {
        Self {
            generation,
            rank: 0,
            world: 1,
        }
    }

    /// The rank that writes checkpoints and delivers the weights.
    pub const fn is_first(&self) -> bool {
        self.rank == 0
    }
}

/// Most ranks of a gang.
pub const MAX_WORLD: u32 = 64;

/// Most cells one shard may name: keeps a job under 1 KiB.
pub const MAX_SHARD_CELLS: usize = 256;

/// Most records one shard may be made of: its journal entry stays under 1 MiB.
pub const MAX_SHARD_RECORDS: usize = 16_000;

/// The part of a plan a job covers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Task {
    /// The whole training plan, as one rank of a gang.
    Train(GangRank),
    /// Some cells of a run of batches.
    Batches(BatchRun),
    Trial,
}

/// What a worker says of itself when it registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Unique per start.
    pub worker: String,
    /// Host and process, for people.
    pub host: String,
    pub pid: u32,
    pub profile: NumericProfile,
    /// Memory of its device, bytes: of the GPU, or of the machine for a CPU; 0 where unknown.
    pub memory_bytes: u64,
    pub version: String,
    /// Where it serves its metrics, `HOST:PORT`; none where it does not.
    pub metrics: Option<String>,
}

/// What a worker claims to have done with a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// Digest of the [`Manifest`] in the artifact store.
    pub manifest: Digest,
    /// Network evaluations of real slices.
    pub evaluations: u64,
    /// Network evaluations spent on padding.
    pub padding: u64,
    /// Time the device worked on it, milliseconds.
    pub device_millis: u64,
    /// What the device drew in that time, millijoules, where its driver tells.
    pub millijoules: Option<u64>,
}

/// The results of one shard: record key and digest of the record's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// In the order of the job: batch by batch, cell by cell.
    #[serde(deserialize_with = "list::<_, _, MAX_SHARD_RECORDS>")]
    pub entries: Vec<(Digest, Digest)>,
}
