//! A file of weights against the network it is for: looked at before anything is computed with it, without libtorch.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

use crate::network::{Heads, Misfit, NetworkConfig, TensorShapes};
use crate::store::tensor_header::{HeaderError, TensorHeader};

/// Longest header of a file of weights, bytes.
const MOST_HEADER: u64 = 16 << 20;

/// Longest `config.json`, bytes.
const MOST_CONFIG: u64 = 1 << 20;

const CHUNK: usize = 1 << 20;

/// The architecture that `import` writes beside the weights.
const CONFIG_FILE: &str = "config.json";

#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}: {reason}")]
    Kind { path: PathBuf, reason: String },
    #[error("{path}: no whole safetensors file: {reason}")]
    Format { path: PathBuf, reason: String },
    #[error("{path}: {source}")]
    Misfit { path: PathBuf, source: Box<Misfit> },
    #[error("{path}: tensor {name} is stored as {kind:?}: only F16, BF16 and F32 weights are read")]
    StoredKind {
        path: PathBuf,
        name: String,
        kind: Dtype,
    },
    #[error(
        "{path}: tensor {name} holds NaN or infinite values: the training that wrote it has diverged"
    )]
    NotFinite { path: PathBuf, name: String },
    #[error(
        "{path}: {beside} says {stated}, and the spec asks for {asked}; weights work with the heads they were trained with only: correct the one that is wrong"
    )]
    Heads {
        path: PathBuf,
        /// The `config.json` beside it.
        beside: PathBuf,
        stated: Heads,
        asked: Heads,
    },
}

/// Checks that the file at `path` holds the weights of `network`: all tensors in their shapes and no others, as finite
/// floats; and that the `config.json` beside it, where it is about these weights, names the same heads. Returns what a
/// reader should know of a file that can be used.
///
/// # Errors
/// [`CheckpointError`], naming the file and the first tensor that does not fit.
pub fn check(path: &Path, network: &NetworkConfig) -> Result<Vec<String>, CheckpointError> {
    let weights = Weights::open(path)?;
    weights.fit(network)?;
    weights.are_finite()?;
    weights.config_beside(network)
}

/// An open file of weights with a header that makes sense.
struct Weights<'a> {
    path: &'a Path,
    file: File,
    /// Offset of the first byte behind the header.
    start: u64,
    tensors: Vec<(String, TensorInfo)>,
}

