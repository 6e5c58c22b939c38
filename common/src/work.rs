//! What is computed, in the words both sides use: slices, batches, trajectories, cells, stage plans, jobs.
//!
//! A *batch* is a fixed list of slices in a fixed geometry. A *trajectory* is what cells share: AnoFPDM's walk up
//! the noise levels under one noise seed, or the encode of a baseline with the ways back from it. A *cell* is what one
//! row of the table needs from a trajectory. A *record* is what one cell says about one batch, and its key hashes
//! everything that decides its bits. A *shard* is transport: a run of batches with the cells still missing of them
//! (DESIGN 9).
//!
//! | module | concept |
//! |---|---|
//! | `cell` | trajectories, and what a cell keeps of one |
//! | `key` | what decides the bits of a record |
//! | `cost` | what a slice takes |
//! | `trial` | which number format a run computes in |
//! | `check` | plans and messages nobody can have meant |

mod batch_run;
mod cell;
mod check;
mod cost;
mod key;
mod trial;

use serde::{Deserialize, Serialize};

use crate::ids::Digest;
use crate::network::NetworkConfig;
use crate::role::Role;
use crate::segment::MaskRule;
use crate::semantics::Semantics;
use crate::spec::{Precision, Respacing, TrainSpec};
use crate::store::scaling::Scaling;
use crate::wire::list;
pub use batch_run::{BatchRun, EvaluationCost};
pub use cell::{
    Cell, CellOutput, ForwardWalk, MAX_THRESHOLDS, Postprocessing, RestorationWalk, Trajectory,
    distinct_settings,
};
pub use check::{
    LONGEST_MILLIS, MOST_EVALUATIONS, check_text, check_worker_name, is_worker_name_character,
};
pub use cost::evaluations_per_slice;
use key::key_of;
pub use trial::{Agreement, Candidate, Finding, MAX_TRIAL_REPORT_BYTES, TrialPlan, TrialReport};

/// Raised whenever the meaning or the bytes of a record change; part of every key.
pub const RECORD_SCHEMA: u32 = 1;

/// Names the arithmetic that makes a record; raised when a change of the inference engine may move bits.
pub const KERNEL: &str = "libtorch-engine-1";

/// Names the arithmetic that makes trained weights; raised when a change of the training may move bits.
pub const TRAINING_KERNEL: &str = "libtorch-plain-1";

/// The stages of a run, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Networks without a checkpoint are trained.
    Train,
    /// Validation slices are pushed through; thresholds are chosen from image-level labels.
    Calibrate,
    /// Test slices are scored.
    Score,
}

impl Stage {
    /// The name used in messages and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Calibrate => "calibrate",
            Self::Score => "score",
        }
    }
}

/// Everything about a machine and its settings that may move the bits of a result.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NumericProfile {
    /// `cpu`, or the name of the GPU.
    pub device: String,
    /// Version of libtorch.
    pub libtorch: String,
    /// Vector instructions libtorch dispatches to on the CPU.
    pub cpu_capability: String,
    /// Intra-op threads (CPU).
    pub threads: u32,
}

impl std::fmt::Display for NumericProfile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}, libtorch {}, {}, {} thread(s)",
            self.device, self.libtorch, self.cpu_capability, self.threads
        )
    }
}

/// One slice of the store: a subject of the plan's list and the position of the slice in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SliceRef {
    /// Index into the plan's subjects.
    pub subject: u32,
    /// Position in the subject's arrays.
    pub position: u32,
}

/// A network whose weights are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPlan {
    /// Name in the spec.
    pub name: String,
    /// Architecture.
    pub config: NetworkConfig,
    /// Digest of the weights file in the artifact store.
    pub weights: Digest,
}

/// The slices a plan reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataPlan {
    /// Digest of the slice store's content.
    pub digest: Digest,
    /// Scaling to [-1, 1].
    pub scaling: Scaling,
    /// Channels whose maps are averaged.
    pub scored: Vec<u32>,
    /// Subjects named by the slices.
    pub subjects: Vec<String>,
}

/// Everything a worker needs for the shards of calibration or scoring, stored once as an artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForwardPlan {
    /// Calibrate or score.
    pub stage: Stage,
    /// Which reading of the method.
    pub semantics: Semantics,
    /// Forward steps, in kept indices.
    pub steps: u32,
    /// Strided schedule.
    pub respacing: Respacing,
    /// Components up to this many pixels are dropped.
    pub component_area: u32,
    /// How a map becomes a mask.
    #[serde(default, skip_serializing_if = "MaskRule::is_published")]
    pub mask_rule: MaskRule,
    /// Numeric profile every worker must have.
    pub profile: NumericProfile,
    /// What U-Nets are computed in; never `auto`.
    pub precision: Precision,
    /// The slices' origin.
    pub data: DataPlan,
    /// Networks with weights.
    pub networks: Vec<NetworkPlan>,
    /// Distinct walks.
    pub trajectories: Vec<Trajectory>,
    /// Distinct columns.
    pub cells: Vec<Cell>,
    /// Slices of a full batch; the last one is padded to it.
    pub batch_slices: u32,
    /// The batches, in order.
    pub batches: Vec<Vec<SliceRef>>,
}

/// Everything a worker needs to train one network, stored once as an artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainPlan {
    /// Name in the spec: what the network is for, and so what it is trained to do.
    pub network: Role,
    /// Architecture.
    pub config: NetworkConfig,
    /// How it is trained.
    pub train: TrainSpec,
    /// Numeric profile the worker must have.
    pub profile: NumericProfile,
    /// The training slices: every slice of these subjects.
    pub data: DataPlan,
    /// Subjects whose slices the averaged weights are validated on. Not part of the key: they move no weight.
    pub validation: Vec<String>,
}

