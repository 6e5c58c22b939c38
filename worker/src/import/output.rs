//! Where an imported network goes: weights and configuration are both there afterwards or neither is, and nothing else is
//! replaced by them unasked.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anofpdm_common::network::NetworkConfig;
use anofpdm_common::store::durable::{self, DiskError};

use super::ImportError;
use super::args::ImportArgs;
use crate::nn::config;
use crate::tensors::{self, NamedTensors};

const CONFIG_FILE: &str = "config.json";
/// How the name of a file of weights ends.
const WEIGHTS: &str = "safetensors";

#[derive(Debug)]
pub(super) struct Destination {
    weights: PathBuf,
    pub(super) config: PathBuf,
    /// The stated configuration, which may lie in the place of the written one.
    stated: Option<PathBuf>,
    force: bool,
}

impl Destination {
    /// The destination that was asked for, before anything is read.
    pub(super) fn new(args: &ImportArgs) -> Result<Self, ImportError> {
        let weights = args.output.clone();
        if weights.is_dir() || weights.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Err(ImportError::OutputFolder(weights));
        }
        if weights.extension().is_none_or(|end| end != WEIGHTS) {
            return Err(ImportError::OutputName(weights));
        }
        let config = weights.with_file_name(CONFIG_FILE);
        let stated = args.config.clone();
        let mut read = vec![(&args.checkpoint, &weights), (&args.checkpoint, &config)];
        read.extend(stated.iter().map(|stated| (stated, &weights)));
        for (input, output) in read {
            if is_same_file(input, output) {
                return Err(ImportError::OverInput(output.clone()));
            }
        }
        Ok(Self {
            weights,
            config,
            stated,
            force: args.force,
        })
    }

    /// Writes both.
    ///
    /// # Errors
    /// When other weights or another network's configuration lie there, or the file system refuses; then nothing has
    /// changed.
    pub(super) fn write(
        &self,
        tensors: &NamedTensors,
        config: &NetworkConfig,
    ) -> Result<(), ImportError> {
        let config_is_there = self.holds(config)?;
        let folders = make_folders(&self.weights)?;
        let written = self.place(tensors, config, config_is_there);
        if written.is_err() {
            // Those that others have put something into meanwhile stay.
            for folder in folders.iter().rev() {
                if fs::remove_dir(folder).is_err() {
                    break;
                }
            }
        }
        written
    }

    /// Whether the folder's configuration is this one; another is refused.
    fn holds(&self, config: &NetworkConfig) -> Result<bool, ImportError> {
        let path = &self.config;
        let present = path.try_exists().map_err(|source| ImportError::Io {
            path: path.clone(),
            source,
        })?;
        if !present {
            return Ok(false);
        }
        if config::read(path, None, None).ok().as_ref() == Some(config) {
            return Ok(true);
        }
        let stated = self.stated.as_ref();
        if stated.is_some_and(|stated| is_same_file(stated, path)) {
            return Err(ImportError::OverInput(path.clone()));
        }
        if self.force {
            Ok(false)
        } else {
            Err(ImportError::Occupied(path.clone()))
        }
    }

    /// Both under temporary names first: what fails, fails before anything is in its place.
    fn place(
        &self,
        tensors: &NamedTensors,
        config: &NetworkConfig,
        config_is_there: bool,
    ) -> Result<(), ImportError> {
        let weights = Temporary::beside(&self.weights);
        tensors::write_synced(&weights.0, &self.weights, tensors)?;
        let known = self.weights.exists();
        let weights_are_there = known && self.same_weights(&weights.0)?;
        if known && !weights_are_there && !self.force {
            return Err(ImportError::Exists(self.weights.clone()));
        }
        let configuration = Temporary::beside(&self.config);
        if !config_is_there {
            write_json(&configuration.0, &self.config, config)?;
        }
        if !weights_are_there {
            durable::rename(&weights.0, &self.weights)?;
        }
        if !config_is_there && let Err(error) = durable::rename(&configuration.0, &self.config) {
            if !known {
                // The error at hand says more than a failed clean-up would.
                drop(fs::remove_file(&self.weights));
            }
            return Err(error.into());
        }
        Ok(())
    }

    fn same_weights(&self, written: &Path) -> Result<bool, ImportError> {
        same_bytes(written, &self.weights).map_err(|source| ImportError::Io {
            path: self.weights.clone(),
            source,
        })
    }
}

/// A file that is gone at the end unless it was renamed.
struct Temporary(PathBuf);

impl Temporary {
    fn beside(path: &Path) -> Self {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        Self(path.with_file_name(name))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove a temporary file");
        }
    }
}

fn write_json(temporary: &Path, path: &Path, config: &NetworkConfig) -> Result<(), DiskError> {
    let write = || {
        let mut text = serde_json::to_vec_pretty(config)?;
        text.push(b'\n');
        let mut file = File::create(temporary)?;
        file.write_all(&text)?;
        file.sync_all()
    };
    write().map_err(|error: io::Error| DiskError::new("write", path, error))
}

/// Makes the folder of `file`; the folders that were not there, outermost first.
fn make_folders(file: &Path) -> Result<Vec<PathBuf>, DiskError> {
    let Some(folder) = file.parent().filter(|parent| *parent != Path::new("")) else {
        return Ok(Vec::new());
    };
    let absent = folder
        .ancestors()
        .take_while(|folder| *folder != Path::new("") && !folder.exists());
    let mut absent: Vec<PathBuf> = absent.map(Path::to_owned).collect();
    absent.reverse();
    durable::create_dir(folder)?;
    Ok(absent)
}

/// Whether two names lead to one file, through links too.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let place = |path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    matches!((place(one), place(other)), (Ok(one), Ok(other)) if one == other)
}

fn same_bytes(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let length = left.len().min(right.len());
        if left[..length] != right[..length] {
            return Ok(false);
        }
        if length == 0 {
            return Ok(left.len() == right.len());
        }
        one.consume(length);
        other.consume(length);
    }
}