impl<'a> Weights<'a> {
    fn open(path: &'a Path) -> Result<Self, CheckpointError> {
        let failed = |source| CheckpointError::Io {
            path: path.to_owned(),
            source,
        };
        let kind = |reason: String| CheckpointError::Kind {
            path: path.to_owned(),
            reason,
        };
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if metadata.is_dir() {
            return Err(kind(format!(
                "is a folder; name the file of weights{}",
                in_folder(path)
            )));
        }
        // The opening of a pipe would wait for somebody to write into it.
        if !metadata.is_file() {
            return Err(kind("is not a file".to_owned()));
        }
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut prefix = [0; 8];
        match file.read_exact_at(&mut prefix, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Self::broken(path, format!("it has {length} bytes")));
            }
            Err(error) => return Err(failed(error)),
        }
        // A zip archive, or the pickle of before that.
        if prefix.starts_with(b"PK\x03\x04") || matches!(prefix, [0x80, 2..=5, ..]) {
            return Err(kind(
                "is a file of torch.save; make a safetensors file of it: anofpdm-worker import FILE --arch ARCH -o NAME.safetensors".to_owned(),
            ));
        }
        let limit = MOST_HEADER.min(length.saturating_sub(8));
        let TensorHeader {
            metadata,
            data_start: start,
        } = TensorHeader::read(&file, limit).map_err(|error| match error {
            HeaderError::Io(error) => failed(error),
            HeaderError::TooLong { length: header, .. } => Self::broken(
                path,
                format!("it names a header of {header} bytes and has {length}"),
            ),
            HeaderError::Parse(error) => {
                Self::broken(path, format!("its header does not parse: {error}"))
            }
        })?;
        let mut tensors: Vec<(String, TensorInfo)> = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| (name, info.clone()))
            .collect();
        tensors.sort_by_key(|(_, info)| info.data_offsets);
        let mut end = 0;
        for (name, info) in &tensors {
            let bytes = byte_length(info);
            let (from, to) = info.data_offsets;
            if from != end || bytes.is_none_or(|bytes| from.checked_add(bytes) != Some(to)) {
                return Err(Self::broken(
                    path,
                    format!("tensor {name} is not where it has room"),
                ));
            }
            end = to;
        }
        let whole = start.saturating_add(end as u64);
        if whole != length {
            return Err(Self::broken(
                path,
                format!("its tensors end at {whole} bytes, and it has {length}"),
            ));
        }
        tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Self {
            path,
            file,
            start,
            tensors,
        })
    }

    fn broken(path: &Path, reason: String) -> CheckpointError {
        CheckpointError::Format {
            path: path.to_owned(),
            reason,
        }
    }

    fn shapes(&self) -> TensorShapes {
        let shape = |(name, info): &(String, TensorInfo)| (name.clone(), info.shape.clone());
        self.tensors.iter().map(shape).collect()
    }

    fn fit(&self, network: &NetworkConfig) -> Result<(), CheckpointError> {
        let path = || self.path.to_owned();
        network
            .fit(&self.shapes(), "spec")
            .map_err(|source| CheckpointError::Misfit {
                path: path(),
                source,
            })?;
        let read = [Dtype::F16, Dtype::BF16, Dtype::F32];
        match self.tensors.iter().find(|(_, i)| !read.contains(&i.dtype)) {
            None => Ok(()),
            Some((name, info)) => Err(CheckpointError::StoredKind {
                path: path(),
                name: name.clone(),
                kind: info.dtype,
            }),
        }
    }

    fn are_finite(&self) -> Result<(), CheckpointError> {
        let fault = |(name, info): &(String, TensorInfo)| match self.is_finite(info) {
            Ok(true) => None,
            Ok(false) => Some(CheckpointError::NotFinite {
                path: self.path.to_owned(),
                name: name.clone(),
            }),
            Err(source) => Some(CheckpointError::Io {
                path: self.path.to_owned(),
                source,
            }),
        };
        self.tensors
            .par_iter()
            .find_map_first(fault)
            .map_or(Ok(()), Err)
    }

    fn is_finite(&self, info: &TensorInfo) -> io::Result<bool> {
        let (from, to) = info.data_offsets;
        let mut chunk = vec![0; CHUNK.min(to - from)];
        let mut at = from;
        while at < to {
            let length = CHUNK.min(to - at);
            let part = &mut chunk[..length];
            self.file.read_exact_at(part, self.start + at as u64)?;
            if !all_finite(part, info.dtype) {
                return Ok(false);
            }
            at += length;
        }
        Ok(true)
    }

    /// Compares with the `config.json` beside the file what the weights do not show.
    fn config_beside(&self, network: &NetworkConfig) -> Result<Vec<String>, CheckpointError> {
        let beside = self.path.with_file_name(CONFIG_FILE);
        let shown = beside.display();
        let unread = |reason: String| {
            Ok(vec![format!(
                "{shown} is not read ({reason}), so nothing says whether {} are the heads of {}",
                network.heads,
                self.path.display()
            )])
        };
        let text = match std::fs::metadata(&beside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return unread(error.to_string()),
            Ok(metadata) if !metadata.is_file() => return unread("it is not a file".to_owned()),
            Ok(metadata) if metadata.len() > MOST_CONFIG => {
                return unread("it is over 1 MiB".to_owned());
            }
            Ok(_) => std::fs::read_to_string(&beside),
        };
        let text = match text {
            Ok(text) => text,
            Err(error) => return unread(error.to_string()),
        };
        let stated = match serde_json::from_str::<NetworkConfig>(&text) {
            Ok(stated) => stated,
            Err(error) => return unread(error.to_string()),
        };
        if let Err(error) = stated.validate() {
            return unread(error.to_string());
        }
        if stated.tensors() != self.shapes() {
            return unread("it describes another network".to_owned());
        }
        let differ = |width: &i64| stated.heads.of(*width) != network.heads.of(*width);
        if network.attended_widths().iter().any(differ) {
            return Err(CheckpointError::Heads {
                path: self.path.to_owned(),
                beside,
                stated: stated.heads,
                asked: network.heads,
            });
        }
        if stated.image_size != network.image_size {
            return Ok(vec![format!(
                "{shown} says that {} was trained at {} pixels; the slices have {}",
                self.path.display(),
                stated.image_size,
                network.image_size
            )]);
        }
        Ok(Vec::new())
    }
}

/// The files of weights in a folder, for a message.
fn in_folder(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".safetensors"))
        .take(3)
        .collect();
    names.sort_unstable();
    match names.as_slice() {
        [] => String::new(),
        names => format!(" in it, e.g. {}", names.join(" or ")),
    }
}

fn byte_length(info: &TensorInfo) -> Option<usize> {
    let width = info.dtype.bitsize() / 8;
    info.shape
        .iter()
        .try_fold(width, |bytes, side| bytes.checked_mul(*side))
}

/// True when no exponent is that of NaN or infinity.
fn all_finite(bytes: &[u8], dtype: Dtype) -> bool {
    let halves = |exponent: u16| {
        let (values, _) = bytes.as_chunks();
        values
            .iter()
            .all(|value| u16::from_le_bytes(*value) & exponent != exponent)
    };
    match dtype {
        Dtype::F16 => halves(0x7c00),
        Dtype::BF16 => halves(0x7f80),
        _ => {
            let (values, _) = bytes.as_chunks();
            values
                .iter()
                .all(|value| u32::from_le_bytes(*value) & 0x7f80_0000 != 0x7f80_0000)
        }
    }
}

#[cfg(test)]
mod tests;
