//! Checkpoint folders: whole or absent, bound to the run that wrote them.
//!
//! `step-00001000/` holds `model.safetensors` (raw weights, public tensor names),
//! `ema.safetensors` (averaged weights), `optimizer.safetensors`, `config.json` (the architecture)
//! and `meta.json` (step, digests, loss). A folder is written under a temporary name, every file and
//! the folder synced, then renamed. `meta.json` records size and digest of every other file,
//! so a folder that a lost disk block or a careless copy has damaged is noticed and passed over.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anofpdm_common::ids::Digest;
use anofpdm_common::network::NetworkConfig;
use anofpdm_common::store::durable::{self, DiskError};
use serde::{Deserialize, Serialize};

use super::loss::LossHistory;
use crate::tensors::{self, NamedTensors, TensorFileError};

pub const MODEL_FILE: &str = "model.safetensors";
/// Averaged weights: what evaluation uses.
pub const EMA_FILE: &str = "ema.safetensors";
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
pub const CONFIG_FILE: &str = "config.json";
const META_FILE: &str = "meta.json";

/// Version of the folder's form.
const FORMAT: u32 = 1;
/// Largest `meta.json` or `config.json` read, bytes.
const JSON_LIMIT: u64 = 1 << 20;
const FOLDER_PREFIX: &str = "step-";
const PARTIAL_PREFIX: &str = ".partial-";

/// What a checkpoint belongs to: it is used for nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Digest of what is trained and how (the network's part of the run spec).
    pub spec: Digest,
    /// Digest of the training slices.
    pub data: Digest,
}

/// Everything that training resumes from.
#[derive(Debug)]
pub struct TrainingState {
    pub step: u64,
    pub model: NamedTensors,
    pub ema: NamedTensors,
    pub optimizer: NamedTensors,
    pub loss: LossHistory,
}

#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    format: u32,
    step: u64,
    #[serde(flatten)]
    identity: Identity,
    loss: LossHistory,
    files: BTreeMap<String, FileRecord>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct FileRecord {
    bytes: u64,
    digest: Digest,
}

/// What goes wrong with checkpoints.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Tensors(#[from] TensorFileError),
    #[error(
        "checkpoint of step {step} not written: {source} (earlier checkpoints in {folder} are intact; \
         free some space and run again to go on from the last one)"
    )]
    NotWritten {
        step: u64,
        folder: PathBuf,
        source: Box<CheckpointError>,
    },
    #[error(
        "{path}: this checkpoint belongs to another {what}; train into another folder, or remove it to start anew"
    )]
    Foreign { path: PathBuf, what: String },
    #[error("{path}: checkpoint format {found}, this program reads {FORMAT}")]
    Format { path: PathBuf, found: u32 },
    /// A JSON file cannot be made: a bug.
    #[error("cannot write {file}: {source}")]
    Json {
        file: &'static str,
        source: serde_json::Error,
    },
}

/// Where the checkpoint of `step` lies in a folder of checkpoints.
pub(super) fn checkpoint_path(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("{FOLDER_PREFIX}{step:08}"))
}

/// The checkpoints of one training run in one folder.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    network: NetworkConfig,
    identity: Identity,
    /// Last checkpoints kept.
    keep: usize,
}

impl Checkpoints {
    /// Opens (makes) the folder, of which the last `keep` checkpoints stay, and removes what an
    /// interrupted write has left in it.
    pub fn open(
        folder: &Path,
        network: &NetworkConfig,
        identity: Identity,
        keep: usize,
    ) -> Result<Self, CheckpointError> {
        durable::create_dir(folder)?;
        for entry in fs::read_dir(folder).map_err(reading(folder))? {
            let path = entry.map_err(reading(folder))?.path();
            if file_name(&path).starts_with(PARTIAL_PREFIX) {
                remove(&path)?;
            }
        }
        let mut network = network.clone();
        // What another program reads should not have to be inferred.
        network.out_channels = Some(network.output_channels());
        Ok(Self {
            folder: folder.to_owned(),
            network,
            identity,
            keep: keep.max(1),
        })
    }

    /// Where the checkpoint of `step` lies.
    pub fn path(&self, step: u64) -> PathBuf {
        checkpoint_path(&self.folder, step)
    }

    /// Writes a checkpoint and removes all but the last few and the one with the lowest validation
    /// loss. Folders of later steps go too: they were passed over as damaged when training went on
    /// from an earlier one.
    ///
    /// # Errors
    /// When the file system refuses; earlier checkpoints are then untouched.
    pub fn save(&self, state: &TrainingState) -> Result<PathBuf, CheckpointError> {
        let path = self.path(state.step);
        let partial = self.folder.join(format!("{PARTIAL_PREFIX}{}", state.step));
        if let Err(source) = self.write(state, &partial, &path) {
            // The error at hand says more than a failed clean-up would.
            drop(fs::remove_dir_all(&partial));
            return Err(CheckpointError::NotWritten {
                step: state.step,
                folder: self.folder.clone(),
                source: Box::new(source),
            });
        }
        let best = state.loss.best().map(|best| best.step);
        let mut earlier = 0;
        for (step, path) in self.folders()? {
            earlier += usize::from(step <= state.step);
            if step > state.step || (earlier > self.keep && best != Some(step)) {
                remove(&path)?;
            }
        }
        Ok(path)
    }

