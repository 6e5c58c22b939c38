//! A run's method on other slices: its networks and thresholds, without labels.
//!
//! `finished_run` reads what a run has decided, `method` computes map and mask of slices, `volume_file` writes volumes on
//! the subject's own grid, `result` what was decided of each slice.

pub mod finished_run;
pub mod method;
pub mod result;
pub mod volume_file;

use std::path::PathBuf;

use anofpdm_common::plan::PlanError;
use anofpdm_common::spec::SpecError;
use anofpdm_common::store::artifacts::ArtifactError;
use anofpdm_common::store::durable::DiskError;
use anofpdm_common::store::slices::{SourceFault, StoreError};

use crate::backend::BackendError;
use crate::diffusion::schedule::ScheduleError;
use crate::method_error::MethodError;
use crate::worker_loop::batch_reader::SliceError;

/// Why nothing is predicted.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    #[error("{0} is no run: it has no spec.toml")]
    NoRun(PathBuf),
    #[error("{path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: {source}")]
    Spec { path: PathBuf, source: SpecError },
    #[error("{path}: {reason}")]
    Calibration { path: PathBuf, reason: String },
    #[error(
        "{0} has not begun to score: what its method decides by is not there yet; finish the run first"
    )]
    NotScored(PathBuf),
    #[error("{folder} holds several plans of scoring ({plans}); name one with --plan")]
    SeveralPlans { folder: PathBuf, plans: String },
    #[error("plan {0} is no plan of scoring")]
    OtherPlan(String),
    #[error("the run did not score {asked}; it has {there}")]
    NoMethod { asked: String, there: String },
    #[error("{method} of this run has the strengths {there}; choose one with --guidance")]
    SeveralStrengths { method: String, there: String },
    #[error("the slices and the run do not fit: {0}")]
    Fit(String),
    #[error("subject {subject}: {source}")]
    Source {
        subject: String,
        source: SourceFault,
    },
    #[error("{path}: {reason}")]
    Volume { path: PathBuf, reason: String },
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Slices(String),
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Method(#[from] MethodError),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl From<SliceError> for PredictError {
    fn from(error: SliceError) -> Self {
        Self::Slices(error.to_string())
    }
}
