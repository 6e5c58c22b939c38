//! What is computed, in the words both sides use: slices, batches, trajectories, cells, stage plans, jobs.
//!
//! A *batch* is a fixed list of slices in a fixed geometry. A *trajectory* is what cells share: AnoFPDM's walk up
//! the noise levels under one noise seed, or the encode of a baseline with the ways back from it. A *cell* is what one
//! row of the table needs from a trajectory. A *record* is what one cell says about one batch, and its key hashes
//! everything that decides its bits. A *shard* is transport: a run of batches with the cells still missing of them
//! (docs/architecture.md, "Identity of a result").

mod artifact;
mod batch_run;
mod cell;
mod check;
mod cost;
mod error;
mod exhibits;
mod forward;
mod job;
mod key;
mod profile;
mod train;
mod trial;

pub use artifact::{MAX_PLAN_BYTES, Plan};
pub use batch_run::{BatchRun, EvaluationCost};
pub use cell::{
    Cell, CellOutput, ForwardWalk, MAX_THRESHOLDS, Postprocessing, RestorationWalk, Trajectory,
    distinct_settings,
};
pub use check::{
    LONGEST_MILLIS, MOST_EVALUATIONS, MOST_MILLIJOULES, check_text, check_worker_name,
    is_worker_name_character,
};
pub use cost::evaluations_per_slice;
pub use error::PlanError;
pub use exhibits::{ExhibitPlan, MAX_EXHIBIT_STEPS, Wanted};
pub use forward::{DataPlan, ForwardPlan, NetworkPlan, SliceRef};
pub use job::{
    Completion, GangRank, Job, MAX_SHARD_CELLS, MAX_SHARD_RECORDS, MAX_WORLD, Manifest, Stage,
    Task, WorkerInfo,
};
pub use key::{KERNEL, RECORD_SCHEMA};
pub use profile::NumericProfile;
pub use train::{TRAINING_KERNEL, TrainPlan};
pub use trial::{Agreement, Candidate, Finding, MAX_TRIAL_REPORT_BYTES, TrialPlan, TrialReport};
