//! What `run` refuses before anything is computed, and `plan` therefore refuses too: labels, masks and weights.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anofpdm_common::ids::Digest;
use anofpdm_common::store::checkpoint::{self, CheckpointError};
use anofpdm_common::store::location::Location;
use anofpdm_common::store::remote_file::{RemoteFileError, local_path};

use crate::dataset::Dataset;
use crate::evaluate::calibrate::{self, CalibrateError};
use crate::evaluate::tune;
use crate::plan::cells;
use crate::spec_file::{SpecFile, SpecFileError};

#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    #[error("{0}")]
    Spec(#[from] SpecFileError),
    #[error(transparent)]
    Validation(#[from] CalibrateError),
    #[error("{spec}: [model.{network}] checkpoint {source}")]
    Checkpoint {
        spec: PathBuf,
        network: String,
        source: Box<CheckpointError>,
    },
    #[error("{spec}: [model.{network}] checkpoint: {source}")]
    Remote {
        spec: PathBuf,
        network: String,
        source: Box<RemoteFileError>,
    },
}

/// Checks that the validation slices have the labels and masks that calibration and tuning need, and that every
/// checkpoint of the spec holds the weights of its network. Of a run that has begun, `adopted` names the weights that it
/// has taken in already. Returns what a reader should know.
pub fn check(
    spec_file: &SpecFile,
    dataset: &Dataset,
    adopted: &BTreeMap<String, Digest>,
) -> Result<Vec<String>, PreflightError> {
    if !cells::encodings(&spec_file.spec.score).is_empty() {
        calibrate::check_labels(dataset)?;
    }
    tune::check_masks(&spec_file.spec.score, dataset)?;
    let mut warnings = Vec::new();
    for (name, model) in spec_file.needed()? {
        let network = spec_file.network(name, dataset)?;
        let Some(location) = &model.checkpoint else {
            continue;
        };
        if let Some(weights) = adopted.get(name) {
            if is_another(location, weights) {
                warnings.push(format!(
                    "[model.{name}] checkpoint {}: its bytes are not those that this run began with; it goes on with the earlier ones. For the new ones give the run another name or --dir",
                    location
                ));
            }
            continue;
        }
        let path = local_path(location).map_err(|source| PreflightError::Remote {
            spec: spec_file.path().to_path_buf(),
            network: name.to_owned(),
            source: Box::new(source),
        })?;
        let said =
            checkpoint::check(&path, &network).map_err(|source| PreflightError::Checkpoint {
                spec: spec_file.path().to_path_buf(),
                network: name.to_owned(),
                source: Box::new(source),
            })?;
        warnings.extend(
            said.into_iter()
                .map(|said| format!("[model.{name}] checkpoint: {said}")),
        );
    }
    Ok(warnings)
}

/// True for a file that can be read and has other bytes: a run that has taken its weights in needs it no more.
fn is_another(location: &Location, weights: &Digest) -> bool {
    let Ok(path) = local_path(location) else {
        return false;
    };
    let mut hasher = blake3::Hasher::new();
    let read = std::fs::File::open(path).and_then(|file| hasher.update_reader(file).map(drop));
    read.is_ok() && Digest::from(hasher.finalize()) != *weights
}