    fn write(
        &self,
        state: &TrainingState,
        partial: &Path,
        path: &Path,
    ) -> Result<(), CheckpointError> {
        durable::create_dir(partial)?;
        let mut files = BTreeMap::new();
        for (name, tensors) in [
            (MODEL_FILE, &state.model),
            (EMA_FILE, &state.ema),
            (OPTIMIZER_FILE, &state.optimizer),
        ] {
            let file = partial.join(name);
            tensors::write(&file, tensors)?;
            files.insert(name.to_owned(), record(&file)?);
        }
        let config = json(CONFIG_FILE, &self.network)?;
        durable::write(&partial.join(CONFIG_FILE), &config)?;
        files.insert(CONFIG_FILE.to_owned(), record(&partial.join(CONFIG_FILE))?);
        let meta = Meta {
            format: FORMAT,
            step: state.step,
            identity: self.identity,
            loss: state.loss.clone(),
            files,
        };
        durable::write(&partial.join(META_FILE), &json(META_FILE, &meta)?)?;
        // Only a damaged checkpoint can stand in the way of the rename.
        if path.try_exists().map_err(reading(path))? {
            remove(path)?;
        }
        Ok(durable::rename(partial, path)?)
    }

    /// The last whole checkpoint, if there is one. Damaged ones are passed over with a warning.
    ///
    /// # Errors
    /// When the last whole one belongs to another spec, other data, another architecture or
    /// another format, or cannot be read.
    pub fn latest(&self) -> Result<Option<TrainingState>, CheckpointError> {
        for (step, path) in self.folders()? {
            match whole(&path) {
                Ok(meta) if meta.step == step => return self.restore(&path, meta).map(Some),
                Ok(meta) => {
                    tracing::warn!(path = %path.display(), step = meta.step, "checkpoint of another step passed over")
                }
                Err(Damage::Format(found)) => {
                    return Err(CheckpointError::Format { path, found });
                }
                Err(Damage::Broken(reason)) => {
                    tracing::warn!(path = %path.display(), %reason, "damaged checkpoint passed over");
                }
            }
        }
        Ok(None)
    }

    fn restore(&self, path: &Path, meta: Meta) -> Result<TrainingState, CheckpointError> {
        let foreign = |what: String| CheckpointError::Foreign {
            path: path.to_owned(),
            what,
        };
        let config = path.join(CONFIG_FILE);
        let network: NetworkConfig = read_json(&config).map_err(|reason| {
            foreign(format!(
                "architecture ({CONFIG_FILE} is not readable: {reason})"
            ))
        })?;
        if network != self.network {
            return Err(foreign(format!(
                "architecture ({network:?}, now {:?})",
                self.network
            )));
        }
        for (what, found, expected) in [
            ("spec", meta.identity.spec, self.identity.spec),
            ("data set", meta.identity.data, self.identity.data),
        ] {
            if found != expected {
                return Err(foreign(format!(
                    "{what} (digest {}, now {})",
                    found.short(),
                    expected.short()
                )));
            }
        }
        let read = |name: &str| {
            let limit = meta.files.get(name).map_or(0, |file| file.bytes);
            tensors::read(&path.join(name), limit)
        };
        Ok(TrainingState {
            step: meta.step,
            model: read(MODEL_FILE)?,
            ema: read(EMA_FILE)?,
            optimizer: read(OPTIMIZER_FILE)?,
            loss: meta.loss.clone(),
        })
    }

    /// Checkpoint folders, last step first.
    fn folders(&self) -> Result<Vec<(u64, PathBuf)>, CheckpointError> {
        let mut folders = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(reading(&self.folder))? {
            let path = entry.map_err(reading(&self.folder))?.path();
            if let Some(step) = file_name(&path)
                .strip_prefix(FOLDER_PREFIX)
                .and_then(|digits| digits.parse().ok())
            {
                folders.push((step, path));
            }
        }
        folders.sort_unstable_by(|a, b| b.cmp(a));
        Ok(folders)
    }
}

/// Why a folder is not a whole checkpoint.
enum Damage {
    Broken(String),
    Format(u32),
}

/// Checks that every file is there with the bytes that were written.
fn whole(path: &Path) -> Result<Meta, Damage> {
    #[derive(Deserialize)]
    struct FormatOnly {
        format: u32,
    }
    let meta_file = path.join(META_FILE);
    let found: FormatOnly = read_json(&meta_file).map_err(Damage::Broken)?;
    if found.format != FORMAT {
        return Err(Damage::Format(found.format));
    }
    let meta: Meta = read_json(&meta_file).map_err(Damage::Broken)?;
    for name in [MODEL_FILE, EMA_FILE, OPTIMIZER_FILE, CONFIG_FILE] {
        let found = record(&path.join(name)).map_err(|error| Damage::Broken(error.to_string()))?;
        if meta.files.get(name) != Some(&found) {
            return Err(Damage::Broken(format!("{name} is not as it was written")));
        }
    }
    Ok(meta)
}

/// Size and digest of a file.
fn record(path: &Path) -> Result<FileRecord, CheckpointError> {
    let file = File::open(path).map_err(reading(path))?;
    let bytes = file.metadata().map_err(reading(path))?.len();
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(reading(path))?;
    Ok(FileRecord {
        bytes,
        digest: hasher.finalize().into(),
    })
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(JSON_LIMIT).read_to_string(&mut text))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn json<T: Serialize>(file: &'static str, value: &T) -> Result<Vec<u8>, CheckpointError> {
    serde_json::to_vec_pretty(value).map_err(|source| CheckpointError::Json { file, source })
}

fn file_name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

fn remove(path: &Path) -> Result<(), DiskError> {
    fs::remove_dir_all(path).map_err(|error| DiskError::new("remove folder", path, error))
}

fn reading(path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    move |error| DiskError::new("read", path, error)
}