/// What a stage plan artifact holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Plan {
    /// Training of one network.
    Train(TrainPlan),
    /// Calibration or scoring.
    Forward(ForwardPlan),
    /// Which number format calibration and scoring compute in.
    Trial(TrialPlan),
}

/// Longest plan accepted, bytes.
pub const MAX_PLAN_BYTES: u64 = 256 << 20;

/// The artifact: a plan and whose it is. A worker finds the store of a run by the digest of its plan, so two runs that
/// plan the same must not have the same artifact. No record key contains it.
#[derive(Serialize, Deserialize)]
struct PlanArtifact<P> {
    run: String,
    plan: P,
}

impl Plan {
    /// The bytes of the artifact of `run`. JSON: a person can read what a run was asked to do.
    ///
    /// # Errors
    /// As [`Self::check`]; [`PlanError::Json`] would be a bug.
    pub fn to_json(&self, run: &str) -> Result<Vec<u8>, PlanError> {
        self.check()?;
        let artifact = PlanArtifact {
            run: run.to_owned(),
            plan: self,
        };
        serde_json::to_vec(&artifact).map_err(|error| PlanError::Json(error.to_string()))
    }

    /// Reads the artifact back.
    ///
    /// # Errors
    /// [`PlanError::Json`] when the bytes are no plan of this version; as [`Self::check`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, PlanError> {
        let PlanArtifact::<Self> { plan, .. } =
            serde_json::from_slice(bytes).map_err(|error| PlanError::Json(error.to_string()))?;
        plan.check()?;
        Ok(plan)
    }
}

/// What a worker is asked to do. Never holds tensors or paths.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Job {
    /// Stage, for people.
    pub stage: Stage,
    /// Digest of the [`Plan`] in the artifact store.
    pub plan: Digest,
    /// Which part of it.
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
    /// How many there are.
    pub world: u32,
}

impl GangRank {
    /// The rank that trains alone.
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
    /// The whole trial of number formats.
    Trial,
}

/// What a worker says of itself when it registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Unique per start.
    pub worker: String,
    /// Host and process, for people.
    pub host: String,
    /// Process id on that host.
    pub pid: u32,
    /// Its numeric profile.
    pub profile: NumericProfile,
    /// Memory of its device, bytes: of the GPU, or of the machine for a CPU; 0 where unknown.
    pub memory_bytes: u64,
    /// Version of its program.
    pub version: String,
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
}

/// The results of one shard: record key and digest of the record's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// In the order of the job: batch by batch, cell by cell.
    #[serde(deserialize_with = "list::<_, _, MAX_SHARD_RECORDS>")]
    pub entries: Vec<(Digest, Digest)>,
}

#[derive(Serialize)]
struct TrainKey<'a> {
    schema: u32,
    kernel: &'a str,
    network: Role,
    config: &'a NetworkConfig,
    train: &'a TrainSpec,
    profile: &'a NumericProfile,
    data: &'a DataPlan,
}

/// A plan and its parts do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// An index points outside its list.
    #[error("the plan has no {what} {index}: job and plan do not belong together")]
    OutOfRange {
        /// What was looked up.
        what: &'static str,
        /// The index.
        index: usize,
    },
    /// A number or a list that no plan has.
    #[error("impossible plan: {0}")]
    Impossible(String),
    /// Not the JSON of a plan, or a key that cannot be written.
    #[error("not a plan of this version: {0}")]
    Json(String),
}

fn out_of_range(what: &'static str, index: usize) -> PlanError {
    PlanError::OutOfRange { what, index }
}

impl ForwardPlan {
    /// Batch number `index`.
    ///
    /// # Errors
    /// [`PlanError::OutOfRange`].
    pub fn batch(&self, index: usize) -> Result<&[SliceRef], PlanError> {
        self.batches
            .get(index)
            .map(Vec::as_slice)
            .ok_or_else(|| out_of_range("batch", index))
    }

    /// Cell number `index`.
    ///
    /// # Errors
    /// [`PlanError::OutOfRange`].
    pub fn cell(&self, index: usize) -> Result<&Cell, PlanError> {
        self.cells
            .get(index)
            .ok_or_else(|| out_of_range("cell", index))
    }

    /// The trajectory a cell reads.
    ///
    /// # Errors
    /// [`PlanError::OutOfRange`].
    pub fn trajectory(&self, cell: &Cell) -> Result<&Trajectory, PlanError> {
        let index = usize::from(cell.trajectory);
        self.trajectories
            .get(index)
            .ok_or_else(|| out_of_range("trajectory", index))
    }

    /// Network number `index`.
    ///
    /// # Errors
    /// [`PlanError::OutOfRange`].
    pub fn network(&self, index: u16) -> Result<&NetworkPlan, PlanError> {
        let index = usize::from(index);
        self.networks
            .get(index)
            .ok_or_else(|| out_of_range("network", index))
    }

    /// The subject of a slice.
    ///
    /// # Errors
    /// [`PlanError::OutOfRange`].
    pub fn subject(&self, slice: SliceRef) -> Result<&str, PlanError> {
        let index = slice.subject as usize;
        self.data
            .subjects
            .get(index)
            .map(String::as_str)
            .ok_or_else(|| out_of_range("subject", index))
    }
}

impl TrainPlan {
    /// The key of the trained weights.
    ///
    /// # Errors
    /// When the plan cannot be written as JSON, which would be a bug.
    pub fn key(&self) -> Result<Digest, PlanError> {
        key_of(&TrainKey {
            schema: RECORD_SCHEMA,
            kernel: TRAINING_KERNEL,
            network: self.network,
            config: &self.config,
            train: &self.train,
            profile: &self.profile,
            data: &self.data,
        })
    }
}
